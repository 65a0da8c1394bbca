"""Read, compare and check model files without their models, without Keras and a backend."""

from frostline._files.open import ModelFile, Stored, open_file

__all__ = ["ModelFile", "Stored", "open_file"]
