"""A single weight: its two parts, its view, and its path."""
