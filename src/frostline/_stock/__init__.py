"""The same model in stock Keras layers, and back."""

from frostline._stock._convert import to_stock

__all__ = ["to_stock"]
