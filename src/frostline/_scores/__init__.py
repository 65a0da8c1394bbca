"""Scores: how much the loss or output of a model depends on each entry of its weights."""

from frostline._scores.scoring import scores

__all__ = ["scores"]
