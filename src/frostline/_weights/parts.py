"""The two variables that a partly frozen one is made of, and how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import keras

from frostline import _keras
from frostline._arrays.plan import SplitPlan, fingerprint
from frostline._backends.current import backend
from frostline._weights import split
from frostline._weights.layouts import part_layout

P = TypeVar("P", bound=SplitPlan)


@dataclass
class Parts(Generic[P]):
    """What a partly frozen variable is made of."""

    plan: P
    trainable: Any
    frozen: Any
    order: Any = None
    """How the memory of the whole one was laid out, see `Backend.memory_order`."""


def parts_of(variable: Any) -> Parts[SplitPlan] | None:
    """What a variable is made of now; None for one that is not divided."""
    return variable.__dict__.get("_frostline")


def make_parts(variable: Any, plan: SplitPlan, *, trainable: bool) -> Parts[SplitPlan]:
    """Divide the value of a variable; `trainable` is what its layer says of it."""
    with backend.creating(_stored(variable)), backend.naming(variable), _keras.untracked():
        whole = backend.read(variable)
        return Parts(
            plan,
            _part(variable, split.take_trainable(plan, whole), "trainable", trainable, plan),
            _part(variable, split.take_frozen(plan, whole), "frozen", False, plan),
            backend.memory_order(whole),
        )


def _stored(variable: Any) -> Any:
    """A variable that has storage: one that is divided already has it in its parts."""
    parts = parts_of(variable)
    return variable if parts is None else parts.trainable


def _part(variable: Any, value: Any, role: str, trainable: bool, plan: SplitPlan) -> Any:
    # The trainable part goes by the name and path of the weight, so that all that is told of
    # weights by name holds for it: exclusions from decay, maps of optimizers, layout maps.
    suffix = "" if role == "trainable" else f"_{role}"
    # Keras 3.12 takes a layout on JAX alone, so there is no argument where there is none.
    layout = part_layout(variable, plan, role)
    part = keras.Variable(
        value,
        dtype=variable._dtype,
        # TensorFlow's tape never watches what was made without; the flag below is Keras's own.
        trainable=role == "trainable",
        autocast=variable._autocast,
        aggregation=variable.aggregation,
        name=variable.name + suffix,
        **({} if layout is None else {"layout": layout}),
    )
    part.trainable = trainable
    # That of the frozen part tells the plan: what goes by path, as PyTorch's `state_dict` does,
    # is not loaded into another freeze of the same shapes.
    part._path = variable.path + (f"{suffix}_{fingerprint(plan)}" if suffix else "")
    part._frostline_view = variable
    return part
