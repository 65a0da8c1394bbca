"""Model files without their models: read, compared and checked with no Keras and no backend."""

from frostline._files.open import ModelFile, Stored, open_file

__all__ = ["ModelFile", "Stored", "open_file"]
