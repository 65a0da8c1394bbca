"""The page about a model or its files, for other wings. No Keras."""

from frostline._reports.data import Report, cells_each, pixels_of
from frostline._reports.page import write_page

__all__ = ["Report", "cells_each", "pixels_of", "write_page"]
