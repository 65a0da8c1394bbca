"""A number for each entry of a weight: how much a model's loss or output depends on it."""

from frostline._scores.data import Batches
from frostline._scores.gradients import TERMS, gradient_scores
from frostline._scores.movement import movement_scores
from frostline._scores.wanda import wanda_scores

__all__ = ["TERMS", "Batches", "gradient_scores", "movement_scores", "wanda_scores"]
