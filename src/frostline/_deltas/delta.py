"""A delta: the trained entries of a model, and the hash of the base that they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frostline._deltas.format import as_path, hash_of, write
from frostline._deltas.held import HINT, DeltaWeight
from frostline._errors import FileError, PathError, RestoreError

SHOWN = 16  # digits of a fingerprint in a message


@dataclass(frozen=True, repr=False)
class Delta:
    """The trained entries of a model: their values and positions.

    `extract_delta` makes it from a model, `load_delta` reads it from a file, `apply_delta` writes
    it into a model. It is immutable.

    Attributes:
        weights: A tuple with a `DeltaWeight` for each weight of the model, also for weights that
            have no entry in the delta.
        size: The number of entries in it.
        nbytes: The bytes of their values and positions.
        base: A hash of all entries that are not in it, 32 hexadecimal digits. It identifies the
            base that the delta can be applied to.
        fingerprint: A hash of everything in it, 32 hexadecimal digits.
        rounded_to: `"bfloat16"` or `"float16"` if it was saved in that dtype and read again; then
            base and delta equal the trained model only up to rounding. None if they are exact.
        frostline: The version of frostline that made it.
    """

    weights: tuple[DeltaWeight, ...] = field(compare=False)
    frostline: str = field(compare=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", hash_of(self.weights, self.frostline))

    @property
    def size(self) -> int:
        return sum(weight.held for weight in self.weights)

    @property
    def nbytes(self) -> int:
        return sum(weight.nbytes for weight in self.weights)

    @property
    def base(self) -> str:
        return base_of((w.shape, w.dtype, w.fingerprint) for w in self.weights)

    @property
    def rounded_to(self) -> str | None:
        return next((w.rounded_to for w in self.weights if w.rounded_to), None)

    def frozen_mask(self, path: str) -> np.ndarray:
        """Return which entries of a weight are not in the delta.

        Args:
            path: The path of the weight, as in `weights`.

        Returns:
            A boolean array of the weight's shape, True for entries that are not in the delta. As a
            mask, it freezes what was frozen when the delta was trained.

        Raises:
            PathError: The model of the delta has no weight of this path.

        Examples:
            >>> import keras, frostline as fl
            >>> layer = keras.layers.Dense(2)
            >>> layer.build((None, 2))
            >>> _ = fl.freeze(layer, "kernel", fl.at[0])
            >>> fl.extract_delta(layer).frozen_mask("kernel")
            array([[ True,  True],
                   [False, False]])
        """
        return self._weight(path).mask()

    def values(self, path: str) -> np.ndarray:
        """Return the trained entries of a weight.

        Args:
            path: The path of the weight, as in `weights`.

        Returns:
            A new array of the weight's dtype. It has the weight's shape if all of it trains, is
            shorter along one axis if positions along that axis train, and flat if single entries
            train.

        Raises:
            PathError: The delta has no entries of a weight with this path.

        Examples:
            >>> import keras, frostline as fl
            >>> layer = keras.layers.Dense(2)
            >>> layer.build((None, 3))
            >>> _ = fl.freeze(layer, "kernel", fl.at[0])
            >>> fl.extract_delta(layer).values("kernel").shape
            (2, 2)
        """
        weight = self._weight(path)
        if weight.values is None:
            raise PathError(
                f"{path}: nothing of this weight is in the delta, because none of it trained; got "
                f"path={path!r}. Weights in it: {self._paths(held=True)}."
            )
        return weight.written.copy()

    def save(self, path: Any, *, dtype: str | None = None) -> None:
        """Write the delta to a file.

        An existing file is replaced only after the new one is complete.

        Args:
            path: A name that ends in `.safetensors`.
            dtype: `"bfloat16"` or `"float16"` rounds the values of float32 and float64 weights to
                16 bits, which takes half the bytes or less. The base stays the same and is still
                checked, but base and file then equal the trained model only up to rounding. None
                saves the exact values.

        Raises:
            TargetError: `path` is not a path.
            FileError: `path` has another suffix, `dtype` is not one of the above, or the file
                cannot be written.
            RestoreError: A value is too large for `dtype`.

        Note:
            bfloat16 keeps 8 significant bits in the range of float32. float16 keeps 11: values
            above 65,504 are an error, and those below 6e-8 become zero. This object keeps the exact
            values.

        Examples:
            >>> import keras, frostline as fl, os, tempfile
            >>> layer = keras.layers.Dense(2)
            >>> layer.build((None, 2))
            >>> _ = fl.freeze(layer, "kernel", fl.at[0])
            >>> path = os.path.join(tempfile.mkdtemp(), "head.safetensors")
            >>> fl.extract_delta(layer).save(path)
            >>> fl.load_delta(path).values("kernel").shape
            (1, 2)
            >>> fl.extract_delta(layer).save(path, dtype="bfloat16")
            >>> fl.load_delta(path).rounded_to
            'bfloat16'
        """
        if dtype is not None and dtype not in HINT:
            raise FileError(
                f"{path}: values can only be rounded to {' or '.join(HINT)}; got dtype={dtype!r}. "
                "Leave it out to save the exact values."
            )
        weights = self.weights if dtype is None else tuple(w.rounded(dtype) for w in self.weights)
        written = Delta(weights, self.frostline)
        write(as_path(path), weights, self.frostline, written.fingerprint)

    def __repr__(self) -> str:
        held = sum(weight.held > 0 for weight in self.weights)
        rounded = f" in {self.rounded_to}, not bit-exact" if self.rounded_to else ""
        return (
            f"<Delta of {held:,} of {len(self.weights):,} weights: {self.size:,} entries, "
            f"{self.nbytes:,} bytes{rounded}, base {self.base[:SHOWN]}>"
        )

    def _weight(self, path: str) -> DeltaWeight:
        for weight in self.weights:
            if weight.path == path:
                return weight
        raise PathError(
            f"{path}: the model of this delta has no such weight; got path={path!r}. "
            f"Weights in the delta: {self._paths(held=True)}."
        )

    def _paths(self, *, held: bool) -> str:
        paths = [weight.path for weight in self.weights if weight.held or not held]
        return ", ".join(map(repr, paths[:3])) + ", ..." * (len(paths) > 3) or "nothing"


def base_of(weights: Iterable[tuple[tuple[int, ...], str, str]]) -> str:
    """The hash of a base: of the shapes, dtypes and hashes of its weights, without their names."""
    lines = sorted(f"{list(shape)} {dtype} {mark}" for shape, dtype, mark in weights)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def other_base(path: str, name: str, base: str, delta: Delta) -> RestoreError:
    """The error for a model that is not the base of a delta; it shows both fingerprints."""
    return RestoreError(
        f"{path}: this is not the base that the delta was trained on: entries outside the delta "
        f"differ; got {name} with base={base[:SHOWN]}, the delta is for "
        f"base={delta.base[:SHOWN]}. Load the weights that it was trained on; to combine deltas, "
        "all of them must have the same base."
    )
