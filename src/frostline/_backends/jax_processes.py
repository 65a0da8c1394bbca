"""JAX arrays of which a process holds only some shards, the others are in other processes."""

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
"""Seconds that a process waits for the others."""


def spans(value: Any) -> bool:
    """Whether some process lacks a part of a value."""
    if not isinstance(value, jax.Array) or isinstance(value, Tracer) or value.is_fully_addressable:
        return False
    held = defaultdict(set)
    for device, region in value.sharding.devices_indices_map(value.shape).items():
        held[device.process_index].add(str(region))
    return any(one != set.union(*held.values()) for one in held.values())


def local(value: Any) -> tuple[np.ndarray, tuple[Region, ...]]:
    """The shards that this process holds, in an array of the whole shape, and where they are."""
    if value.is_fully_replicated:  # JAX cannot list the shards of a new one
        return np.asarray(value), (tuple(slice(0, n) for n in value.shape),)
    whole = np.zeros(value.shape, value.dtype)
    regions = {str(shard.index): shard for shard in value.addressable_shards}
    for shard in regions.values():
        whole[shard.index] = shard.data
    return whole, tuple(shard.index for shard in regions.values())


def scattered(array: np.ndarray, sharding: Any) -> Any:
    """An array that every process has, as one of which each holds its shards; nothing is sent."""
    return jax.make_array_from_callback(array.shape, sharding, lambda region: array[region])


def gathered(bits: Any, of: str) -> np.ndarray:
    """The whole of an array that spans processes, in each of them.

    Every process has to call it. If one alone did, all of them would hang, and neither Ctrl-C nor
    SIGTERM would end that. So they meet first, for which there is a time limit.

    Args:
        bits: The array, of a dtype that no collective rounds.
        of: The path of the weight, for the error.

    Raises:
        ProcessError: The other processes do not call it as well.
    """
    _meet(of, "no process holds the whole weight, so all of them have to read it at the same time")
    return multihost_utils.process_allgather(bits, tiled=True)


def agreed(of: str, change: int) -> None:
    """Meet the other processes, all of which have to make the same change of what is frozen.

    Raises:
        ProcessError: Not all do.
    """
    _meet(of, "several processes hold the weight, so all of them have to change its freeze")
    every = multihost_utils.process_allgather(np.uint32(change)).tolist()
    if len(set(every)) > 1:
        raise ProcessError(
            f"{of}: the processes that hold the weight do not freeze the same entries; got "
            f"{len(set(every))} different calls in {len(every)} processes. Pass the same "
            "entries in each; seed a callable that draws, `np.random.default_rng(0)`."
        )


def _meet(of: str, rule: str) -> None:
    # JAX has no public barrier with a time limit. Orbax takes it from here too. Late: only several
    # processes need it, and the test of a process that asks alone tells the day that it moves.
    from jax._src import distributed

    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier("frostline", PATIENCE * 1000)
    except RuntimeError as error:
        raise ProcessError(
            f"{of}: {rule}; got a call in process {jax.process_index()} of {jax.process_count()}, "
            f"and no such call in another within {PATIENCE} s. Make this call in every process: "
            "take it out of `if jax.process_index() == 0:`."
        ) from error
