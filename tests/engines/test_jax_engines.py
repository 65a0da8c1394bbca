"""A freeze is exact on JAX with several devices and several processes.

The programs compare their results with one device; these tests compare the processes.
"""

import pytest

from processes import run_together, started

EIGHT = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
TWO = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.mark.parametrize(
    "how", ["data", "model 2", pytest.param("model 1", marks=pytest.mark.full)]
)
def test_eight_devices_train_as_one_does(how, tmp_path):
    (printed,) = run_together("jax_training", 1, tmp_path, how, folder=tmp_path, **EIGHT)
    assert f"ended {how}" in printed


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("data", marks=pytest.mark.full),
        "model 1",
        pytest.param("model 2", marks=pytest.mark.full),
    ],
)
def test_two_processes_train_as_one_device_does(how, tmp_path):
    for printed in run_together("jax_training", 2, tmp_path, how, folder=tmp_path, **TWO):
        assert f"ended {how}" in printed
    assert_processes_agree(tmp_path, how)
    for file in ("{}.safetensors", "{}.weights.h5"):
        one, other = (tmp_path / file.format(rank) for rank in range(2))
        assert one.exists() or how.startswith("model")
        assert not one.exists() or one.read_bytes() == other.read_bytes()


def test_weights_that_span_processes_are_read_in_all_of_them(tmp_path):
    alone, _ = run_together("jax_spanning", 2, folder=tmp_path, **TWO)
    assert "model/h/kernel: no process holds the whole weight, so all of them" in alone
    assert "move it out of `if jax.process_index() == 0:`" in alone


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (2, "model 1"),
        pytest.param(1, "model 2", marks=pytest.mark.full),
        pytest.param(2, "data", marks=pytest.mark.full),
    ],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(count, how, tmp_path):
    devices = TWO if count == 2 else EIGHT
    with started("jax_restart", count, tmp_path, how, folder=tmp_path, **devices) as processes:
        processes.wait_for(count - 1, "in the fourth epoch")
        processes.kill(count - 1)
    for printed in run_together("jax_restart", count, tmp_path, how, folder=tmp_path, **devices):
        assert "as undisturbed" in printed
    assert_processes_agree(tmp_path, "restarted")


@pytest.mark.parametrize(("count", "written"), [(1, "sharded.keras"), (2, "tuned.safetensors")])
def test_the_lines_of_the_page_run(count, written, tmp_path):
    block = count - 1
    run_together("jax_page", count, tmp_path, block, folder=tmp_path, **TWO)
    assert (tmp_path / written).exists()


def assert_processes_agree(folder, name):
    """Values that several processes hold have the same bits in each."""
    files = sorted(folder.glob(f"{name}-*.txt"))
    found = [dict(line.rsplit(" ", 1) for line in file.read_text().splitlines()) for file in files]
    for one in found[1:]:
        common = found[0].keys() & one.keys()
        assert common, "nothing is on both"
        assert {key: found[0][key] for key in common} == {key: one[key] for key in common}
