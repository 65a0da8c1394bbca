"""`ModelParallel` on eight devices of one machine: results, memory and communication."""

import os
from pathlib import Path

import pytest

from processes import run_together

ROOT = Path(__file__).parents[2]
EIGHT = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}


@pytest.mark.parametrize("program", ["jax_sharded", "jax_memory"])
def test_weights_stay_shared_among_devices(program, tmp_path):
    run_together(program, 1, folder=tmp_path, **EIGHT)
