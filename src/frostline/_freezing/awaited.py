"""A freeze that waits for its weights: a layer made from a config has none yet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from frostline import _keras
from frostline._arrays.stored import StoredWeight
from frostline._freezing.change import Plans
from frostline._freezing.description import AWAITED, find_described
from frostline._weights.changing import alone
from frostline._weights.tree import Layer, sublayers


class Awaited:
    """The weights of a layer that are still to be frozen, each as soon as it is made.

    This happens before anything reads the weight. An optimizer or gradient tape that sees the whole
    weight would train its frozen entries. Weights are made when a layer is built. The sublayers of
    a layer without a `build` are built in its first call, one after another.

    Attributes:
        weights: The weights that are still to be frozen.
        paths: The paths of all weights of the saved layer, None if unknown.
    """

    def __init__(
        self,
        layer: Layer,
        weights: list[StoredWeight],
        paths: list[str] | None,
        freeze: Callable[[Layer, Plans], None],
    ) -> None:
        self.weights = weights
        self.paths = paths
        self._layer = layer
        self._freeze = freeze
        self._building = False
        self._later = False
        layer.__dict__[AWAITED] = self

    @alone
    def look(self) -> None:
        """Freeze those of the weights that exist now.

        Raises:
            RestoreError: A weight differs from the saved one, or will never exist.
        """
        if self._later and _keras.current_scope() is not None:
            return
        plans, missing = find_described(self._layer, self.weights, self.paths)
        if missing:
            self._watch()
        if not plans:
            return
        if not _keras.initialized(variable for variable, _ in plans):
            self._later = True
            _keras.when_initialized(self._look_again)
            return
        waited = self.weights
        self._wait_for(missing)
        try:
            with _keras.no_autocast():
                self._freeze(self._layer, plans)
        except BaseException:
            self._wait_for(waited)
            raise

    def _look_again(self) -> None:
        self._later = False
        self.look()

    def _wait_for(self, weights: list[StoredWeight]) -> None:
        self.weights = weights
        if weights:
            self._layer.__dict__[AWAITED] = self
        else:
            self._layer.__dict__.pop(AWAITED, None)

    def _watch(self) -> None:
        for layer in sublayers(self._layer):
            watched = getattr(layer.build, "_frostline_watched_by", None) is self
            if not layer.built and not watched:
                object.__setattr__(layer, "build", self._looking(layer, layer.build))

    def _looking(self, layer: Layer, build: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(build)
        def build_and_look(*args: Any, **kwargs: Any) -> None:
            # A layer with a `build` builds its sublayers there, without calling them.
            outermost, self._building = not self._building, True
            try:
                build(*args, **kwargs)
            finally:
                self._building = not outermost
            if layer.build is build_and_look:
                object.__setattr__(layer, "build", build)
            if outermost and self.weights:
                self.look()

        build_and_look._frostline_watched_by = self  # type: ignore[attr-defined]
        return build_and_look
