"""TensorFlow's strategies: mirrored variables, several processes, parameter servers."""

import shutil

import keras
import numpy as np
import pytest

import frostline as fl
from engines.programs import tf_training as shared
from helpers import assert_same_bits, value
from processes import run_together, started

SERVERS = 4
"""A coordinator, two workers and one parameter server."""


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """The reference on one device: `live`, a file to start from, and the model two steps later."""
    folder = tmp_path_factory.mktemp("one")
    engine = shared.Engine()
    shared.live(engine, folder)
    model = engine.make()
    for change in shared.CHANGES[:2]:
        change(model)
        engine.train(model)
    model.save(folder / "start.keras")
    model = engine.load(folder / "start.keras")
    engine.train(model)
    shared.save(model, folder, "back")
    return folder


@pytest.fixture
def folder(one_device, tmp_path):
    shutil.copy(one_device / "start.keras", tmp_path)
    return tmp_path


def assert_alike(there, one_device, *names):
    """The files of an engine match those of one device to float tolerance, and load on one device.

    The loaded model has the same bits and freezes, trains alike, and gives an identical delta file.
    """
    for name in names:
        values, expected = np.load(there / f"{name}.npz"), np.load(one_device / f"{name}.npz")
        model = keras.saving.load_model(there / f"{name}.keras")
        other = keras.saving.load_model(one_device / f"{name}.keras")
        plain = shared.network()
        plain.load_weights(there / f"{name}.weights.h5")
        for path, variable in fl.weights(model).items():
            np.testing.assert_allclose(values[path], expected[path], atol=1e-5, err_msg=path)
            assert_same_bits(value(variable), values[path])
            assert_same_bits(value(fl.weights(plain)[path]), values[path])
            mask = fl.frozen_mask(fl.weights(other)[path])
            np.testing.assert_array_equal(fl.frozen_mask(variable), mask)
        fl.extract_delta(model).save(there / "again.safetensors")
        delta = (there / f"{name}.safetensors").read_bytes()
        assert (there / "again.safetensors").read_bytes() == delta
        for one in (model, other):
            shared.Engine().train(one)
        for path, trained in fl.snapshot(other).items():
            np.testing.assert_allclose(fl.snapshot(model)[path], trained, atol=1e-5, err_msg=path)


def assert_applied(there):
    """Applying the delta on the engine restored the weights that it was extracted from."""
    applied, expected = np.load(there / "applied.npz"), np.load(there / "back.npz")
    for path in expected:
        assert_same_bits(applied[path], expected[path])


def assert_told(stale):
    """Each change warned about the one step that it made stale, and about nothing else."""
    for (message,), path, effect in zip(
        stale,
        ("hidden/kernel", "hidden/kernel", "out/kernel", "out/kernel"),
        ("keeps using", "keeps using", "would still train", "would not train"),
        strict=True,
    ):
        start = f"model/{path}: a tf.function was traced before this change and {effect}"
        assert message.startswith(start)


def test_mirrored(one_device, folder):
    (printed,) = run_together("tf_mirrored", 1, "life", folder, folder=folder)
    assert_alike(folder, one_device, "there", "end", "back")
    assert_alike(folder / "fit", one_device, "there", "end")
    assert_applied(folder)
    told = shared.told(printed)
    assert told["errors"] == {
        "replica": "model/out/kernel: the freeze cannot change inside a step; got a call inside "
        "`strategy.run`. Call it between two steps.",
        "traced": "model/out/kernel: the freeze cannot change inside a step; got a call inside "
        "a tf.function. Call it between two steps.",
        "scope": "model/out/kernel: this weight belongs to another strategy than the open scope; "
        "got scope=MirroredStrategy. Call it outside of `with strategy.scope():`: each "
        "weight keeps its own strategy there.",
    }
    assert_told(told["stale"])
    assert told["leak"].startswith("hidden/kernel: a frozen entry has changed; got weight[0, 0]=")
    assert told["wire"] == [4 * (100 * 50 + 50), 4 * (10 * 50 + 50)]  # only the trainable entries


def test_workers(one_device, folder):
    told = [
        shared.told(one) for one in run_together("tf_workers", 2, "life", folder, folder=folder)
    ]
    for rank in ("0", "1"):
        assert_alike(folder / rank, one_device, "there", "end", "back")
        assert_applied(folder / rank)
    assert_told(told[0]["stale"])
    assert told[0]["life"] == told[1]["life"]
    assert told[0]["back"] == told[1]["back"]
    assert told[0]["wire"] == [4 * (100 * 50 + 50), 4 * (10 * 50 + 50)]
    for error in told[0]["plain"].values():
        assert error.startswith("Attempt to convert a value (PerReplica:{")
    assert set(told[0]["plain"]) == {"fit", "evaluate"}


def test_servers(one_device, folder):
    with started("tf_servers", SERVERS, "life", folder, folder=folder) as processes:
        told = shared.told(processes.finish()[0])
    assert_alike(folder, one_device, "there", "end", "back")
    assert_applied(folder)
    assert_told(told["stale"])
    assert told["running"] == (
        "model/out/bias: scheduled steps are still training this weight; got "
        "coordinator.done()=False. Wait for them first: `coordinator.join()`."
    )
    for error in told["plain"].values():
        assert error == (
            "To use this dataset, you need to pass this dataset to "
            "ClusterCoordinator.create_per_worker_dataset."
        )
    kernel, overhead = 4 * 1000 * 500, 20_000
    (pushed, read), (pushed_frozen, read_frozen) = told["wire"]["plain"], told["wire"]["frozen"]
    assert kernel < min(pushed, read, read_frozen)
    assert max(pushed, read, read_frozen) < kernel + overhead
    assert kernel / 10 < pushed_frozen < kernel / 10 + overhead  # gradients of trainable rows


@pytest.mark.full
def test_fit_goes_on_after_a_kill(tmp_path):
    with started("tf_mirrored", 1, "resume", tmp_path, 0.1, folder=tmp_path) as processes:
        processes.wait_for(0, "step 10\n")
        processes.kill(0)
    (printed,) = run_together("tf_mirrored", 1, "resume", tmp_path, 0, folder=tmp_path)
    assert "step 1\n" not in printed
    assert shared.told(printed)["same"]


@pytest.mark.full
def test_workers_go_on_after_a_kill(tmp_path):
    with started("tf_workers", 2, "resume", tmp_path, 0.1, folder=tmp_path) as processes:
        processes.wait_for(1, "step 7\n")
        processes.kill(1)
    printed = run_together("tf_workers", 2, "resume", tmp_path, 0, folder=tmp_path)
    told = [shared.told(one) for one in printed]
    assert told[0] == told[1]
    assert 0 < told[0]["began"] < shared.EPOCHS


@pytest.mark.full
def test_servers_go_on_after_a_kill(tmp_path):
    with started("tf_servers", SERVERS, "resume", tmp_path, 0.1, folder=tmp_path) as processes:
        processes.wait_for(0, "step 7\n")
        processes.kill(3)
    printed = run_together("tf_servers", SERVERS, "resume", tmp_path, 0, folder=tmp_path)
    assert 0 < shared.told(printed[0])["began"] < shared.EPOCHS


def test_a_worker_is_lost(one_device, tmp_path):
    with started("tf_servers", SERVERS, "lose", tmp_path, folder=tmp_path) as processes:
        processes.wait_for(0, "kill one")
        processes.kill(1)
        (tmp_path / "killed").touch()
        assert processes.processes[0].wait(120) == 0, processes.printed(0)
    assert_alike(tmp_path, one_device, "end")
