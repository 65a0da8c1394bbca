"""Read data in batches, each a flat list of arrays and their nested structure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import keras
import numpy as np

from frostline import _keras
from frostline._console import meter
from frostline._errors import ScoreError


class Batch(NamedTuple):
    """A batch of examples.

    Attributes:
        arrays: Its arrays, all with the examples along the first axis.
        structure: x, y and sample weights, with True in the place of each array, or None.
        size: The number of examples.
    """

    arrays: list[Any]
    structure: Any
    size: int


class Batches:
    """Iterate over data as `fit` accepts it, in batches, with a progress bar.

    Args:
        x: As for `fit`.
        y: As for `fit`.
        sample_weight: As for `fit`.
        batch_size: The batch size for arrays.
        batches: The number of batches after which to stop; None for all.

    Raises:
        ScoreError: A number is not positive, or the data never ends.
    """

    def __init__(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, batches: int | None
    ) -> None:
        for name, number in (("batch_size", batch_size), ("batches", batches)):
            whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
            if number is not None and not (whole and number > 0):
                raise ScoreError(
                    f"{name}: must be a positive integer; got {name}={number!r}. Leave it out "
                    + ("for batches of 32." if name == "batch_size" else "to use all the data.")
                )
        if batches is None and isinstance(x, keras.utils.PyDataset) and x.num_batches is None:
            raise ScoreError(
                f"x: this {type(x).__name__} never ends; got batches=None. "
                "Limit the number of batches: `fl.scores(model, x, by=..., batches=100)`."
            )
        self._data = _keras.Data(x, y, sample_weight, batch_size)
        self._batches = batches
        self.examples = 0
        """The number of examples read so far."""

    def __iter__(self) -> Iterator[Batch]:
        known = [n for n in (self._data.length, self._batches) if n is not None]
        total = min(known, default=None)
        # Closed if it stops early: workers may still be making batches.
        with (
            meter("scoring", total, unit="batches") as advance,
            closing(self._data.batches()) as data,
        ):
            for number, whole in enumerate(itertools.islice(data, self._batches)):
                batch = _flat(whole, number)
                self.examples += batch.size
                if batch.size:
                    yield batch
                advance(1)
        if not self.examples:
            raise ScoreError(
                "x: the data is empty; got 0 examples. If it is a generator that was read before, "
                "pass a new one."
            )


def _flat(whole: Any, number: int) -> Batch:
    leaves = keras.tree.flatten(whole)
    arrays = [leaf for leaf in leaves if leaf is not None]
    sizes = {np.shape(array)[:1] for array in arrays}
    if len(sizes) != 1 or () in sizes:
        shapes = ", ".join(str(np.shape(array)) for array in arrays)
        raise ScoreError(
            "x: all arrays of a batch must have the same number of examples along the first axis; "
            f"got shapes {shapes} in batch {number}. Batch a tf.data.Dataset with "
            "`dataset.batch(32)`."
        )
    structure = keras.tree.map_structure(lambda leaf: None if leaf is None else True, whole)
    return Batch(arrays, structure, sizes.pop()[0])


def rebuilt(structure: Any, arrays: Sequence[Any]) -> tuple[Any, Any, Any]:
    """x, y and sample weights of a batch, from its arrays."""
    # Not with `map_structure`: its order for dictionaries differs between backends.
    left = iter(arrays)
    leaves = [next(left) if leaf else None for leaf in keras.tree.flatten(structure)]
    return keras.tree.pack_sequence_as(structure, leaves)
