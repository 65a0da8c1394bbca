"""A delta: the entries of a model that train, and what they have to be put on."""

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
    """The trained entries of a model and their places, apart from the rest.

    `extract_delta` takes it out of a model, `load_delta` reads it from a file, `apply_delta` writes
    it into a model. It does not change.

    Attributes:
        weights: A tuple with a `DeltaWeight` for each weight of the model, also for those of which
            nothing is in the delta.
        size: How many entries it holds.
        nbytes: Bytes of their values and of the index that says which they are.
        base: A hash of all entries that are not in it, 32 hexadecimal digits: what it can be
            applied to.
        fingerprint: A hash of all that it holds, 32 hexadecimal digits.
        rounded_to: `"bfloat16"` or `"float16"` where it was saved in that and read again, so that
            base and delta are no longer the trained model bit for bit; None where they are.
        frostline: The version that made it.
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
        """Which entries of a weight are not in the delta.

        Args:
            path: The path of the weight, as in `weights`.

        Returns:
            A boolean array of the weight's shape, True where an entry is not in it: the mask that
            freezes what was frozen when the delta was trained.

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
        """The trained entries of a weight.

        Args:
            path: The path of the weight, as in `weights`.

        Returns:
            A new array of the weight's dtype. Of the weight's shape where it trains as a whole,
            shorter along one axis where positions along that axis train, flat where single entries
            do.

        Raises:
            PathError: The delta holds nothing of a weight of this path.

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
                f"{path}: this delta holds nothing of it, since none of it trained; got "
                f"path={path!r}. What it holds: {self._paths(held=True)}."
            )
        return weight.written.copy()

    def save(self, path: Any, *, dtype: str | None = None) -> None:
        """Write the delta to a file.

        Replaces a file that is there, once the new one is whole.

        Args:
            path: A name that ends in `.safetensors`.
            dtype: `"bfloat16"` or `"float16"` rounds the values of float32 and float64 weights to
                16 bits, which halves their bytes or better. The base stays the same and is still
                checked, but base and file are then the trained model up to rounding, no longer bit
                for bit. None writes the values as they are.

        Raises:
            TargetError: `path` is no path.
            FileError: The name or the dtype is another, or the file cannot be written.
            RestoreError: A value is too large for `dtype`.

        Note:
            bfloat16 keeps 8 significant bits in the range of float32, float16 keeps 11: values
            above 65,504 are an error and those below 6e-8 become zero. This object keeps the exact
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
                f"{path}: values are rounded to {' or '.join(HINT)}; got dtype={dtype!r}. "
                "Leave it out to write them as they are."
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
            f"{path}: no weight of the model of this delta; got path={path!r}. "
            f"What it holds: {self._paths(held=True)}."
        )

    def _paths(self, *, held: bool) -> str:
        paths = [weight.path for weight in self.weights if weight.held or not held]
        return ", ".join(map(repr, paths[:3])) + ", ..." * (len(paths) > 3) or "nothing"


def base_of(weights: Iterable[tuple[tuple[int, ...], str, str]]) -> str:
    """The hash of a base: of shapes, dtypes and hashes of weights, whatever their names."""
    lines = sorted(f"{list(shape)} {dtype} {mark}" for shape, dtype, mark in weights)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def other_base(path: str, name: str, base: str, delta: Delta) -> RestoreError:
    """The error for a base that is not the one of the delta; both fingerprints are in it."""
    return RestoreError(
        f"{path}: what is not in the delta has other bits than where it was trained; got {name} "
        f"with base={base[:SHOWN]}, the delta is for base={delta.base[:SHOWN]}. Load the weights "
        "that it was trained on; several deltas are all applied to the same base."
    )
