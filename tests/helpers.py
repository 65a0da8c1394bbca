"""Assertions and references that several test modules share."""

from __future__ import annotations

import base64
import inspect
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import frostline as fl
from frostline import cli
from frostline._arrays.pieces import PIECE, pieces
from frostline._deltas.model import weights_in
from frostline._fast.paths import generic
from frostline._weights.tree import Found, unique, walk

ROOT = Path(__file__).parent.parent
"""The root of the checkout."""

OLD_TENSORFLOW = keras.backend.backend() == "tensorflow" and keras.version().startswith("3.12.")
FAILING = {"Muon"} if OLD_TENSORFLOW else set()
"""Optimizers that fail in plain Keras, with nothing frozen; a test checks this."""

STOCK_OPTIMIZERS: dict[str, Any] = {
    name: kind
    for name, kind in sorted(vars(keras.optimizers).items())
    if inspect.isclass(kind) and issubclass(kind, keras.optimizers.Optimizer)
    if name not in {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", *FAILING}
}

WHOLE_MATRIX = {"Adafactor", "Lamb", "Muon"} - FAILING
"""Optimizers whose step for an entry depends on other entries of the variable."""


def value(variable: Any) -> np.ndarray:
    """A copy of a variable as a NumPy array of its own dtype.

    Without a copy, on PyTorch the array would share the variable's memory, which training changes.
    """
    return np.array(keras.ops.convert_to_numpy(variable.value))


def array(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor)))


def bits(array: np.ndarray) -> np.ndarray:
    """The bytes of each entry, so that signed zeros and NaN payloads differ."""
    array = np.ascontiguousarray(array)
    return array.view(np.uint8).reshape(*array.shape, array.dtype.itemsize)


def weights(target: Any) -> list[Found]:
    """Every weight that can be frozen, shared ones once."""
    return unique(walk(target))


def values(target: Any) -> list[np.ndarray]:
    """The whole value of each weight."""
    return [value(weight.variable) for weight in weights(target)]


def assert_same_bits(actual: np.ndarray, expected: np.ndarray, where: Any = None) -> None:
    """Equal to the last bit, everywhere or where a mask is True."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    differs = (bits(actual) != bits(expected)).any(axis=-1)
    if where is not None:
        differs = differs & where
    assert not differs.any(), (
        f"{int(differs.sum())} entries differ, first {np.argwhere(differs)[0]}"
    )


def assert_frozen_stayed(model: Any, before: list[np.ndarray]) -> None:
    """Every frozen entry has the bits that it had in `before`, as `values` gave it."""
    for weight, start in zip(weights(model), before, strict=True):
        assert_same_bits(value(weight.variable), start, where=fl.frozen_mask(weight.variable))


def assert_only_the_rest_moved(model: Any, before: list[np.ndarray]) -> None:
    """Frozen entries keep their bits, and each weight with trainable entries has moved."""
    assert_frozen_stayed(model, before)
    for weight, start in zip(weights(model), before, strict=True):
        free = ~fl.frozen_mask(weight.variable)
        assert (value(weight.variable) != start)[free].any() or not free.any()


def assert_all_same_bits(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Lists of arrays, equal to the last bit."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert_same_bits(one, other)


def assert_same_outputs(run: Any, before: np.ndarray, atol: float = 1e-5) -> None:
    """Outputs after freezing: the same bits on the generic path, close values on a fast path."""
    with generic():
        assert_same_bits(run(), before)
    half = before.dtype.itemsize == 2
    np.testing.assert_allclose(run(), before, rtol=1e-2 if half else 1e-5, atol=atol)


def random_mask(shape: tuple[int, ...], seed: int, kind: str) -> np.ndarray:
    """Random entries, or random positions along a random axis; empty for a single entry."""
    random = np.random.default_rng(seed)
    if np.prod(shape) < 2:
        return np.zeros(shape, bool)
    if kind == "entries":
        mask = random.random(shape) < 0.5
        mask.flat[0], mask.flat[-1] = True, False
        return mask
    axis = int(random.choice([a for a, n in enumerate(shape) if n > 1]))
    along = random.random(shape[axis]) < 0.5
    along[0], along[-1] = True, False
    return np.broadcast_to(
        along.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    ).copy()


def freeze_at_random(target: Any, kind: str, seed: int = 0) -> list[np.ndarray]:
    """Freeze a random part of every weight; return the masks in the order of `weights`.

    The kind is "entries", "axis", or "both", which alternates between them from weight to weight.
    """
    masks = []
    for place, weight in enumerate(weights(target)):
        one = ("axis", "entries")[place % 2] if kind == "both" else kind
        masks.append(random_mask(tuple(weight.variable.shape), seed + place, one))
        if masks[-1].any():
            fl.freeze(target, weight.variable, fl.mask(masks[-1]))
    return masks


def train(model: keras.Model, x: Any, y: Any, steps: int = 3, **compiling: Any) -> None:
    """Take a few steps of AdamW with weight decay on the whole batch."""
    compile_for_test(model, **compiling)
    for _ in range(steps):
        model.train_on_batch(x, y)


def assert_script_ends(script: str, status: int = 0, **environment: str) -> None:
    """Run Python code in a new process and check its exit status."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr[-2000:]


def assert_command_imports_none(
    folder: Path, arguments: list[str], modules: set[str], first: str = ""
) -> None:
    """Run the command in a folder and check that it imports none of `modules`.

    `first` is Python code to run before it.
    """
    script = (
        "import sys\n"
        f"sys.argv = {['frostline', *arguments]!r}\n"
        "from frostline import cli\n"
        f"{first}\n"
        "try:\n"
        "    cli.main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"loaded = {modules!r} & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    path = folder / "frostline"  # the package recognizes the command by its program name
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def compile_for_test(model: keras.Model, optimizer: Any = None, **compiling: Any) -> None:
    """Compile a model, with XLA only on JAX: it costs a second or more for each model."""
    compiling.setdefault("jit_compile", keras.backend.backend() == "jax")
    optimizer = optimizer or keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-3)
    model.compile(optimizer, "mse", **compiling)


@keras.saving.register_keras_serializable("tests")
class DenseAdamW(keras.optimizers.AdamW):
    """AdamW that gets dense gradients on TensorFlow too.

    On TensorFlow the gradient of an embedding has a row for each id of the batch, and the rows of
    a repeated id are squared separately. JAX, PyTorch and a partly frozen embedding have a dense
    gradient, in which these rows are summed first.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        grads = [_densified(gradient) for gradient in grads]
        super().apply(grads, trainable_variables)


def _densified(gradient: Any) -> Any:
    if not hasattr(gradient, "dense_shape"):
        return gradient
    return keras.ops.scatter(gradient.indices[:, None], gradient.values, gradient.dense_shape)


def train_restoring(
    plain: keras.Model, masks: list[np.ndarray], x: Any, y: Any, steps: int = 3, **compiling: Any
) -> None:
    """The reference: train everything and write the frozen entries back after each step.

    With an optimizer that works entry by entry, the trained entries move as if the others were
    constants.
    """
    compiling.setdefault("optimizer", DenseAdamW(0.01, weight_decay=0.1, epsilon=1e-3))
    compile_for_test(plain, **compiling)
    frozen = values(plain)
    for _ in range(steps):
        plain.train_on_batch(x, y)
        write_back(plain, masks, frozen)


def write_back(plain: keras.Model, masks: list[np.ndarray], frozen: list[np.ndarray]) -> None:
    """Restore the values of those entries of a plain model that should be frozen."""
    for weight, mask, before in zip(weights(plain), masks, frozen, strict=True):
        weight.variable.assign(np.where(mask, before, value(weight.variable)))


def gradients(layer: Any, x: Any, loss: Any, call: Any = None) -> tuple[Any, list[Any]]:
    """A loss of a layer's output; its gradients by the trainable variables and a float input."""
    call = call or layer
    variables = layer.trainable_variables
    by_input = keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
    if keras.backend.backend() == "jax":
        import jax

        def run(values, x):
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return loss(call(x))

        arguments = ([v.value for v in variables], x)
        number, found = jax.value_and_grad(run, (0, 1) if by_input else (0,))(*arguments)
        return number, [*found[0], *found[1:]]
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tf: Any = tensorflow

        with tf.GradientTape() as tape:
            tape.watch(x)
            number = loss(call(x))
        sources = [*[v.value for v in variables], *([x] if by_input else [])]
        return number, tape.gradient(number, sources)
    import torch

    x = x.clone().requires_grad_(by_input)
    number = loss(call(x))
    sources = [*[v.value for v in variables], *([x] if by_input else [])]
    return number, list(torch.autograd.grad(number, sources))


def gradients_of_penalty(layer: Any, x: Any) -> list[Any]:
    """Gradients by the trainable variables of a penalty on the gradient by the input."""
    variables = layer.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        def squared(values):
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return (jax.grad(lambda x: layer(x).sum())(jax.numpy.asarray(x)) ** 2).sum()

        return list(jax.grad(squared)([v.value for v in variables]))
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tf: Any = tensorflow

        inputs = tf.convert_to_tensor(x)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                total = tf.reduce_sum(layer(inputs))
            penalty = tf.reduce_sum(inner.gradient(total, inputs) ** 2)
        return outer.gradient(penalty, [v.value for v in variables])
    import torch

    inputs = torch.tensor(x, requires_grad=True)
    (by_input,) = torch.autograd.grad(layer(inputs).sum(), inputs, create_graph=True)
    return list(torch.autograd.grad((by_input**2).sum(), [v.value for v in variables]))


def maps(figure: Any) -> list[Any]:
    """The axes that show a weight; a colour bar has no title."""
    return [axes for axes in figure.axes if axes.get_title("left")]


def image(axes: Any, gid: str) -> Any:
    """The array of an image, or None if there is no such image."""
    found = [image.get_array() for image in axes.images if image.get_gid() == gid]
    assert len(found) <= 1
    return found[0] if found else None


_NOISE = np.random.default_rng(0)


def signed_noise(shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers that are not near zero."""
    return _NOISE.uniform(0.5, 1.5, shape) * _NOISE.choice([-1, 1], shape)


def fill_masked(
    among: Iterable[Any],
    masks: Mapping[int, np.ndarray],
    number: Callable[[tuple[int, ...]], np.ndarray],
    where: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> None:
    """Write `number(shape)` into the masked entries of each weight; masks go by variable id."""
    for weight in among:
        mask = where(masks[id(weight.variable)])
        old = value(weight.variable)
        weight.variable.assign(np.where(mask, number(old.shape), old))


def everything_in(model: Any) -> list[np.ndarray]:
    """Copies of all weights and moving statistics; partly frozen weights are whole."""
    return [value(weight.found.variable) for weight in weights_in(model)]


def frozen_masks(target: Any) -> list[np.ndarray]:
    """The frozen mask of each weight, in the order of `weights`."""
    return [fl.frozen_mask(weight.variable) for weight in weights(target)]


def stored_value(weight: Any) -> np.ndarray:
    """Read a weight from a file."""
    buffer = np.empty(PIECE, np.uint8)
    parts = pieces(weight.shape, weight.dtype.itemsize)
    read = [weight.source.read(part, buffer).copy() for part in parts]
    flat = np.concatenate(read) if read else np.empty(0, weight.dtype)
    return flat.reshape(weight.shape)


def invoke(*arguments: Any) -> Any:
    """Run the command in this process."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli.app(), words, env={"COLUMNS": "100"})


def told(result: Any, status: int = 2) -> str:
    """Check a command's exit status and return what it wrote to standard error."""
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stderr


def data_of(page: Path) -> Any:
    """The data that the script of a report reads."""
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def unpacked(weight: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a weight's map, as the script unpacks them."""
    packed = weight["map"]
    high, wide = packed["grid"]
    content = zlib.decompress(base64.b64decode(packed["content"]))
    found, at = {}, 0
    for name in ("down", "across", "frozen", "moved", "leaked", "nonfinite", "largest"):
        count = {"down": high + 1, "across": wide + 1}.get(name, high * wide)
        if at == len(content):
            break
        planes = np.frombuffer(content[at : at + 4 * count], np.uint8).reshape(4, count)
        found[name] = np.ascontiguousarray(planes.T).view("<u4").ravel()
        at += 4 * count
        if name not in ("down", "across"):
            found[name] = found[name].reshape(high, wide)
    assert at == len(content)
    if "largest" in found:
        found["largest"] = found["largest"].view("<f4")
    return found


@contextmanager
def write_failing(monkeypatch: Any, place: int, failing: type[BaseException]) -> Iterator[None]:
    """Make write number `place` to a variable fail, and check that the block fails with it."""
    written, assign = [], keras.Variable.assign

    def fail(variable: Any, given: Any) -> Any:
        written.append(variable)
        if len(written) == place + 1:
            raise failing("no room")
        return assign(variable, given)

    monkeypatch.setattr(keras.Variable, "assign", fail)
    with pytest.raises(failing, match="no room"):
        yield
    monkeypatch.undo()
    assert len(written) > place
