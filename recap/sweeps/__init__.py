"""Many runs of one experiment: a grid of bindings times seeds, several at a time, gone on with where they stopped."""
