"""Convert a partly frozen model to stock Keras layers, and back."""

from frostline._stock.convert import to_stock
from frostline._stock.find import Split, find_splits
from frostline._stock.merge import from_stock, merge_stock

__all__ = ["Split", "find_splits", "from_stock", "merge_stock", "to_stock"]
