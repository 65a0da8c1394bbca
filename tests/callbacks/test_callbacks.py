"""Schedules that change a freeze during `fit`, freezes for a `with` block, and audits."""

import gc
import itertools
import re
import signal
import tempfile
import warnings
from typing import Any, cast

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import assert_same_bits, assert_script_ends, compile_for_test, value
from models import data, dense_layers

X, Y = data(16, 6)
LAYERS = ("a", "b", "c")


def small():
    model = dense_layers(a=5, b=4, c=3)
    compile_for_test(model)
    return model


def fit(model, *callbacks, epochs=4, **options):
    model.fit(
        X, Y, batch_size=8, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks),
        **options,
    )  # fmt: skip


def kernels(model):
    return {name: value(model.get_layer(name).kernel) for name in LAYERS}


class Each(keras.callbacks.Callback):
    """Call a function at the end of each epoch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        self.function(self.model, epoch)


# Contexts


def test_frozen_lasts_for_its_block():
    model = small()
    before = kernels(model)
    with fl.frozen(model, "a/kernel", fl.at[:2]) as changes:
        assert [change.entries for change in changes] == [10]
        fit(model, epochs=1)
    assert_same_bits(kernels(model)["a"][:2], before["a"][:2])
    assert not fl.is_frozen(model.get_layer("a").kernel)
    fit(model, epochs=1)
    assert (kernels(model)["a"][:2] != before["a"][:2]).any()


def test_thawed_lasts_for_its_block():
    model = small()
    fl.freeze(model, "a/kernel", fl.at[:2])
    fl.freeze(model, "b/bias")
    masks = [fl.frozen_mask(v) for v in (model.get_layer("a").kernel, model.get_layer("b").bias)]
    before = kernels(model)
    with fl.thawed(model):
        assert not fl.is_frozen(model.get_layer("a").kernel)
        fit(model, epochs=1)
    assert (kernels(model)["a"][:2] != before["a"][:2]).any()
    after = [fl.frozen_mask(v) for v in (model.get_layer("a").kernel, model.get_layer("b").bias)]
    for one, other in zip(masks, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("context", [fl.frozen, fl.thawed])
def test_a_block_that_fails_restores_what_was_frozen(context):
    model = small()
    fl.freeze(model, "a/kernel", fl.at[0])
    before = fl.frozen_mask(model.get_layer("a").kernel)

    def run():
        with context(model, "a/kernel"):
            fl.freeze(model, "c/*")
            raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        run()
    np.testing.assert_array_equal(fl.frozen_mask(model.get_layer("a").kernel), before)
    assert not fl.is_frozen(model.get_layer("c").kernel)


def test_a_block_that_can_not_begin_changes_nothing():
    model = small()
    with pytest.raises(fl.PathError, match="no weight has this path"), fl.frozen(model, "nowhere"):
        raise AssertionError("never here")
    assert not any(fl.is_frozen(model.get_layer(name).kernel) for name in LAYERS)


# Schedules


def test_a_schedule_does_what_verbs_between_fits_do():
    model, by_hand = small(), small()
    seen = {}
    schedule = fl.callbacks.FreezeSchedule(
        {
            1: [
                lambda m: fl.freeze(m, "a/kernel", fl.at[:, ::2]),
                lambda m: fl.freeze(m, "*/bias"),
            ],
            3: lambda m: fl.unfreeze(m, "a/kernel", fl.at[:, 0]),
        }
    )
    optimizer = model.optimizer
    fit(model, schedule, Each(lambda m, epoch: seen.update({epoch: kernels(m)})), epochs=5)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 10
    assert_same_bits(seen[1]["a"][:, ::2], seen[0]["a"][:, ::2])
    assert_same_bits(seen[4]["a"][:, 2::2], seen[0]["a"][:, 2::2])
    assert (seen[3]["a"][:, 0] != seen[2]["a"][:, 0]).any()
    fit(by_hand, epochs=1)
    fl.freeze(by_hand, "a/kernel", fl.at[:, ::2])
    fl.freeze(by_hand, "*/bias")
    fit(by_hand, epochs=3, initial_epoch=1)
    fl.unfreeze(by_hand, "a/kernel", fl.at[:, 0])
    fit(by_hand, epochs=5, initial_epoch=3)
    for name in LAYERS:
        assert_same_bits(kernels(model)[name], kernels(by_hand)[name])


def test_a_schedule_begins_again_in_a_second_fit():
    model = small()
    schedule = fl.callbacks.FreezeSchedule(
        {0: lambda m: fl.freeze(m, "a/*"), 1: lambda m: fl.unfreeze(m)}
    )
    for _ in range(2):
        fit(model, schedule, epochs=2, validation_data=(X, Y))
        assert not fl.is_frozen(model.get_layer("a").kernel)


def test_an_action_that_fails_ends_training_and_changes_nothing():
    model = small()
    schedule = fl.callbacks.FreezeSchedule({1: lambda m: fl.freeze(m, "nowhere")})
    with pytest.raises(fl.PathError, match="no weight has this path") as failed:
        fit(model, schedule)
    assert failed.value.__notes__ == ["In an action of FreezeSchedule, at epoch 1."]
    assert not fl.is_frozen(model.get_layer("a").kernel)
    fit(model, epochs=1)


def test_an_action_after_the_last_epoch_warns():
    schedule = fl.callbacks.FreezeSchedule({9: lambda m: fl.unfreeze(m)})
    with pytest.warns(UserWarning, match=re.escape("got epochs=2, actions at [9]")):
        fit(small(), schedule, epochs=2)


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_gradual_unfreezing_thaws_one_layer_after_another(order):
    model = small()
    fl.freeze(model, "a/kernel", fl.at[0])
    history = [kernels(model)]
    schedule = fl.callbacks.gradual_unfreezing(model, every=2, order=order)
    fit(model, schedule, Each(lambda m, epoch: history.append(kernels(m))), epochs=6)
    moved = [
        {name for name in LAYERS if (after[name] != before[name]).any()}
        for before, after in itertools.pairwise(history)
    ]
    names = LAYERS[::-1] if order == "top_down" else LAYERS
    assert moved == [set(names[: 1 + epoch // 2]) for epoch in range(6)]
    assert_same_bits(history[-1]["a"][0], history[0]["a"][0])
    np.testing.assert_array_equal(
        fl.frozen_mask(model.get_layer("a").kernel)[:, 0], [True, *[False] * 5]
    )


def test_gradual_unfreezing_thaws_one_group_after_another():
    model = small()
    schedule = fl.callbacks.gradual_unfreezing(model, groups=["[ab]/kernel", "c/*"])
    frozen = []
    fit(
        model,
        schedule,
        Each(lambda m, _: frozen.append([fl.is_frozen(v) for v in m.get_layer("a").variables[:1]])),
        epochs=2,
    )
    assert frozen == [[True], [False]]
    assert not fl.is_frozen(model.get_layer("a").bias)


def test_gradual_unfreezing_that_begins_late_is_refused():
    model = small()
    schedule = fl.callbacks.gradual_unfreezing(model)
    with pytest.raises(fl.ScheduleError, match=r"^b/kernel: this schedule did not see epoch 0"):
        fit(model, schedule, initial_epoch=1)


def test_gradual_unfreezing_of_another_model_is_refused():
    model = small()
    with pytest.raises(
        fl.ScheduleError, match=r"^./kernel: this schedule was made for another model"
    ):
        fit(model, fl.callbacks.gradual_unfreezing(small()))
    assert not fl.is_frozen(model.get_layer("a").kernel)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fl.callbacks.gradual_unfreezing(small(), groups="a/*"), "got groups='a/*'"),
        (lambda: fl.callbacks.FreezeSchedule(cast(Any, [print])), "got actions=list"),
        (lambda: fl.callbacks.FreezeSchedule({-1: print}), "got epoch=-1"),
        (lambda: fl.callbacks.FreezeSchedule({True: print}), "got epoch=True"),
        (lambda: fl.callbacks.FreezeSchedule({0: cast(Any, "a/*")}), "got action='a/*'"),
        (lambda: fl.callbacks.gradual_unfreezing(small(), every=0), "got every=0"),
        (lambda: fl.callbacks.gradual_unfreezing(small(), order="up"), "got order='up'"),
        (lambda: fl.callbacks.gradual_unfreezing(small(), groups=[]), "got groups=[]"),
        (lambda: fl.callbacks.FreezeAudit(every=0), "got every=0"),
        (lambda: fl.callbacks.FreezeAudit(on_leak="stop"), "got on_leak='stop'"),
        (lambda: fl.callbacks.FreezeAudit().audit(), "before training"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(fl.ScheduleError, match=re.escape(message)):
        make()


# Backups


class Stop(keras.callbacks.Callback):
    """End the run in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch:
            raise InterruptedError("stopped")


def by_size():
    """A schedule whose first action depends on the weights, so that it can't be repeated."""
    return fl.callbacks.FreezeSchedule(
        {
            1: lambda m: fl.freeze(m, "a/kernel", lambda a: abs(a) > np.median(abs(a))),
            3: lambda m: fl.unfreeze(m, "a/kernel", fl.at[0]),
        }
    )


@pytest.mark.parametrize("first", ["schedule", "backup"])
def test_a_run_that_was_stopped_goes_on_as_it_was(tmp_path, first):
    def callbacks(*more):
        pair = [by_size(), keras.callbacks.BackupAndRestore(tmp_path / "backup")]
        return [*(pair if first == "schedule" else pair[::-1]), *more]

    whole = small()
    fit(whole, by_size(), epochs=5)
    with pytest.raises(InterruptedError, match="stopped"):
        fit(small(), *callbacks(Stop(2)), epochs=5)
    again = small()
    fit(again, *callbacks(), epochs=5)
    assert int(again.optimizer.iterations) == 10
    for name in LAYERS:
        one, other = (model.get_layer(name).kernel for model in (again, whole))
        np.testing.assert_array_equal(fl.frozen_mask(one), fl.frozen_mask(other))
        assert_same_bits(value(one), value(other))
    assert not (tmp_path / "backup").exists()


def test_a_backup_in_mid_epoch_repeats_no_action(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)

    calls = []
    actions = {0: lambda m: fl.freeze(m, "a/*"), 2: lambda m: calls.append(fl.unfreeze(m, "a/*"))}
    with pytest.raises(InterruptedError, match="stopped"):
        fit(small(), fl.callbacks.FreezeSchedule(actions), backup(), Stop(2))
    assert len(calls) == 1
    again = small()
    fit(again, fl.callbacks.FreezeSchedule(actions), backup())
    assert len(calls) == 1
    assert not fl.is_frozen(again.get_layer("a").kernel)


def test_gradual_unfreezing_goes_on_from_a_backup(tmp_path):
    def run(*more):
        model = small()
        fl.freeze(model, "a/kernel", fl.at[0])
        schedule = fl.callbacks.gradual_unfreezing(model)
        return model, [schedule, keras.callbacks.BackupAndRestore(tmp_path / "backup"), *more]

    model, callbacks = run(Stop(1))
    with pytest.raises(InterruptedError, match="stopped"):
        fit(model, *callbacks)
    model, callbacks = run()
    fit(model, *callbacks)
    np.testing.assert_array_equal(
        fl.frozen_mask(model.get_layer("a").kernel)[:, 0], [True, *[False] * 5]
    )
    assert not fl.is_frozen(model.get_layer("b").kernel)


def test_a_backup_without_a_note_is_refused(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(InterruptedError, match="stopped"):
        fit(small(), backup, Stop(1))
    model = small()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(fl.RestoreError, match="the backup does not say what was frozen"):
        fit(model, by_size(), backup)
    assert not fl.is_frozen(model.get_layer("a").kernel)


KILLED = """
import os, signal, sys
import keras, numpy as np, frostline as fl

folder, out, kill = {folder!r}, {out!r}, {kill}
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x, y = random.normal(size=(16, 6)), random.normal(size=(16, 3))
layers = [
    keras.layers.Dense(5, activation="tanh", name="a"),
    keras.layers.Dense(3, name="c"),
]
model = keras.Sequential([keras.Input((6,)), *layers])
model.compile(keras.optimizers.AdamW(0.01), "mse")


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if kill and self.epoch == 2 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


schedule = fl.callbacks.FreezeSchedule({{
    1: lambda m: fl.freeze(m, "a/kernel", lambda a: abs(a) > np.median(abs(a))),
    3: lambda m: fl.unfreeze(m, "a/kernel", fl.at[0]),
}})
backup = [keras.callbacks.BackupAndRestore(folder)] if folder else []
model.fit(x, y, batch_size=4, epochs=4, verbose=0, shuffle=False,
          callbacks=[schedule, *backup, Kill()])
mask = fl.frozen_mask(layers[0].kernel)
np.savez(out, *[keras.ops.convert_to_numpy(layer.kernel.value) for layer in layers],
         mask=mask)
"""


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    def script(name, folder="", kill=False):
        out = str(tmp_path / name)
        return KILLED.format(folder=folder and str(tmp_path / folder), out=out, kill=kill)

    exec(script("whole.npz"), {})
    keras.backend.clear_session()  # as in a new process, where the numbers in names start again
    assert_script_ends(script("never.npz", "backup", kill=True), status=-signal.SIGKILL)
    exec(script("again.npz", "backup"), {})
    assert not (tmp_path / "never.npz").exists()
    whole, again = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "again.npz")
    for name in whole.files:
        assert_same_bits(again[name], whole[name])


# Audits


class Leak(keras.callbacks.Callback):
    """Change one entry of a weight in the middle of an epoch."""

    def __init__(self, layer, place, new=None):
        super().__init__()
        self.layer, self.place, self.new = layer, place, new

    def on_train_batch_end(self, batch, logs=None):
        kernel = self.model.get_layer(self.layer).kernel
        changed = value(kernel)
        changed[self.place] = changed[self.place] + 1 if self.new is None else self.new
        kernel.assign(changed)


FROZEN = {
    "whole": fl.everything,
    "rows": fl.at[2:4],
    "columns": fl.at[:, [1, 3]],
    "entries": fl.mask(np.arange(30).reshape(6, 5) % 3 == 1),
}
frozen = pytest.mark.parametrize("where", FROZEN.values(), ids=FROZEN.keys())


@frozen
@pytest.mark.parametrize("every", ["epoch", 1])
def test_an_audit_passes_where_nothing_frozen_moved(where, every):
    model = small()
    fl.freeze(model, "a/kernel", where)
    audit = fl.callbacks.FreezeAudit(every)
    fit(model, audit, epochs=2)
    assert audit.comparisons == (2 if every == "epoch" else 5)


@frozen
def test_an_audit_finds_the_entry_that_changed(where):
    model = small()
    fl.freeze(model, "a/kernel", where)
    place = tuple(np.argwhere(fl.frozen_mask(model.get_layer("a").kernel))[-1].tolist())
    with pytest.raises(fl.AuditError, match=re.escape(f"a/kernel: a frozen entry has changed; got "
                                                      f"weight{list(place)}=")):  # fmt: skip
        fit(model, Leak("a", place, 7.0), fl.callbacks.FreezeAudit())


def test_an_audit_sees_the_sign_of_a_zero():
    model = small()
    kernel = model.get_layer("a").kernel
    kernel.assign(np.zeros((6, 5), "float32"))
    fl.freeze(model, "a/kernel", fl.at[0])
    with pytest.raises(fl.AuditError, match=re.escape("-0.0")):
        fit(model, Leak("a", (0, 2), -0.0), fl.callbacks.FreezeAudit(every=1))


def test_an_audit_warns_where_asked():
    model = small()
    fl.freeze(model, "a/kernel", fl.at[0])
    with pytest.warns(UserWarning, match="a frozen entry has changed") as told:
        fit(model, Leak("a", (0, 0), 7.0), fl.callbacks.FreezeAudit(on_leak="warn"), epochs=3)
    # There is one warning only, because the entry does not change again.
    assert len([one for one in told if "frozen entry" in str(one.message)]) == 1


@pytest.mark.parametrize("first", ["schedule", "audit"])
def test_an_audit_follows_a_schedule(first):
    def callbacks():
        schedule = fl.callbacks.FreezeSchedule(
            {
                1: lambda m: fl.freeze(m, "a/kernel", fl.at[:, 1:4]),
                2: lambda m: fl.unfreeze(m, "a/kernel", fl.at[0]),
                3: lambda m: fl.unfreeze(m, "b/*"),
            }
        )
        pair = [schedule, fl.callbacks.FreezeAudit()]
        return pair if first == "schedule" else pair[::-1]

    model = small()
    fl.freeze(model, "b/*")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, *callbacks(), epochs=5)
    model = small()
    fl.freeze(model, "b/*")
    with pytest.raises(fl.AuditError, match=re.escape("a/kernel")):
        fit(model, *callbacks(), Leak("a", (3, 2)), epochs=5)


@pytest.mark.parametrize("first", ["schedule", "audit"])
@pytest.mark.parametrize("when", [0, 1])
def test_an_audit_notes_what_is_frozen_when_an_epoch_begins(first, when):
    """The order of the callbacks does not matter, even if a third one changes an entry after."""
    schedule = fl.callbacks.FreezeSchedule({when: lambda m: fl.freeze(m, "a/kernel", fl.at[0])})
    audit = fl.callbacks.FreezeAudit()
    pair = [schedule, audit] if first == "schedule" else [audit, schedule]

    def leak(epoch, logs):
        if epoch == when:
            kernel = pair[0].model.get_layer("a").kernel
            kernel.assign(kernel + 1)

    message = rf"a/kernel: a frozen entry has changed; got weight\[0, 0\]=.*in epoch {when},"
    with pytest.raises(fl.AuditError, match=message):
        fit(small(), *pair, keras.callbacks.LambdaCallback(on_epoch_begin=leak), epochs=3)
    audit.on_train_end()


@pytest.mark.once
@pytest.mark.parametrize("order", [*map("".join, itertools.permutations("ASL"))])
@pytest.mark.parametrize("when", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:FreezeSchedule. `fit` ends before some actions")
def test_an_audit_finds_what_any_callback_writes_when_an_epoch_ends(order, when):
    """In the last epoch too, and if the entry begins to train in the next one."""
    model = small()
    fl.freeze(model, "a/*")

    def leak(epoch, logs):
        if epoch == when:
            kernel = model.get_layer("a").kernel
            kernel.assign(kernel + 1)

    callbacks = {
        "A": fl.callbacks.FreezeAudit(),
        "S": fl.callbacks.FreezeSchedule({when + 1: lambda m: fl.unfreeze(m)}),
        "L": keras.callbacks.LambdaCallback(on_epoch_end=leak),
    }
    with pytest.raises(fl.AuditError, match=r"^a/kernel: a frozen entry has changed"):
        fit(model, *(callbacks[one] for one in order), epochs=3)


def test_an_audit_says_at_which_batch():
    model = small()
    fl.freeze(model, "a/kernel", fl.at[0])
    said = re.escape("7.0, was ") + ".*" + re.escape("in epoch 0, counted from 0, after 1 batches)")
    with pytest.raises(fl.AuditError, match=said):
        fit(model, Leak("a", (0, 0), 7.0), fl.callbacks.FreezeAudit(every=1))


def test_an_audit_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = small()
    fl.freeze(model, "a/kernel", fl.at[0])
    audit = fl.callbacks.FreezeAudit()
    seen = []
    fit(model, audit, Each(lambda m, epoch: seen.extend(tmp_path.iterdir())), epochs=1)
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == []
    audit = fl.callbacks.FreezeAudit()
    with pytest.raises(InterruptedError, match="stopped"):
        fit(model, audit, Stop(0))
    del audit
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_an_audit_compares_half_precision():
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    fl.freeze(model, "a/kernel", fl.at[0])
    fit(model, fl.callbacks.FreezeAudit(), epochs=1)
