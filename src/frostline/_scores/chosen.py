"""Choose the weights to score, and check their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from frostline._errors import ScoreError, UnsupportedError
from frostline._freezing.verbs import refuse_unsupported, refuse_wrapped
from frostline._weights.earlier import refuse_twice
from frostline._weights.tree import Found, is_glob, select, weights_of


def choose(model: Any, weights: Any, refuse: Callable[[Found], None]) -> list[Found]:
    """The named weights that can be scored.

    Args:
        model: A layer or model.
        weights: As for `freeze`.
        refuse: Raises an `UnsupportedError` for a weight that cannot be scored.

    Raises:
        UnsupportedError: A weight named by path or as a variable cannot be scored, or no weight
            that matches a pattern can.
    """
    found = weights_of(model)
    matched = select(model, found, weights)
    named = _named(model, found, weights)
    chosen, refused = [], []
    for weight in matched:
        try:
            refuse(weight)
        except UnsupportedError as error:
            if id(weight.variable) in named:
                raise
            refused.append(error)
        else:
            chosen.append(weight)
    if not chosen:
        raise refused[0]
    refuse_twice(chosen)
    return chosen


def refuse_values(weight: Found) -> None:
    """Raise an error for a weight that is not floating-point."""
    if not keras.backend.is_float_dtype(weight.variable.dtype):
        raise UnsupportedError(
            f"{weight.path}: only floating-point weights have scores; got "
            f"dtype={weight.variable.dtype}. Leave this weight out."
        )


def refuse_computed(weight: Found) -> None:
    """Raise an error for a weight that its layer does not use, or not on its own."""
    refuse_unsupported(weight, divides=False)
    refuse_wrapped(weight, "Leave this layer out, or write it in Keras.")
    refuse_values(weight)


def finished(scores: Iterable[tuple[Found, Any]]) -> dict[str, np.ndarray]:
    """The scores by path, as arrays of float32.

    Raises:
        ScoreError: One of them is NaN or infinite.
    """
    done = {}
    for weight, score in scores:
        score = np.asarray(score, dtype=np.float32)
        wrong = score.size - int(np.isfinite(score).sum())
        if wrong:
            raise ScoreError(
                f"{weight.path}: {wrong:,} of {score.size:,} scores are NaN or infinite; got "
                f"score (shape {score.shape}, dtype float32). Check the data and the weights for "
                "NaN, and the loss for overflow."
            )
        done[weight.path] = score
    return done


def _named(model: Any, found: Sequence[Found], weights: Any) -> set[int]:
    """The ids of the weights that are named by path or as a variable, not by a pattern."""
    patterns = weights if isinstance(weights, (list, tuple)) else [weights]
    exact = [
        pattern
        for pattern in patterns
        if isinstance(pattern, keras.Variable)
        or (isinstance(pattern, str) and not is_glob(pattern))
    ]
    return {id(weight.variable) for weight in select(model, found, exact)} if exact else set()
