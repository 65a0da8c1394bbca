"""The numbers of a weight, and equal blocks of weights, for other wings. No Keras."""

from frostline._summaries.layers import Block, blocks, tree_of_paths
from frostline._summaries.numbers import KINDS, UNKNOWN, Row, Totals, described, itemsize, numbers

__all__ = [
    "KINDS",
    "UNKNOWN",
    "Block",
    "Row",
    "Totals",
    "blocks",
    "described",
    "itemsize",
    "numbers",
    "tree_of_paths",
]
