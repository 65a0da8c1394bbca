"""The class of a partly frozen layer: a subclass of its own class, made once, with the same name.

The name is the same because weight files name layers after their classes. All these classes share
one registered name, so that a file with a freeze opens only if frostline is imported.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import keras

from frostline import _keras
from frostline._arrays.stored import CLASS, KEY, VERSION, StoredFreeze
from frostline._errors import UnsupportedError
from frostline._fast.paths import with_fast_paths
from frostline._freezing.description import AWAITED, describe, paths_below
from frostline._freezing.resuming import trained_optimizers
from frostline._weights.held import hold, release
from frostline._weights.tree import Layer

_outer = threading.local()
_classes: dict[tuple[type, type], type] = {}


def set_class(layer: Layer, mixin: type | None, loader: type | None = None) -> None:
    """Change the class of a layer to its own class with a mixin; with None, to its own class.

    Args:
        layer: The layer, which stays the same object.
        mixin: The class with the methods to override.
        loader: The class that Keras finds under the registered name when it reads a file.
    """
    base = own_class(layer)
    kind = base if mixin is None else _subclass(mixin, base, loader)
    if type(layer) is not kind:
        layer.__class__ = kind


def own_class(layer: Layer) -> type:
    """The class of a layer with nothing frozen."""
    return getattr(type(layer), "_frostline_base", type(layer))


def _subclass(mixin: type, base: type, loader: type | None) -> type:
    if (mixin, base) not in _classes:
        namespace = {
            # The module that Keras names in its error if frostline is not imported.
            "__module__": "frostline",
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "_frostline_base": base,
            "get_config": _get_config(base),
            # Called by the wrapper that Keras puts around `quantize` of each layer.
            _keras.BEFORE_QUANTIZING: _refusing("quantize"),
        }
        if hasattr(base, "enable_lora"):
            namespace["enable_lora"] = _refusing("enable_lora")
        kind = type(base.__name__, (mixin, *with_fast_paths(base)), namespace)
        kind.call = _call(base, kind)  # type: ignore[attr-defined]
        # All share one name; the loader is registered last, because files must be read with it.
        for one in (kind, loader):
            if one is not None:
                keras.saving.register_keras_serializable(KEY, CLASS)(one)
        _classes[mixin, base] = kind
    return _classes[mixin, base]


def _call(base: type, kind: type) -> Callable[..., Any]:
    # Not `super`: another thread may change the layer's class while this runs.
    below: Any = next(one for one in kind.__mro__[1:] if "call" in vars(one))

    @functools.wraps(base.call)  # type: ignore[attr-defined]
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        keys = hold(self.__dict__.get("_frostline_views", ()))
        try:
            return below.call(self, *args, **kwargs)
        finally:
            release(keys)

    return call


def _refusing(verb: str) -> Callable[..., None]:
    # Either would change what the frozen entries compute.
    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        raise UnsupportedError(
            f"{self.name}: `{verb}` would replace weights of a partly frozen layer; got "
            f"layer={self.name!r}. Call `fl.unfreeze(layer)` first, or leave this layer out."
        )

    return refuse


def _get_config(base: type) -> Callable[..., dict[str, Any]]:
    # `wraps` copies Keras's mark of a default method, which its automatic configs need.
    @functools.wraps(base.get_config)  # type: ignore[attr-defined]
    def get_config(self: Any) -> dict[str, Any]:
        outermost = not getattr(_outer, "active", False)
        _outer.active = True
        try:
            config = dict(base.get_config(self))  # type: ignore[attr-defined]
        finally:
            if outermost:
                _outer.active = False
        # The outermost layer lists the freeze of all layers inside it: their own configs may be
        # copied by the parent (Bidirectional) or not be used at all (LSTM and its cell).
        weights = describe(self)
        stored = StoredFreeze(
            version=VERSION,
            layer=_keras.class_config(base),
            weights=weights if outermost else [],
        )
        if outermost:
            waits = self.__dict__.get(AWAITED)
            paths = paths_below(self) if waits is None else waits.paths
            if paths is not None:
                stored["paths"] = paths
            if optimizers := trained_optimizers(self):
                stored["optimizers"] = optimizers
        config[KEY] = stored
        return config

    return get_config
