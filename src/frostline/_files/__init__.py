"""Model files without their models: what the commands read, compare and check. No Keras, no backend."""

from frostline._files._open import ModelFile, Stored, open_file

__all__ = ["ModelFile", "Stored", "open_file"]
