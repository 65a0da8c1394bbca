"""Scores from gradients of the loss for whole weights, including their frozen entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from frostline._backends.current import backend
from frostline._scores.chosen import choose, finished, refuse_computed
from frostline._scores.data import Batch, Batches, rebuilt
from frostline._scores.handed import Handed
from frostline._scores.loss import loss_of
from frostline._weights.tree import Found, read_value, sublayers

_HALF_SCALE = 2.0**15  # the initial scale of Keras's `LossScaleOptimizer`


class Term(NamedTuple):
    """How a score is computed from gradients.

    Attributes:
        of: The function of a gradient that is summed.
        each: Whether it is applied to the gradient of each example, or to that of a whole batch.
        score: The score, as a function of the mean over all examples and the weight.
    """

    of: Callable[[Any], Any]
    each: bool
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]


TERMS = {
    "gradient": Term(ops.abs, True, lambda mean, weight: mean),
    "fisher": Term(ops.square, True, lambda mean, weight: mean),
    "snip": Term(lambda gradient: gradient, False, lambda mean, weight: np.abs(weight * mean)),
}


def gradient_scores(
    model: Any, weights: Any, batches: Callable[[], Batches], term: Term, loss: Any
) -> dict[str, np.ndarray]:
    """The scores of a term, by path."""
    chosen = choose(model, weights, refuse_computed)
    handed = Handed(model, chosen)
    run = _Run(handed, term, loss_of(model, loss))
    data = batches()
    with backend.computing(chosen[0].variable.value), handed.undisturbed():
        sums = run.sums(data)
    return finished(_scores(chosen, sums, term, data.examples))


def _scores(
    chosen: Sequence[Found], sums: list[Any], term: Term, examples: int
) -> Iterator[tuple[Found, np.ndarray]]:
    for weight, total in zip(chosen, sums, strict=True):
        mean = backend.to_numpy(total, weight.path) / np.float32(examples)
        yield weight, term.score(mean, np.asarray(read_value(weight), np.float32))


class _Run:
    """One pass through the data."""

    def __init__(self, handed: Handed, term: Term, loss: Callable[..., Any]) -> None:
        self._handed, self._term, self._loss = handed, term, loss
        self._steps: dict[str, Callable[..., list[Any]]] = {}
        half = any(layer.compute_dtype == "float16" for layer in sublayers(handed.model))
        self._scale = _HALF_SCALE if half else 1.0

    def sums(self, data: Batches) -> list[Any]:
        """The sum of the term over all examples, for each weight on its device."""
        values, others = self._handed.values()
        sums = _zeros(values)
        for batch in data:
            step = self._step(batch, values, others)
            sums = self._added(step, sums, batch, values, others)
        return sums

    def _step(self, batch: Batch, values: list[Any], others: list[Any]) -> Callable[..., Any]:
        key = repr(batch.structure)
        if key not in self._steps:
            # Run once without compiling: some objects build themselves at first use, which fails
            # while compiling. Errors in the data or model are also easier to read.
            self._lost(batch.structure, values, others, [array[:1] for array in batch.arrays])
            self._steps[key] = backend.compiled(self._step_for(batch.structure))
        return self._steps[key]

    def _step_for(self, structure: Any) -> Callable[..., list[Any]]:
        of, each, _ = self._term

        def step(
            sums: list[Any], values: list[Any], others: list[Any], arrays: list[Any], scale: float
        ) -> list[Any]:
            def add(sums: list[Any], arrays: list[Any]) -> list[Any]:
                def lost(values: list[Any]) -> Any:
                    return self._lost(structure, values, others, arrays) * scale

                # The loss is a mean over the batch; this makes it a sum.
                factor = arrays[0].shape[0] / scale
                sums = list(sums)
                gradients = backend.gradients(lost, values)
                for place, gradient in enumerate(gradients):
                    if gradient is not None:
                        taken = of(ops.cast(gradient, "float32") * factor)
                        sums[place] = sums[place] + taken
                        gradients[place] = None
                return sums

            return backend.for_each(add, sums, arrays) if each else add(sums, arrays)

        return step

    def _lost(self, structure: Any, values: Any, others: Any, arrays: Any) -> Any:
        with self._handed.read_as(values, others):
            x, y, sample_weight = rebuilt(structure, arrays)
            return ops.cast(ops.sum(self._loss(x, y, sample_weight)), "float32")

    def _added(
        self, step: Any, sums: list[Any], batch: Batch, values: list[Any], others: list[Any]
    ) -> list[Any]:
        arrays = [ops.convert_to_tensor(array) for array in batch.arrays]
        if self._scale == 1.0:
            return step(sums, values, others, arrays, 1.0)
        # In float16 small gradients become zero, so the loss is scaled up, and by less if they
        # overflow. Scaling by a power of two is exact.
        while True:
            added = step(_zeros(values), values, others, arrays, self._scale)
            if self._scale == 1.0 or all(bool(ops.all(ops.isfinite(one))) for one in added):
                return [total + one for total, one in zip(sums, added, strict=True)]
            self._scale /= 8.0


def _zeros(values: Sequence[Any]) -> list[Any]:
    return [ops.zeros_like(value, dtype="float32") for value in values]
