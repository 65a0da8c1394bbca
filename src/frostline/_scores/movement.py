"""Scores from how far entries moved from or towards zero, between two states of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from frostline._console import each
from frostline._errors import ScoreError
from frostline._scores.chosen import choose, finished, refuse_values
from frostline._weights.earlier import Earlier, Words
from frostline._weights.tree import Found, read_value

_BEFORE, _AFTER = (
    Words(
        name=name,
        refusal=ScoreError,
        same=f"`{name}` contains the weight itself, not a copy",
        unlike="entries are compared, so the {what} must be the same",
        missing="Name only the weights that it has: `weights=[...]`.",
    )
    for name in ("x", "y")
)


def movement_scores(model: Any, weights: Any, before: Any, after: Any) -> dict[str, np.ndarray]:
    """Half the growth of the square of each entry, by path."""
    chosen = choose(model, weights, refuse_values)
    earlier = Earlier(before, chosen, _BEFORE)
    later = None if after is None else Earlier(after, chosen, _AFTER)

    def moved() -> Iterator[tuple[Found, np.ndarray]]:
        for weight in each("comparing", chosen):
            now = read_value(weight)
            was = np.asarray(earlier.value(weight, now), np.float32)
            now = np.asarray(now if later is None else later.value(weight, now), np.float32)
            # Subtracting two nearly equal squares would lose most digits.
            yield weight, (now - was) * (now + was) / 2

    return finished(moved())
