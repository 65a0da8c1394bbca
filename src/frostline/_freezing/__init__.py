"""Keeping layers, optimizers and files in step with what is frozen."""
