"""A number for each entry of a weight: how much a model's loss or output depends on it."""

from frostline._scores.scoring import scores

__all__ = ["scores"]
