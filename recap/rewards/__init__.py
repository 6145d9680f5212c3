"""How completions are judged: verifiers at work, in processes that can be killed."""
