"""What surrounds the steps: a run from start to end, its directory, checkpoints, record and model."""
