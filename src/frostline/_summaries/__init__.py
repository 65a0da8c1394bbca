"""The numbers of a weight, as other wings take them; around them the tree, the table, the HTML."""

from frostline._summaries.numbers import UNKNOWN, Row, Totals, described, itemsize, numbers

__all__ = ["UNKNOWN", "Row", "Totals", "described", "itemsize", "numbers"]
