"""What a gin file chooses of an update: the surrogate (GRPO), how gradients become one, AdamW."""
