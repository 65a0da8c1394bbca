"""Find the names of the variables in a file, from the class of their layer.

A file numbers the variables of a layer. The config gives the class of each layer, and the catalogue
has the names of the variables of Keras's classes. Unknown variables keep their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from frostline._arrays.stored import KEY, REGISTERED
from frostline._catalogue import CATALOGUE, stock_named
from frostline._files.hdf5 import Group

# The equations of the projections of an attention layer, and the letter that runs over heads. The
# kernels have one axis before the heads, or one after their features.
_INTO_HEADS = ("ab,bhf->ahf", "h")
_OUT_OF_HEADS = ("ahf,hfc->ac", "h")
# The recurrent kernel identifies a cell: it has so many times as many columns as states.
_CELLS = {len(CATALOGUE[n].gates) or 1: n for n in ("LSTMCell", "GRUCell", "SimpleRNNCell")}
_LONGEST = 1000  # characters of a path, which grows with each nested layer
_NOT_LAYERS = ("inbound_nodes", "build_config", "compile_config")


def snake_case(name: str) -> str:
    """A class name as Keras writes it in files: `conv2d_transpose` for `Conv2DTranspose`."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_IN_FILES = {snake_case(name): name for name in CATALOGUE}


@dataclass(frozen=True)
class Described:
    """A layer in a config: its class if it is one of Keras's, and its freeze."""

    path: str
    kind: str | None
    config: Mapping[str, Any]
    built: bool
    freeze: Mapping[str, Any] | None


@dataclass(frozen=True)
class Owner:
    """What is known about the layer that a weight belongs to.

    Attributes:
        kind: The name of its class if it is one of Keras's, else empty.
        equation: The equation of an `EinsumDense`, empty if unknown.
        heads: The letter in the equation that runs over attention heads.
    """

    kind: str = ""
    equation: str = ""
    heads: str = ""


UNKNOWN = Owner()


def layers_of(config: Mapping[str, Any]) -> Iterator[Described]:
    """Every layer in the config of a model; outer layers come before inner ones."""
    yield from _layers(config, "", top=True)


def _layers(node: Any, above: str, *, top: bool = False) -> Iterator[Described]:
    if isinstance(node, list):
        for part in node:
            yield from _layers(part, above)
    if not isinstance(node, Mapping):
        return
    config = node.get("config")
    inside, path = node, above
    if isinstance(node.get("class_name"), str) and isinstance(config, Mapping):
        name = config.get("name")
        if not top and isinstance(name, str):
            path = f"{above}/{name}" if above else name
            if len(path) > _LONGEST:
                raise ValueError(f"a path of {len(path)} characters")
        freeze = config.get(KEY) if _is_partly_frozen(node) else None
        if top or path != above:
            yield Described(path, _class_of(node), config, bool(node.get("build_config")), freeze)
        inside = config
    for key, part in inside.items():
        if key not in _NOT_LAYERS and isinstance(part, Mapping | list):
            yield from _layers(part, path)


def _is_partly_frozen(node: Mapping[str, Any]) -> bool:
    return node.get("registered_name") == REGISTERED


def _class_of(node: Mapping[str, Any]) -> str | None:
    if _is_partly_frozen(node):
        frozen = node["config"].get(KEY)
        inner = frozen.get("layer") if isinstance(frozen, Mapping) else None
        node = inner if isinstance(inner, Mapping) else {}
    module = str(node.get("module"))
    own = node.get("registered_name") is None and module.split(".")[0] == "keras"
    return str(node.get("class_name")) if own else None


class Names:
    """The names of variables in one file.

    Args:
        layers: The layers in its config; empty if the file has no config.
    """

    def __init__(self, layers: list[Described]) -> None:
        self._layers: dict[str, Described] = {}
        for layer in layers:
            self._layers.setdefault(layer.path, layer)

    def of(self, group: Group) -> list[str]:
        """The name of each variable of a group, or its key if the name is unknown."""
        keys = [variable.key for variable in group.variables]
        known = self.expected(group)
        numbered = keys == [str(n) for n in range(len(keys))]
        if known is None or not numbered or len(known) > len(keys):
            return keys
        return [*known, *keys[len(known) :]]

    def layer_trainable(self, path: str) -> bool:
        """Whether the layer at a path trains; for an unknown layer, whether its container does."""
        while path and path not in self._layers:
            path = path.rpartition("/")[0]
        layer = self._layers.get(path)
        return layer is None or layer.config.get("trainable", True) is not False

    def expected(self, group: Group) -> list[str] | None:
        """The names of the variables that a layer has, None if unknown."""
        if re.fullmatch(r"_?seed_generator", group.attribute):
            return ["seed_generator_state"]
        kind, config = self._kind(group)
        own = stock_named(kind).variables
        if not own:
            return None
        if config is not None:
            if config.get("rms_scaling"):
                return ["gamma"]
            return [variable.name for variable in own if variable.is_in(config)]
        # Without a config, optional variables are known if all or none of them are there.
        sure = [variable.name for variable in own if not variable.option]
        counts = {len(sure): sure, len(own): [variable.name for variable in own]}
        return counts.get(len(group.variables))

    def owner(self, group: Group) -> Owner:
        """What is known about the layer of a group."""
        kind, config = self._kind(group)
        if kind == "EinsumDense":
            if config is not None:
                return Owner(kind, str(config.get("equation") or "")[:_LONGEST])
            return Owner(kind, *(_OUT_OF_HEADS if "output" in group.attribute else _INTO_HEADS))
        if kind in _CELLS.values() and config is None:
            # A cell of an unknown class: in a `Bidirectional` it may be any.
            shapes = [variable.shape for variable in group.variables[:2]]
            rows, columns = shapes[-1] if len(shapes) == 2 and len(shapes[1]) == 2 else (1, 0)
            kind = _CELLS.get(columns // rows if rows and columns % rows == 0 else 0)
        return Owner(kind or "")

    def _kind(self, group: Group) -> tuple[str | None, Mapping[str, Any] | None]:
        """The class of a layer and its config, each None if unknown."""
        layer = self._layers.get(group.path)
        if layer is not None and layer.kind is not None and group.place:
            return layer.kind, layer.config
        if group.above is not None and group.above.place:
            around, config = self._kind(group.above)
            ending, made = stock_named(around).makes
            if made and group.attribute.endswith(ending):
                # A recurrent layer and its cell share their options.
                return made, config if ending == "cell" else None
        if layer is None and group.in_list:
            return _IN_FILES.get(re.sub(r"_\d+$", "", group.attribute)), None
        return None, None

    def missing(self, groups: list[Group]) -> Iterator[str]:
        """Descriptions of layers that have fewer variables in the file than in its config."""
        found = {group.path: group for group in groups}
        if not any(path in found for path in self._layers if path):
            return  # an older file, which has no names
        shared = {path.rpartition("/")[2] for path in found}
        for path, layer in self._layers.items():
            known = stock_named(layer.kind)
            if not known.variables or not layer.built or not path:
                continue
            group = found.get(path)
            if group is None:
                # A layer that two models share is in the file once.
                if path.rpartition("/")[2] not in shared:
                    yield f"{path}: the file has no such layer; got a {layer.kind} in its config"
                continue
            expected = self.expected(group) or []
            if len(group.variables) < len(expected):
                yield (
                    f"{path}: the file has fewer weights than its config; got "
                    f"{len(group.variables)} of {', '.join(expected)}"
                )
