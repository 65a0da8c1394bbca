"""Freeze and unfreeze, and update layers, optimizers and files accordingly."""
