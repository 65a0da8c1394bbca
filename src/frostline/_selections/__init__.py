"""Which entries of a weight to freeze."""
