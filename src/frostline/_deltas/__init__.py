"""Deltas: the trained entries of a model as a file. The command uses these names, without Keras."""

from frostline._deltas.delta import Delta
from frostline._deltas.format import SUFFIX
from frostline._deltas.load import read
from frostline._deltas.on_files import apply_to_file, extract_from_file

__all__ = ["SUFFIX", "Delta", "apply_to_file", "extract_from_file", "read"]
