"""Selections: which entries of a weight to freeze."""
