"""PyTorch objects that keep the parameters they were made with: optimizers and model wrappers."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from typing import Any

import keras
import torch
from torch.nn.parallel import DistributedDataParallel

from frostline import _keras
from frostline._backends.found import Wrapper

OPTIMIZERS = (torch.optim.Optimizer,)

# For each DistributedDataParallel and each id of its parameters, whether it averages the gradient.
# It averages those that were trainable when the module was made, and has no public list of them.
# So `requires_grad` is recorded before the first change of a parameter.
_reduced: weakref.WeakKeyDictionary[Any, dict[int, bool]] = weakref.WeakKeyDictionary()


def wrapper_kinds() -> tuple[type, ...]:
    """The classes of modules that wrap a model, as far as they are imported."""
    # Not every build of PyTorch has FSDP, and before it is imported there are no such modules.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    names = ("FullyShardedDataParallel", "FSDPModule")
    return (DistributedDataParallel, *(vars(fsdp)[name] for name in names if fsdp is not None))


def native_optimizers(variables: Iterable[Any], living: Iterable[Any]) -> list[tuple[str, str]]:
    """The optimizers among `living` objects that hold the storage of a variable: class, path."""
    paths = {id(_keras.storage(variable)): variable.path for variable in variables}
    return [
        (type(optimizer).__name__, paths[id(parameter)])
        for optimizer in living
        if issubclass(type(optimizer), OPTIMIZERS)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if id(parameter) in paths
    ]


def wrappers(living: Iterable[Any]) -> list[Wrapper]:
    """The modules among `living` objects that train a model in several processes."""
    found, kinds = [], wrapper_kinds()
    for one in living:
        kind = next((kind for kind in kinds if issubclass(type(one), kind)), None)
        if kind is DistributedDataParallel:
            # A module whose constructor failed may still be alive in a traceback.
            found += [_reducing(one)] if "reducer" in vars(one) else []
        elif kind is not None:
            name = "fully_shard" if kind.__name__ == "FSDPModule" else kind.__name__
            inside = (m for m in one.modules() if issubclass(type(m), keras.layers.Layer))
            found += [_sharding(layer, name) for layer in inside]
    return found


def _reducing(module: Any) -> Wrapper:
    known = _reduced.setdefault(module, {})
    # The module keeps these parameters alive, so their ids stay unique.
    made_with = {id(parameter) for parameter in module._module_parameters}
    skips = module.find_unused_parameters and not module.static_graph

    def holds(variable: Any) -> bool:
        return id(_keras.storage(variable)) in made_with

    def reduces(variable: Any) -> bool:
        storage = _keras.storage(variable)
        return known.setdefault(id(storage), storage.requires_grad)

    def waits_for(variable: Any) -> bool:
        return reduces(variable) and _keras.storage(variable).requires_grad and not skips

    name = f"{type(module).__name__} around {type(module.module).__name__}"
    return Wrapper(module, name, holds, reduces, waits_for)


def _sharding(layer: Any, name: str) -> Wrapper:
    inside = {id(variable) for variable in layer.variables}

    def never(variable: Any) -> bool:
        del variable
        return False

    return Wrapper(layer, name, lambda variable: id(variable) in inside, never, never, True)
