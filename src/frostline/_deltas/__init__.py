"""Deltas: what of a model trains, as a file; taken out, matched, put in and taken away again."""
