"""What is drawn: domains, their objectives, their shares of a step, their prompts."""
