"""The model's forward: scoring and decoding, a prompt computed once; adapters and weights."""
