"""What a gin file says: its parts as one validated experiment, described, and held against a launch."""
