"""Models of many layers: the work of a call grows linearly with the number of layers."""

import gc
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import frostline as fl

pytestmark = pytest.mark.once

PACKAGE = str(Path(fl.__file__).parent)
COUNTS = (20, 40, 60)


def chain(count):
    """A chain of Dense layers, half of them in nested models of ten, with an optimizer."""

    def stack(x, count):
        for _ in range(count):
            x = keras.layers.Dense(2)(x)
        return x

    inputs = keras.Input((2,))
    x = stack(inputs, count // 2)
    for _ in range(count // 20):
        block = keras.Input((2,))
        x = keras.Model(block, stack(block, 10))(x)
    made = keras.Model(inputs, x)
    made.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    made.optimizer.build(made.trainable_variables)
    return made


def lines_of(call):
    """The number of library lines that a call runs; a line in a loop counts each time it runs."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        count += event == "line"
        return trace

    gc.collect()  # a freeze looks at every living layer, so old ones would count
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def assert_linear(lines):
    """The last 20 layers cost no more than the 20 before; quadratic work would add 800 lines."""
    few, more, many = lines
    assert few > COUNTS[0]
    assert (many - more) - (more - few) < 400


def rows(made):
    fl.freeze(made, "*/kernel", fl.at[0])


def masks(made):
    """A mask for each kernel, by its path; it selects one entry, a different one in turn."""
    one = np.eye(4, dtype=bool).reshape(4, 2, 2)
    return {path: one[i % 4].copy() for i, path in enumerate(fl.weights(made, "*/kernel"))}


def scored(made):
    return {path: np.ones((2, 2), "float32") for path in fl.weights(made, "*/kernel")}


CASES = {
    "freeze rows": (None, rows),
    "freeze whole": (None, lambda made: fl.freeze(made, "*/bias")),
    "freeze by a mapping": (None, lambda made: fl.freeze(made, masks(made))),
    "freeze a list": (None, lambda made: fl.freeze(made, list(fl.weights(made)), fl.at[0])),
    "freeze a share": (None, lambda made: fl.freeze(made, "*/kernel", fl.smallest(0.5))),
    "freeze by scores": (
        None,
        lambda made: fl.freeze(made, "*/kernel", fl.smallest(0.5, by=scored(made), scope="model")),
    ),
    "train_only": (rows, lambda made: fl.train_only(made, "*/bias", fl.at[0])),
    "unfreeze": (rows, fl.unfreeze),
    "unfreeze what was whole": (lambda made: fl.freeze(made, "*/kernel"), fl.unfreeze),
    "unfreeze all": (fl.freeze, fl.unfreeze),
    "summary": (rows, lambda made: str(fl.summary(made))),
    "clone": (rows, keras.models.clone_model),
    "snapshot": (rows, lambda made: fl.restore(made, fl.snapshot(made))),
    "delta": (rows, fl.extract_delta),
}


@pytest.mark.parametrize("case", CASES)
def test_a_call_runs_as_many_lines_for_each_layer(case):
    before, call = CASES[case]
    lines = []
    for count in COUNTS:
        made = chain(count)
        if before is not None:
            before(made)
        lines.append(lines_of(lambda made=made: call(made)))
    assert_linear(lines)


def test_files_run_as_many_lines_for_each_layer(tmp_path):
    saved, loaded = [], []
    for count in COUNTS:
        made, path = chain(count), tmp_path / f"{count}.keras"
        rows(made)
        saved.append(lines_of(lambda made=made, path=path: made.save(path)))
        loaded.append(lines_of(lambda path=path: keras.saving.load_model(path)))
    assert_linear(saved)
    assert_linear(loaded)
