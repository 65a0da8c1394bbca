"""Data as `fit` takes it, in batches of arrays.

Keras turns every kind of data that `fit` takes into batches with adapters that it keeps to itself.
There is no public way to them but `fit`, `evaluate` and `predict`, which run a step of the model.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import keras
from keras.src.trainers.data_adapters import get_data_adapter


class Data:
    """Data as `fit` takes it: arrays and nested ones, data sets and loaders, generators.

    Args:
        x: What `fit` takes as `x`.
        y: What `fit` takes as `y`.
        sample_weight: What `fit` takes as `sample_weight`.
        batch_size: Of arrays; 32 where it is None.

    Attributes:
        length: How many batches there are, None where nobody knows.

    Raises:
        ValueError: What `fit` raises for data that it can not take.
    """

    def __init__(self, x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> None:
        self._adapter = get_data_adapter(
            x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, shuffle=False
        )
        self.length: int | None = self._adapter.num_batches

    def batches(self) -> Generator[tuple[Any, Any, Any], None, None]:
        """The batches in their order: x, y and sample weights, nested NumPy arrays or None."""
        self._adapter.on_epoch_begin()
        try:
            for batch in self._adapter.get_numpy_iterator():
                yield keras.utils.unpack_x_y_sample_weight(batch)
        finally:
            # It stops the workers of a `PyDataset`, of which batches may be left.
            self._adapter.on_epoch_end()
