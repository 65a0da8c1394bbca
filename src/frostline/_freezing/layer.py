"""Save and load partly frozen layers: whole weights in files, and the freeze in configs.

A layer that owns frozen weights, and every layer around it that makes its sublayers itself, becomes
a subclass of its own class. The class has the same name, because weight files name layers after it.
It is saved under one registered name of this package. So a file with a freeze opens only if
frostline is imported, and then has the same freeze.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from frostline import _keras
from frostline._arrays.stored import CLASS, KEY, VERSION, StoredFreeze, StoredWeight, stored_freeze
from frostline._errors import RestoreError
from frostline._fast.paths import has_fast_path
from frostline._freezing.awaited import Awaited
from frostline._freezing.change import Plans, changed, changes_to
from frostline._freezing.classes import set_class
from frostline._freezing.description import AWAITED, DESCRIBED
from frostline._freezing.lists import whole_variables
from frostline._freezing.optimizer import followed
from frostline._freezing.replay import slots_by_reference
from frostline._freezing.resuming import (
    compiled_from_file,
    compiles_itself,
    expect_optimizers,
    warn_of_lost_optimizers,
)
from frostline._weights.changing import alone
from frostline._weights.tree import Found, Layer, sublayers, unique, walk
from frostline._weights.view import View, originals, plan_of

_LOST = "_frostline_lost"
"""The attribute of a layer whose freeze a file of the whole model would not have: its path."""


class PartlyFrozen:
    """Mixin for a layer that has frozen weights in it."""

    _frostline_base: type
    _frostline_views: tuple[View, ...] = ()

    def save_own_variables(self, store: Any) -> None:
        """Write whole weights in the order of the plain layer, which can then read them."""
        frozen = _own_frozen(self)
        if self.__dict__.pop(DESCRIBED, False) or not frozen:
            self.__dict__.pop(_LOST, None)
        else:
            self.__dict__[_LOST] = frozen[0]
        with whole_variables(self):
            _beyond(self).save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Read whole weights, also from a file of a plain layer or from before the freeze."""
        with whole_variables(self):
            _beyond(self).load_own_variables(store)
        warn_of_lost_optimizers(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as Keras does, which skips a model whose class overrides `compile`."""
        super().compile_from_config(config)  # type: ignore[misc]
        compiled_from_file(self)

    @property
    def save_assets(self) -> Any:
        """Raise an error when a model is saved whose config does not contain this freeze.

        Keras calls this for every layer of a whole-model file, after its variables, and makes a
        folder for each layer that has it. So a layer has it only if its own class has, or to raise.
        """
        lost = self.__dict__.get(_LOST)
        return super().save_assets if lost is None else functools.partial(_refuse_lost, self, lost)  # type: ignore[misc]

    def __reduce__(self) -> Any:
        """Pickle as Keras does, through a file in memory, with a function that can be pickled."""
        reduced: Any = super().__reduce__()
        load, arguments = reduced
        return getattr(self._frostline_base, load.__name__), arguments

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer of its own class; each weight is frozen as soon as it exists."""
        config = dict(config)
        described = config.pop(KEY, None)
        freeze = None if described is None else _stored(described, config)
        base = getattr(cls, "_frostline_base", None)
        if base is not None:
            layer = base.from_config(config)
        elif freeze is not None:
            layer = keras.saving.deserialize_keras_object({**freeze["layer"], "config": config})
        else:
            raise RestoreError(
                "frostline: the config of a partly frozen layer lacks its freeze; got a config "
                f"without {KEY!r}. Save the model again with `model.save(...)`."
            )
        if freeze is not None and freeze["weights"]:
            if freeze["version"] not in (1, VERSION):
                raise RestoreError(
                    f"{layer.name}: saved by another version of frostline; got "
                    f"version={freeze['version']!r} (this one reads {VERSION}). "
                    "Upgrade frostline, then load the file again."
                )
            expect_optimizers(layer, freeze.get("optimizers"))
            _freeze_when_made(layer, freeze["weights"], freeze.get("paths"))
        return layer


def _refuse_lost(layer: Any, path: str, dir_path: str) -> None:
    del dir_path
    raise RestoreError(
        f"{path}: saving would lose this freeze, because the layer was wrapped in another after "
        f"freezing; got layer {layer.name!r}. "
        "Call `fl.freeze(model, where=fl.nothing)`, then save again."
    )


def _beyond(layer: Any) -> Any:
    """The layer without this mixin; another thread may have changed its class meanwhile."""
    return super(PartlyFrozen, layer) if isinstance(layer, PartlyFrozen) else layer


def _stored(described: Any, config: Any) -> StoredFreeze:
    """The freeze in the config of a layer, which may come from strangers, after checking it."""
    try:
        return stored_freeze(described)
    except ValueError as error:
        raise RestoreError(
            f"{config.get('name')}: the freeze of this layer is malformed in the file; got "
            f"{error}. Take the file from its source again."
        ) from None


class Waiting(PartlyFrozen):
    """Mixin for a layer made from a config that does not have all its frozen weights yet."""

    def build_from_config(self, config: Any) -> None:
        """Build as Keras does; a model without a `build` is traced."""
        super().build_from_config(config)  # type: ignore[misc]
        _look(self)

    def load_own_variables(self, store: Any) -> None:
        """Freeze the weights that exist, then read whole weights."""
        _look(self)
        if AWAITED in self.__dict__:
            super().load_own_variables(store)
        else:
            self.load_own_variables(store)  # the class has changed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().__call__(*args, **kwargs)  # type: ignore[misc]
        # A weight may have been made outside any `build`.
        _look(self)
        return outputs


@alone
def refresh_classes(layers: Iterable[Layer]) -> None:
    """Give each layer the class that fits what is frozen in it."""
    for layer in layers:
        waits = AWAITED in layer.__dict__
        inside = unique(walk(layer))
        if not waits and (
            not any(plan_of(weight.variable) for weight in inside)
            or (
                _keras.serializes_children(layer)
                and not _own_frozen(layer)
                and not compiles_itself(layer)
            )
        ):
            set_class(layer, None)
            layer.__dict__.pop("_frostline_views", None)
            continue
        set_class(layer, Waiting if waits else PartlyFrozen, _Loader)
        layer.__dict__["_frostline_views"] = _to_hold(layer, inside)


def _to_hold(layer: Layer, weights: list[Found]) -> tuple[View, ...]:
    """The views that a layer merges once for its call.

    A layer merges those of all layers in it, so that a cell in its loop need not. A model does not,
    because all its merged weights would stay in memory during its call. A weight with a fast path
    is not merged, unless the path would run at every step of a loop.
    """
    if isinstance(layer, keras.Model):
        weights = [weight for weight in weights if weight.owner is layer]
    loops = isinstance(layer, keras.layers.RNN | keras.layers.TimeDistributed)
    return tuple(
        weight.variable
        for weight in weights
        if isinstance(weight.variable, View) and (loops or not has_fast_path(weight))
    )


def _own_frozen(layer: Any) -> list[str]:
    own = originals(_keras.own_variables(layer))
    return [variable.path for variable in own if plan_of(variable) is not None]


def _freeze_when_made(layer: Layer, weights: list[StoredWeight], paths: list[str] | None) -> None:
    awaited = Awaited(layer, weights, paths, freeze_new)
    set_class(layer, Waiting, _Loader)
    awaited.look()


def _look(layer: Any) -> None:
    if AWAITED in layer.__dict__:
        layer.__dict__[AWAITED].look()


def freeze_new(layer: Layer, plans: Plans, optimizers: Sequence[Any] = ()) -> None:
    """Apply plans to the weights of a layer that was just made.

    No other layer holds them yet, unless this one took them over.

    Args:
        layer: The layer.
        plans: Its variables with their plans.
        optimizers: Optimizers that may be built for them already.
    """
    changes, layers = changes_to(plans), sublayers(layer)
    if any(_taken_over(weight) for weight in walk(layer)):
        layers = _keras.constructed_layers(_keras.live(keras.layers.Layer))
    owned = slots_by_reference(optimizers, changes)
    with (
        changed(changes, layers, refresh_classes) as affected,
        followed(affected, changes, optimizers, owned),
    ):
        pass
    refresh_classes([layer])  # it no longer waits, if everything was frozen already


def _taken_over(weight: Found) -> bool:
    # The path of a variable contains the name of the layer that made it.
    return weight.owner.name not in weight.variable.path.split("/")


class _Loader(PartlyFrozen):
    """The class that Keras finds under the registered name when it reads a file."""

    def get_config(self) -> dict[str, Any]:
        """Needed by Keras's registry of classes; there are no instances."""
        return {}


keras.saving.register_keras_serializable(KEY, CLASS)(_Loader)
