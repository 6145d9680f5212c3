"""Shards and copies of a model on several processes."""
