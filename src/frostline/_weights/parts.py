"""The two parts of a partly frozen variable, and how they are made."""

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
    """The two parts of a partly frozen variable."""

    plan: P
    trainable: Any
    frozen: Any
    order: Any = None
    """The memory order of the whole weight, see `Backend.memory_order`."""


def parts_of(variable: Any) -> Parts[SplitPlan] | None:
    """The parts of a variable; None if it is not divided."""
    return variable.__dict__.get("_frostline")


def make_parts(variable: Any, plan: SplitPlan, *, trainable: bool) -> Parts[SplitPlan]:
    """Divide the value of a variable; `trainable` is the flag for the trainable part."""
    with backend.creating(_stored(variable)), backend.naming(variable), _keras.untracked():
        whole = backend.read(variable)
        return Parts(
            plan,
            _part(variable, split.take_trainable(plan, whole), "trainable", trainable, plan),
            _part(variable, split.take_frozen(plan, whole), "frozen", False, plan),
            backend.memory_order(whole),
        )


def _stored(variable: Any) -> Any:
    """A variable that has storage: the variable itself, or a part if it is divided."""
    parts = parts_of(variable)
    return variable if parts is None else parts.trainable


def _part(variable: Any, value: Any, role: str, trainable: bool, plan: SplitPlan) -> Any:
    # The trainable part has the name and path of the weight, so that all settings by name apply to
    # it: exclusions from weight decay, maps of optimizers, layout maps.
    suffix = "" if role == "trainable" else f"_{role}"
    # Keras 3.12 accepts `layout` only on JAX, so it is passed only if there is one.
    layout = part_layout(variable, plan, role)
    part = keras.Variable(
        value,
        dtype=variable._dtype,
        # TensorFlow's tape never watches a variable made with False; Keras's flag is set below.
        trainable=role == "trainable",
        autocast=variable._autocast,
        aggregation=variable.aggregation,
        name=variable.name + suffix,
        **({} if layout is None else {"layout": layout}),
    )
    part.trainable = trainable
    # The path of the frozen part identifies the plan, so that values stored by path, such as in
    # PyTorch's `state_dict`, are not loaded into another freeze with the same shapes.
    part._path = variable.path + (f"{suffix}_{fingerprint(plan)}" if suffix else "")
    part._frostline_view = variable
    return part
