"""Partly frozen layers: how a layer gives its weights to files and its freeze to configs.

A layer that owns frozen weights, and every layer around it that makes its sublayers by itself,
becomes a subclass of its own class, with the same name: weight files name layers after it. It is
saved under one registered name of this package. So a file that holds a freeze opens as it was
where frostline is imported, and does not open at all where it is not.
"""

from __future__ import annotations

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
from frostline._freezing.description import AWAITED
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


class PartlyFrozen:
    """Mixin of a layer with a freeze somewhere inside it."""

    _frostline_base: type
    _frostline_views: tuple[View, ...] = ()

    def save_own_variables(self, store: Any) -> None:
        """Write whole weights in the plain layer's order, so that a plain layer can read them."""
        with whole_variables(self):
            _beyond(self).save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Read whole weights: a file from before the freeze, or from a plain layer, fits."""
        with whole_variables(self):
            _beyond(self).load_own_variables(store)
        warn_of_lost_optimizers(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as Keras does, which leaves a model with a `compile` of its own as it is."""
        super().compile_from_config(config)  # type: ignore[misc]
        compiled_from_file(self)

    def save_assets(self, dir_path: str) -> None:
        """Refuse to save a model whose config does not mention this freeze.

        Keras calls this for every layer of a whole-model file, after the configs, and never for
        a file of weights alone.
        """
        described = self.__dict__.pop("_frostline_described", False)
        frozen = _own_frozen(self)
        if frozen and not described:
            raise RestoreError(
                f"{frozen[0]}: this freeze would be lost in the file; got a layer "
                f"{self.name!r} inside another that was put around it later "  # type: ignore[attr-defined]
                "and does not save its sublayers. Tell the model of it, then save again: "
                "`fl.freeze(model, where=fl.nothing)`."
            )
        if hasattr(super(), "save_assets"):
            super().save_assets(dir_path)  # type: ignore[misc]

    def __reduce__(self) -> Any:
        """Pickle as Keras does, through a file in memory, by a name that a pickle can hold."""
        reduced: Any = super().__reduce__()
        load, arguments = reduced
        return getattr(self._frostline_base, load.__name__), arguments

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make the layer of the inner class; each weight is frozen as soon as it exists."""
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
                "frostline: a saved layer lost the description of its freeze; got a config without "
                f"{KEY!r}. Save the model again with `model.save(...)`."
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


def _beyond(layer: Any) -> Any:
    """A layer without this mixin, which it may have lost while it waited for another thread."""
    return super(PartlyFrozen, layer) if isinstance(layer, PartlyFrozen) else layer


def _stored(described: Any, config: Any) -> StoredFreeze:
    """What the config of a layer says is frozen in it, which others may have written."""
    try:
        return stored_freeze(described)
    except ValueError as error:
        raise RestoreError(
            f"{config.get('name')}: what is frozen in this layer is malformed in the file; got "
            f"{error}. Take the file from its source again."
        ) from None


class Waiting(PartlyFrozen):
    """Mixin of a layer that was made from a config and lacks weights that are to be frozen."""

    def build_from_config(self, config: Any) -> None:
        """Build as Keras does, which for a model without a `build` is to trace its call."""
        super().build_from_config(config)  # type: ignore[misc]
        _look(self)

    def load_own_variables(self, store: Any) -> None:
        """Read whole weights, the first of them after what exists is frozen."""
        _look(self)
        if AWAITED in self.__dict__:
            super().load_own_variables(store)
        else:
            self.load_own_variables(store)  # of the class that it has now

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().__call__(*args, **kwargs)  # type: ignore[misc]
        # A weight may have been made outside any `build`.
        _look(self)
        return outputs


@alone
def refresh_classes(layers: Iterable[Layer]) -> None:
    """Give each layer the class that fits what is frozen in it now."""
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
    """What a layer puts together once for its call.

    A layer does so for all inside it, so that a cell that runs in its loop does not; a model does
    not, or all its weights would live as long as its call. A weight with a fast path need not be
    put together at all, except where the path would run at every step of a loop.
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
    """Give the weights of a layer that was just made their plans.

    No other layer holds them yet, unless this one took them over.

    Args:
        layer: The layer.
        plans: Its variables, each with its plan.
        optimizers: Those that may have been built for them already.
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
    refresh_classes([layer])  # no longer one that waits, if all was frozen already


def _taken_over(weight: Found) -> bool:
    # A variable has the name of the layer that made it in its path.
    return weight.owner.name not in weight.variable.path.split("/")


class _Loader(PartlyFrozen):
    """What Keras finds under the registered name when it reads a file."""

    def get_config(self) -> dict[str, Any]:
        """Asked for by Keras's registry of classes; a loader is never an object."""
        return {}


keras.saving.register_keras_serializable(KEY, CLASS)(_Loader)
