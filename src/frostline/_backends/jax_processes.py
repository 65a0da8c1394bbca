"""JAX arrays that span processes: each process holds only some of the shards."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils

from frostline._errors import ProcessError

Region = tuple[slice, ...]

PATIENCE = 300
"""The number of seconds that a process waits for the others."""


def spans(value: Any) -> bool:
    """Whether some process does not have all of a value."""
    if not isinstance(value, jax.Array) or isinstance(value, Tracer) or value.is_fully_addressable:
        return False
    held = defaultdict(set)
    for device, region in value.sharding.devices_indices_map(value.shape).items():
        held[device.process_index].add(str(region))
    return any(one != set.union(*held.values()) for one in held.values())


def local(value: Any) -> tuple[np.ndarray, tuple[Region, ...]]:
    """The shards of this process, in an array of the whole shape, and their regions."""
    if value.is_fully_replicated:  # JAX cannot list the shards of a new one
        return np.asarray(value), (tuple(slice(0, n) for n in value.shape),)
    whole = np.zeros(value.shape, value.dtype)
    regions = {str(shard.index): shard for shard in value.addressable_shards}
    for shard in regions.values():
        whole[shard.index] = shard.data
    return whole, tuple(shard.index for shard in regions.values())


def scattered(array: np.ndarray, sharding: Any) -> Any:
    """Shard an array that every process has; nothing is sent."""
    return jax.make_array_from_callback(array.shape, sharding, lambda region: array[region])


def gathered(bits: Any, of: str) -> np.ndarray:
    """Gather the whole array in each of the processes that it spans.

    All processes must call this. If only one did, it would hang, and neither Ctrl-C nor SIGTERM
    would stop it. So they first meet at a barrier with a time limit.

    Args:
        bits: The array, in a dtype that no collective rounds.
        of: The path of the weight, for the error.

    Raises:
        ProcessError: Another process does not call it.
    """
    _meet(of, "no process holds the whole weight, so all of them must read it at the same time")
    return multihost_utils.process_allgather(bits, tiled=True)


def agreed(of: str, change: int) -> None:
    """Check that all processes make the same change of the freeze.

    Raises:
        ProcessError: They do not.
    """
    _meet(of, "several processes hold the weight, so all of them must change its freeze")
    every = multihost_utils.process_allgather(np.uint32(change)).tolist()
    if len(set(every)) > 1:
        raise ProcessError(
            f"{of}: all processes must freeze the same entries; got {len(set(every))} different "
            f"calls in {len(every)} processes. Pass the same entries in each process; if a "
            "callable draws random numbers, seed it: `np.random.default_rng(0)`."
        )


def _meet(of: str, rule: str) -> None:
    # JAX has no public barrier with a time limit; Orbax uses this one too. It is imported late
    # because only several processes need it. If JAX moves it, the test of a single caller fails.
    from jax._src import distributed

    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier("frostline", PATIENCE * 1000)
    except RuntimeError as error:
        raise ProcessError(
            f"{of}: {rule}; got a call in process {jax.process_index()} of {jax.process_count()}, "
            f"but not in all others within {PATIENCE} s. Make this call in every process: "
            "move it out of `if jax.process_index() == 0:`."
        ) from error
