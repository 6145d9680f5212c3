"""What a model can do: capabilities, on held-out examples."""
