"""Threads: changes wait for each other, and concurrent reads always see whole weights."""

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._arrays.plan import plan_from_mask
from frostline._freezing import change
from frostline._weights import changing
from frostline._weights.view import apply_plan
from helpers import assert_same_bits

PACKAGE = str(Path(fl.__file__).parent)
SECONDS = 20
X = np.random.default_rng(1).integers(-3, 4, (4, 6)).astype("float32")

KINDS = {
    "block": fl.at[:2],
    "columns": fl.at[:, 3:],
    "positions": fl.at[[0, 2, 5]],
    "entries": fl.at[0, 0] | fl.at[3, 2],
    "whole": None,
}
ROWS, COLUMNS = np.indices((6, 5))
MASKS = {
    "block": ROWS < 2,
    "columns": COLUMNS >= 3,
    "positions": np.isin(ROWS, [0, 2, 5]),
    "entries": (ROWS == COLUMNS) | (ROWS == 5),
}


def model():
    """A model whose weights are small integers, so that products are exact in any order."""
    made = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, name="a"), keras.layers.Dense(4, name="b")],
        name="m",
    )
    rng = np.random.default_rng(0)
    for variable in made.variables:
        variable.assign(rng.integers(-3, 4, variable.shape).astype("float32"))
    return made


def read(made):
    """Read a model in the ways that another thread may, as arrays."""
    kernel = made.layers[0].kernel
    values = [kernel.value, kernel, made(keras.ops.convert_to_tensor(X))]
    listed = [variable.value for variable in made.trainable_variables]
    assert all(value is not None for value in listed)
    assert fl.frozen_mask(kernel).shape == (6, 5)
    return [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(one)) for one in values]


def assert_same(read_now, before):
    for now, then in zip(read_now, before, strict=True):
        assert_same_bits(now, then)


@contextlib.contextmanager
def in_between(do, *, opcodes=False, files=("",)):
    """Run `do` in another thread between any two lines, or opcodes, that the library runs here."""
    names = tuple(f"{PACKAGE}/{file}" for file in files)
    running, times = threading.Lock(), []

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(names):
            return None
        frame.f_trace_opcodes = opcodes
        if event == ("opcode" if opcodes else "line") and running.acquire(blocking=False):
            try:
                pool.submit(do).result(SECONDS)
                times.append(event)
            finally:
                running.release()
        return trace

    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield times
        finally:
            sys.settrace(before)


# Reading during a change


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_reads_the_same_at_each_step_of_a_change(kind):
    made = model()
    before = read(made)
    steps = ("_weights/view", "_freezing/change", "_freezing/lists", "_freezing/classes")
    with in_between(lambda: assert_same(read(made), before), files=steps) as times:
        fl.freeze(made, "a/kernel", KINDS[kind])
        fl.unfreeze(made, "a/kernel", fl.at[0])
        fl.unfreeze(made)
    assert len(times) > 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_reads_the_same_while_a_change_is_taken_back(kind, monkeypatch):
    made = model()
    fl.freeze(made, "a/kernel", fl.at[1])
    before, frozen = read(made), fl.frozen_mask(made.layers[0].kernel)

    def fail(layers):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(change.backend, "refresh_parameters", fail)
    with (
        in_between(lambda: assert_same(read(made), before), files=("_weights/view",)) as times,
        pytest.raises(KeyboardInterrupt),
    ):
        fl.freeze(made, "a/kernel", KINDS[kind])
    assert len(times) > 30
    assert_same_bits(fl.frozen_mask(made.layers[0].kernel), frozen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_changes_between_any_two_steps_of_a_read_is_whole(kind):
    kernel = model().layers[0].kernel
    whole = keras.ops.convert_to_numpy(kernel.value)
    apply_plan(kernel, frozen_as(kind))
    for rest in (0, 1):  # changes begin at the first or the second step of the read
        plans, waits = [frozen_as(kind), None], iter([False] * rest)

        def change_it(plans=plans, waits=waits):
            if next(waits, True):
                plans.reverse()
                apply_plan(kernel, plans[0])

        apply_plan(kernel, plans[0])
        with in_between(change_it, opcodes=True) as times:
            value = kernel.value
        assert_same_bits(keras.ops.convert_to_numpy(value), whole)
        assert len(times) > 20 or kind == "whole"


def frozen_as(kind):
    return plan_from_mask(np.ones((6, 5), bool) if kind == "whole" else MASKS[kind])


@pytest.mark.parametrize("seed", range(8))
def test_a_model_that_changes_between_any_two_lines_of_its_call_gives_the_same(seed):
    made, before = model(), read(model())
    x, kinds = keras.ops.convert_to_tensor(X), list(KINDS.values())
    often = np.random.default_rng(seed)

    def change_it():
        if often.random() < 0.5:
            return
        if fl.is_frozen(made.layers[0].kernel):
            fl.unfreeze(made)
        else:
            kinds.append(kinds.pop(0))
            fl.freeze(made, "a/kernel", kinds[0])
            fl.freeze(made, "b/kernel", fl.at[1])

    fl.freeze(made, "*/kernel", fl.at[1])
    with in_between(change_it) as times:
        y = made(x)
    assert_same_bits(keras.ops.convert_to_numpy(y), before[-1])
    assert len(times) > 10


def test_reads_in_a_loop_beside_many_changes():
    made = model()
    before = read(made)
    done = threading.Event()

    def reading():
        count = 0
        while not done.is_set():
            assert_same(read(made), before)
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(reading)
        try:
            for _ in range(8):
                for where in KINDS.values():
                    fl.freeze(made, "a/kernel", where)
                    fl.unfreeze(made)
        finally:
            done.set()
        assert reads.result(SECONDS) > 10
    assert_same(read(made), before)


# One change at a time


def delta_of(made):
    with fl.frozen(made, "a/kernel", fl.at[1:]):
        return fl.extract_delta(made)


def entered(context):
    with context:
        pass


def load(made, folder):
    keras.saving.load_model(folder / "frozen.keras")


CALLS = {
    "freeze": lambda made, delta, folder: fl.freeze(made, "a/*"),
    "unfreeze": lambda made, delta, folder: fl.unfreeze(made, "a/*"),
    "train_only": lambda made, delta, folder: fl.train_only(made, "b/*"),
    "frozen": lambda made, delta, folder: entered(fl.frozen(made, "a/*")),
    "thawed": lambda made, delta, folder: entered(fl.thawed(made, "a/*")),
    "apply_delta": lambda made, delta, folder: fl.apply_delta(made, delta),
    "switch_delta": lambda made, delta, folder: fl.switch_delta(made, delta),
    "applied": lambda made, delta, folder: entered(fl.applied(made, delta)),
    "extract_delta": lambda made, delta, folder: fl.extract_delta(made),
    "snapshot": lambda made, delta, folder: fl.snapshot(made),
    "restore": lambda made, delta, folder: fl.restore(made, {}),
    "copy_weights": lambda made, delta, folder: fl.copy_weights(made, model()),
    "get_weights": lambda made, delta, folder: made.get_weights(),
    "load_model": lambda made, delta, folder: load(made, folder),
}


@contextlib.contextmanager
def while_another_thread_changes(made):
    """Hold another thread in the middle of a change until the yielded function is called."""
    begun, go_on = threading.Event(), threading.Event()

    def where(array):
        begun.set()
        assert go_on.wait(SECONDS)
        return array > 0

    with ThreadPoolExecutor(1) as pool:
        changing_ = pool.submit(fl.freeze, made, "a/kernel", where)
        assert begun.wait(SECONDS)
        try:
            yield go_on.set
        finally:
            go_on.set()
            changing_.result(SECONDS)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_waits_for_a_change_by_another_thread(call, tmp_path):
    made, other = model(), model()
    delta = delta_of(made)
    with fl.frozen(made, "a/kernel", fl.at[1]):
        made.save(tmp_path / "frozen.keras")
    with while_another_thread_changes(other) as go_on, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(CALLS[call], made, delta, tmp_path)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        go_on()
        waiting.result(SECONDS)


def test_remove_delta_and_a_schedule_wait_too():
    made, other = model(), model()
    delta = fl.apply_delta(made, delta_of(made))
    schedule = fl.callbacks.gradual_unfreezing(made)
    (begin,) = schedule.actions[0]
    for call in (lambda: fl.remove_delta(made, delta), lambda: begin(made)):
        with while_another_thread_changes(other) as go_on, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(call)
            with pytest.raises(TimeoutError):
                waiting.result(0.1)
            go_on()
            waiting.result(SECONDS)
            fl.unfreeze(other)


def test_calls_of_a_model_do_not_wait():
    made = model()
    before = read(made)
    with while_another_thread_changes(made), ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(read, made).result(SECONDS), before)


def test_an_interrupted_change_keeps_nobody_waiting():
    made = model()

    def where(array):
        raise KeyboardInterrupt

    for interrupted in (lambda: fl.freeze(made, "a/kernel", where), lambda: broken(made)):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fl.freeze, made, "a/kernel", fl.at[0]).result(SECONDS)


def broken(made):
    with fl.frozen(made, "b/*"):
        raise KeyboardInterrupt


def test_a_weight_whose_value_a_step_has_taken_is_refused(monkeypatch):
    made = model()
    before = read(made)
    # JAX takes the values like this while `predict` runs.
    monkeypatch.setattr(change.backend, "is_alive", lambda variable: False)
    with pytest.raises(fl.UnsupportedError, match="a/kernel: a compiled step has taken its value"):
        fl.freeze(made, "a/kernel", fl.at[0])
    monkeypatch.undo()
    assert not fl.is_frozen(made.layers[0].kernel)
    assert_same(read(made), before)


def test_a_selection_may_change_a_model_itself():
    made, other = model(), model()

    def where(array):
        fl.freeze(other, "b/*")
        return array > 0

    fl.freeze(made, "a/kernel", where)
    assert fl.is_frozen(made.layers[0].kernel)
    assert fl.is_frozen(other.layers[1].bias)


def test_two_threads_change_models_that_share_a_layer():
    shared = model()
    first = keras.Sequential([keras.Input((6,)), *shared.layers], name="first")
    second = keras.Sequential([keras.Input((6,)), *shared.layers], name="second")
    for one in (first, second):
        one.compile(keras.optimizers.SGD(0.5, momentum=0.5), "mse")
        one.optimizer.build(one.trainable_variables)
    before, start = read(shared), threading.Barrier(2)

    def changes(made, named):
        start.wait(SECONDS)
        for _ in range(6):
            found = fl.train_only(made, named, fl.at[0])
            assert "1 weight" not in repr(found)
            fl.freeze(made, "*/bias")

    with ThreadPoolExecutor(2) as pool:
        ran = [pool.submit(changes, first, "a/*"), pool.submit(changes, second, "b/*")]
        for one in ran:
            one.result(SECONDS)
    assert_same(read(shared), before)
    # One of the two last `train_only` calls came last, and no call was split by another.
    trains = [not fl.frozen_mask(layer.kernel).all() for layer in shared.layers]
    assert sum(trains) == 1
    (kernel,) = shared.trainable_variables
    assert tuple(kernel.shape) == ((1, 5) if trains[0] else (1, 4))
    for one in (first, second):
        assert [id(v) for v in one.optimizer._trainable_variables] == [id(kernel)]
        one.fit(X, np.zeros((4, 4), "float32"), verbose=0)


@pytest.mark.once
@pytest.mark.skipif(not hasattr(changing.os, "fork"), reason="the system has no fork")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not():
    script = f"""
import os, runpy, threading, time
made = runpy.run_path({changing.__file__!r})
begun = threading.Event()

def change():
    begun.set()
    time.sleep(0.5)

thread = threading.Thread(target=made["alone"](change))
thread.start()
begun.wait()
if child := os.fork():
    os._exit(os.waitpid(child, 0)[1] != 0)
os._exit(not made["CHANGING"].acquire(timeout=5))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
