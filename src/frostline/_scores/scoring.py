"""Score each entry of each weight, to choose which entries to train, freeze or prune."""

from __future__ import annotations

from typing import Any

import numpy as np

from frostline._errors import ScoreError
from frostline._scores.data import Batches
from frostline._scores.gradients import TERMS, gradient_scores
from frostline._scores.movement import movement_scores
from frostline._scores.wanda import wanda_scores

_WAYS = (*TERMS, "wanda", "movement")


def scores(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    by: str,
    weights: Any = "*",
    sample_weight: Any = None,
    batch_size: int | None = None,
    batches: int | None = None,
    loss: Any = None,
) -> dict[str, np.ndarray]:
    """Score each entry of each weight by how much it matters.

    The model is not changed: no weight, moving statistic, seed, optimizer or metric. The whole
    weight is scored, including its frozen entries, whatever `trainable` says. The model runs in
    inference mode (`training=False`), without dropout, so the scores are repeatable. A weight that
    several layers share has one score, from all its uses.

    Args:
        model: A built layer or model of any kind.
        x: The data, as for `fit`: an array, a list or a dictionary of arrays, a
            `tf.data.Dataset`, a PyTorch `DataLoader`, a `keras.utils.PyDataset`, a generator of
            batches. It is read once, in order. For `by="movement"`, an earlier `fl.snapshot(model)`
            or model.
        y: The targets, as for `fit`; part of `x` for data sets, loaders and generators.
            `by="wanda"` needs none. For `by="movement"`, a later snapshot; the current values of
            the model by default.
        by: The kind of score, for an entry `w` of a weight with gradient `g`.

            - `"gradient"`: the mean over the examples of `|g|`, where `g` is the gradient of one
              example.
            - `"fisher"`: the mean over the examples of `g ** 2`, the diagonal of the empirical
              Fisher matrix [1, 2]. The gradient of each example is squared separately.
            - `"snip"`: `|w * g|`, where `g` is the gradient of the mean loss over all examples [3].
            - `"wanda"`: `|w|` times the L2 norm of all inputs that `w` is multiplied by, over
              examples and positions [4]; for an embedding, times the square root of how often its
              token occurs. Supported for `Dense`, `EinsumDense`, `Embedding`,
              `ReversibleEmbedding`, and all convolutions except separable ones.
            - `"movement"`: `(after ** 2 - before ** 2) / 2`, negative for an entry that moved
              towards zero [5].
        weights: Which weights, as in `freeze`. A pattern skips weights that have no such score.
        sample_weight: The weight of each example in the loss, as for `fit`.
        batch_size: How many examples to read at a time, if `x` is made of arrays; 32 by default.
        batches: The number of batches after which to stop. All the data by default.
        loss: A Keras loss, its name, or a function of `y` and the output. By default the loss that
            the model is compiled with, as `fit` computes it: with `add_loss`, and with the
            penalties of weights that are not completely frozen. If you pass a loss, these are not
            added.

    Returns:
        A dictionary from the path of each weight to a `float32` array of the weight's shape.

    Raises:
        TargetError: `model` is not a layer or model, or a snapshot is not a mapping.
        NotBuiltError: `model` has no weights yet.
        PathError: `weights` matches no weight, two weights have the same path, or a snapshot lacks
            one.
        UnsupportedError: A weight named by its path or as a variable has no such score (a bias for
            `"wanda"`, a quantized layer, LoRA, a wrapped module), or no weight that matches a
            pattern has one.
        ScoreError: `by` is unknown, there is no loss or no data, a number is not positive, a
            snapshot does not fit, or a score is NaN or infinite.
        ValueError: As for `fit` with the same data.

    Note:
        `"gradient"` and `"fisher"` run one backward pass for each example, `"snip"` one for each
        batch. The memory needed is that of the scores, one gradient and one batch. `"snip"` assumes
        that the loss of a batch is the mean over its examples, the default of Keras's losses; with
        `reduction="sum"` or with masks of different lengths it depends on `batch_size`.

        With float16 the loss is scaled up for the backward pass, and the gradient is scaled down.

        `"wanda"` needs layers with Keras's own `call`, and counts padded positions. It skips
        biases, normalization and recurrent layers. For plain SGD with small steps, `"movement"` is
        minus the learning rate times the sum of `g * w` over all steps, as defined by Sanh et al.

    References:
        [1] Kunstner et al. 2019, Limitations of the empirical Fisher approximation for natural
        gradient descent, https://arxiv.org/abs/1905.12558

        [2] Sung et al. 2021, Training neural networks with fixed sparse masks,
        https://arxiv.org/abs/2111.09839

        [3] Lee et al. 2019, SNIP: single-shot network pruning based on connection sensitivity,
        https://arxiv.org/abs/1810.02340

        [4] Sun et al. 2023, A simple and effective pruning approach for large language models,
        https://arxiv.org/abs/2306.11695

        [5] Sanh et al. 2020, Movement pruning: adaptive sparsity by fine-tuning,
        https://arxiv.org/abs/2005.07683

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> x, y = np.eye(3, dtype="float32")[:2], np.zeros((2, 2), "float32")
        >>> fisher = fl.scores(model, x, y, by="fisher", loss="mse")
        >>> {path: score.shape for path, score in fisher.items()}
        {'head/kernel': (3, 2), 'head/bias': (2,)}
        >>> fisher["head/kernel"][2]  # its input is always zero
        array([0., 0.], dtype=float32)
    """
    if by not in _WAYS:
        raise ScoreError(
            f"by: must be one of {', '.join(map(repr, _WAYS))}; got by={by!r}. "
            "For the empirical Fisher write `by='fisher'`."
        )
    if by == "movement":
        given = {
            "sample_weight": sample_weight,
            "batch_size": batch_size,
            "batches": batches,
            "loss": loss,
        }
        for name, value in given.items():
            if value is not None:
                raise ScoreError(
                    f"{name}: by='movement' compares two snapshots and reads no data; got "
                    f"{name}={type(value).__name__}. Leave it out."
                )
        return movement_scores(model, weights, x, y)

    def data() -> Batches:
        return Batches(x, y, sample_weight, batch_size, batches)

    if by == "wanda":
        return wanda_scores(model, weights, data)
    return gradient_scores(model, weights, data, TERMS[by], loss)
