"""Merge views once for all reads during the call of a layer, in one thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from frostline import _keras
from frostline._weights.given import given_value
from frostline._weights.parts import parts_of

_reads = threading.local()


def hold(views: Sequence[Any]) -> list[Any]:
    """Merge `views` once, for all reads until `release` is called with the returned keys."""
    held = _reads.__dict__.setdefault("held", {})
    keys: list[Any] = []
    try:
        for view in views:
            key = _key(view)
            # Another thread may have unfrozen it since the layer listed it.
            divided = parts_of(view) is not None
            if divided and key not in held and given_value(view) is None:
                held[key] = view.value
                keys.append(key)
    except BaseException:
        release(keys)
        raise
    return keys


def release(keys: Sequence[Any]) -> None:
    """End what `hold` began."""
    for key in keys:
        _reads.held.pop(key, None)


def value(view: Any) -> Any:
    """The merged value of a view that is held; None if it is not held."""
    held = _reads.__dict__.get("held")
    return held.get(_key(view)) if held else None


def renew(view: Any) -> None:
    """Merge a held view again after it was written."""
    held, key = _reads.__dict__.get("held", {}), _key(view)
    if held.pop(key, None) is not None:
        held[key] = view.value


def _key(view: Any) -> tuple[Any, ...]:
    # A merged value is valid for one precision and for the values in the current scope. The scope
    # itself is not part of the key: on JAX an eager RNN opens one without values around its loop.
    scope, parts = _keras.current_scope(), parts_of(view)
    handed = (
        None if scope is None or parts is None else scope.get_current_value(part)
        for part in (parts and parts.trainable, parts and parts.frozen)
    )
    return (id(view), _keras.current_autocast(), *map(id, handed))
