"""Read data as `fit` accepts it, in batches of arrays.

Keras turns all kinds of data into batches with private adapters. The only public functions that use
them are `fit`, `evaluate` and `predict`, which also run the model.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import keras
from keras.src.trainers.data_adapters import get_data_adapter


class Data:
    """Data as `fit` accepts it: arrays, nested arrays, data sets, loaders, generators.

    Args:
        x: As for `fit`.
        y: As for `fit`.
        sample_weight: As for `fit`.
        batch_size: The batch size for arrays; None means 32.

    Attributes:
        length: The number of batches, None if unknown.

    Raises:
        ValueError: As for `fit` with unsuitable data.
    """

    def __init__(self, x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> None:
        self._adapter = get_data_adapter(
            x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, shuffle=False
        )
        self.length: int | None = self._adapter.num_batches

    def batches(self) -> Generator[tuple[Any, Any, Any], None, None]:
        """The batches in order: x, y and sample weights, as nested NumPy arrays or None."""
        self._adapter.on_epoch_begin()
        try:
            for batch in self._adapter.get_numpy_iterator():
                yield keras.utils.unpack_x_y_sample_weight(batch)
        finally:
            # Stops the workers of a `PyDataset`, which may have batches left.
            self._adapter.on_epoch_end()
