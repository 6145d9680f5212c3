"""The laptop study: what in RECAP does the work? docs/laptop_protocol.md says what is compared and how it is judged."""
