"""Studies: small experiments on the method itself, rerun by one command each."""
