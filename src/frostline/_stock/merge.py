"""From a model of stock layers back to one with whole layers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from frostline._console import each
from frostline._errors import SelectionError, UnsupportedError
from frostline._freezing.apply import update_parents
from frostline._freezing.verbs import unfreeze
from frostline._stock.convert import taken_apart
from frostline._stock.find import Split, find_splits
from frostline._stock.pieces import part_name
from frostline._stock.rebuild import check_rebuildable, models, operations, rebuilt
from frostline._stock.recognize import is_split, whole_of
from frostline._stock.whole import Whole


def from_stock(model: keras.Model, splits: Iterable[Split] = ()) -> keras.Model:
    """A partly frozen model of one that `to_stock` made: the way back, exact.

    Args:
        model: A model from `to_stock`, trained or loaded since, or any functional one.
        splits: Layers that were split by hand and shall be one again, from `find_splits(model)`.

    Returns:
        A new model, in which each frozen and trainable pair is one layer again, frozen where the
        pair was. All weights are copies; compiled anew if `model` is compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclass, whose call Keras can't rewire.
        UnsupportedError: It has no pair, or one that was changed by hand, or a frozen part that is
            trainable now.
        SelectionError: A split is of another model, or the model has changed since, or its name is
            another layer's.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="hidden")])
        >>> _ = fl.freeze(model, "hidden/*", fl.units([0, 1]))
        >>> plain = fl.to_stock(model)
        >>> again = fl.from_stock(plain)
        >>> fl.frozen_mask(again.get_layer("hidden").bias).tolist()
        [True, True, False, False]
    """
    return _merged(model, splits, freezing=True)


def merge_stock(model: keras.Model, splits: Iterable[Split] = ()) -> keras.Model:
    """The plain model of one that `to_stock` made: whole layers, all of them trainable.

    Like `from_stock`, with nothing frozen, and whatever parts are trainable by now.

    Args:
        model: A model from `to_stock`, trained or loaded since, or any functional one.
        splits: Layers that were split by hand and shall be one again, from `find_splits(model)`.

    Returns:
        A new model without a trace of the split. All weights are copies; compiled anew if `model`
        is compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclass, whose call Keras can't rewire.
        UnsupportedError: It has no pair, or one that was changed by hand.
        SelectionError: A split is of another model, or the model has changed since, or its name is
            another layer's.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="hidden")])
        >>> _ = fl.freeze(model, "hidden/*", fl.units([0, 1]))
        >>> plain = fl.to_stock(model)
        >>> [v.path for v in fl.merge_stock(plain).trainable_variables]
        ['sequential/hidden/kernel', 'sequential/hidden/bias']
    """
    return _merged(model, splits, freezing=False)


def _merged(model: Any, splits: Iterable[Split], *, freezing: bool) -> keras.Model:
    check_rebuildable(model)
    splits = _checked(model, splits)
    by_hand = {id(split.core.operations[-1]): split for split in splits}
    passing = {id(one) for split in splits for one in split.core.operations[:-1]}
    found: list[_Found] = []

    def replacement(operation: Any) -> Any:
        if id(operation) in passing:
            return _pass_on(operation)
        if id(operation) in by_hand:
            split = by_hand[id(operation)]
            found.append(_Found(split.whole(), split.name))
            return _in_place(found[-1].layer)
        if isinstance(operation, keras.Model) and is_split(operation):
            found.append(_Found(_whole(operation, model.name), operation.name, operation))
            return found[-1].layer
        return None

    made = rebuilt(model, replacement)
    if not found:
        raise UnsupportedError(
            f"{model.name}: no layer in two parts as `to_stock` makes them; got "
            f"{len(model.layers)} layers. Pass `splits=fl.find_splits(model)` to put together what "
            "was split by hand."
        )
    # Keras builds it when it compiles the copy, before anything in that is frozen.
    optimizer = getattr(made, "optimizer", None)
    optimizers = [optimizer] if optimizer is not None and optimizer.built else []
    for one in each("filling", found, "layers"):
        one.fill(model.name, optimizers, freezing=freezing)
    update_parents(made)
    if not freezing:
        unfreeze(made)
    return made


def _checked(model: Any, splits: Any) -> list[Split]:
    """The splits as the model has them now, each with the name that was asked for."""
    splits = [splits] if isinstance(splits, Split) else splits
    do = "Pass what `fl.find_splits(model)` lists of this model."
    if isinstance(splits, str) or not isinstance(splits, Iterable):
        raise SelectionError(f"{model.name}: no list of splits; got splits={splits!r}. {do}")
    splits = list(splits)
    present = {id(one.core.operations[-1]): one for one in find_splits(model)} if splits else {}
    checked = []
    for split in splits:
        if not isinstance(split, Split):
            raise SelectionError(f"{model.name}: no split; got {split!r}. {do}")
        now = present.get(id(split.core.operations[-1]))
        if now is None or dataclasses.replace(now, name=split.name) != split:
            raise SelectionError(
                f"{model.name}: the model has no such split, or no longer; got {split}. {do}"
            )
        checked.append(dataclasses.replace(now, name=split.name))
    _check_names(model, checked)
    return checked


def _check_names(model: Any, splits: Sequence[Split]) -> None:
    """Refuse names that Keras would refuse, or that two layers would have."""
    gone = {id(one) for split in splits for one in split.core.operations}
    for inner in models(model):
        every = operations(inner)
        own = {id(one) for one in every}
        names = Counter(one.name for one in every if id(one) not in gone)
        within = [split for split in splits if id(split.core.operations[-1]) in own]
        names.update(str(split.name) for split in within)
        for split in within:
            fits = isinstance(split.name, str) and split.name and "/" not in split.name
            if not fits or names[split.name] > 1:
                raise SelectionError(
                    f"{inner.name}: a layer's name is text without a slash, and no other layer's; "
                    f"got name={split.name!r} for {' and '.join(split.frozen + split.trainable)}. "
                    'Give another: `dataclasses.replace(split, name="head")`.'
                )


class _Found:
    """A layer in one piece, to be filled when the model that it is put into is built."""

    def __init__(self, whole: Whole, name: str, part: Any = None) -> None:
        self.whole, self.part = whole, part
        self.layer = whole.layer(name)

    def fill(self, model: str, optimizers: Sequence[Any], *, freezing: bool) -> None:
        if self.part is None:
            self.whole.fill(self.layer, optimizers, freezing=freezing)
            return
        self.whole.fill(self.layer, optimizers)
        again = taken_apart(self.layer, model, self.part.inputs[0].shape)
        if _config(again) != _config(self.part):
            raise _is_none(self.part, model)
        if freezing:
            _check_flags(self.part, f"{model}/{self.part.name}")
        self.layer.trainable = self.part.trainable


def _pass_on(operation: Any) -> Any:
    """In the place of what a whole layer needs no more: what goes in, for each thing that came out.

    An operation on several tensors is given the same one several times.
    """
    count = len(keras.tree.flatten(operation.output))
    return lambda *given, **_: [keras.tree.flatten(given)[0]] * count


def _in_place(layer: Any) -> Any:
    """A layer in the place of an operation on its parts, each of which passes on what goes in."""
    return lambda *given, **_: layer(keras.tree.flatten(given)[0])


def _whole(part: Any, model: str) -> Whole:
    try:
        whole = whole_of(part)
    except (AttributeError, LookupError, NotImplementedError, StopIteration, TypeError, ValueError):
        whole = None  # something is missing of what `to_stock` makes
    if whole is None:
        raise _is_none(part, model)
    return whole


def _is_none(part: Any, model: str) -> UnsupportedError:
    return UnsupportedError(
        f"{model}/{part.name}: named like a layer in two parts, and not what `to_stock` makes; got "
        f"{', '.join(layer.name for layer in part.layers)}. Make it again with `fl.to_stock`, or "
        "give it another name."
    )


def _check_flags(part: Any, path: str) -> None:
    """Refuse to freeze what was set free, and the other way: nobody would know which is meant."""
    for trainable in (True, False) if part.trainable else (False,):
        named = part_name("", trainable=trainable)
        for layer in part.layers:
            flags = [layer.trainable, *(v.trainable for v in layer.weights)]
            if layer.name.endswith(named) and (not trainable) in flags:
                raise UnsupportedError(
                    f"{path}/{layer.name}: trainable is not what the name says; got "
                    f"trainable={not trainable}. Set it to {trainable}, or call "
                    "`fl.merge_stock` to have all of the layer trainable."
                )


def _config(model: keras.Model) -> Any:
    """What a small model says of itself, but for the names of operations and what is trainable."""
    config = model.get_config()
    layers = {layer.name for layer in model.layers}
    names = {
        one["name"]: f"operation {place}"
        for place, one in enumerate(config["layers"])
        if one["name"] not in layers
    }

    def plain(entry: Any) -> Any:
        if isinstance(entry, dict):
            if entry.get("class_name") in ("__numpy__", "__tensor__"):
                return entry["config"]["value"]  # what was loaded is a tensor
            return {key: plain(one) for key, one in entry.items() if key != "trainable"}
        if isinstance(entry, (list, tuple)):
            return [plain(one) for one in entry]
        return names.get(entry, entry) if isinstance(entry, str) else entry

    return plain(config)
