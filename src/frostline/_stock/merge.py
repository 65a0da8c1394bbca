"""Convert a model of stock layers back to one with whole layers."""

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
    """Convert a model from `to_stock` back to a partly frozen model, bit for bit.

    Args:
        model: A model from `to_stock`, which may be trained or reloaded, or any functional model.
        splits: Layers that were split by hand and should be merged, from `find_splits(model)`.

    Returns:
        A new model, in which each pair of a frozen and a trainable layer is one partly frozen layer
        again. All weights are copies. It is compiled again if `model` is compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclassed model, which Keras can't rewire.
        UnsupportedError: It has no pair; a pair was changed by hand; or a frozen part is trainable
            now.
        SelectionError: A split belongs to another model, the model has changed since, or the name
            of a split is used by another layer.

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
    """Convert a model from `to_stock` to a plain model: whole layers, all of them trainable.

    It is like `from_stock`, but nothing is frozen, and it does not matter which parts are trainable
    now.

    Args:
        model: A model from `to_stock`, which may be trained or reloaded, or any functional model.
        splits: Layers that were split by hand and should be merged, from `find_splits(model)`.

    Returns:
        A new model without any split. All weights are copies. It is compiled again if `model` is
        compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclassed model, which Keras can't rewire.
        UnsupportedError: It has no pair, or a pair was changed by hand.
        SelectionError: A split belongs to another model, the model has changed since, or the name
            of a split is used by another layer.

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
            f"{model.name}: no layer was split by `to_stock`; got {len(model.layers)} layers. "
            "Pass `splits=fl.find_splits(model)` to merge layers that were split by hand."
        )
    # Keras builds the optimizer when it compiles the copy, before anything is frozen in it.
    optimizer = getattr(made, "optimizer", None)
    optimizers = [optimizer] if optimizer is not None and optimizer.built else []
    for one in each("filling", found, "layers"):
        one.fill(model.name, optimizers, freezing=freezing)
    update_parents(made)
    if not freezing:
        unfreeze(made)
    return made


def _checked(model: Any, splits: Any) -> list[Split]:
    """The splits as the model has them now, with the names that the user gave them."""
    splits = [splits] if isinstance(splits, Split) else splits
    do = "Pass items of `fl.find_splits(model)` for this model."
    if isinstance(splits, str) or not isinstance(splits, Iterable):
        raise SelectionError(f"{model.name}: splits must be a list; got splits={splits!r}. {do}")
    splits = list(splits)
    present = {id(one.core.operations[-1]): one for one in find_splits(model)} if splits else {}
    checked = []
    for split in splits:
        if not isinstance(split, Split):
            raise SelectionError(f"{model.name}: not a split; got {split!r}. {do}")
        now = present.get(id(split.core.operations[-1]))
        if now is None or dataclasses.replace(now, name=split.name) != split:
            raise SelectionError(
                f"{model.name}: the model does not have this split (any more); got {split}. {do}"
            )
        checked.append(dataclasses.replace(now, name=split.name))
    _check_names(model, checked)
    return checked


def _check_names(model: Any, splits: Sequence[Split]) -> None:
    """Raise an error for names that Keras does not allow, or that another layer has."""
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
                    f"{inner.name}: a layer needs a name without a slash that no other layer has; "
                    f"got name={split.name!r} for {' and '.join(split.frozen + split.trainable)}. "
                    'Choose another: `dataclasses.replace(split, name="head")`.'
                )


class _Found:
    """A merged layer, which gets its weights after the model that contains it is built."""

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
    """Replace an operation that a whole layer no longer needs: return its input for each output.

    An operation on several tensors gets the same tensor several times.
    """
    count = len(keras.tree.flatten(operation.output))
    return lambda *given, **_: [keras.tree.flatten(given)[0]] * count


def _in_place(layer: Any) -> Any:
    """Replace the operation that joins the parts by a layer; the parts now return their input."""
    return lambda *given, **_: layer(keras.tree.flatten(given)[0])


def _whole(part: Any, model: str) -> Whole:
    try:
        whole = whole_of(part)
    except (AttributeError, LookupError, NotImplementedError, StopIteration, TypeError, ValueError):
        whole = None  # some layer that `to_stock` makes is missing
    if whole is None:
        raise _is_none(part, model)
    return whole


def _is_none(part: Any, model: str) -> UnsupportedError:
    return UnsupportedError(
        f"{model}/{part.name}: this model has a name like those of `to_stock`, but other layers; "
        f"got {', '.join(layer.name for layer in part.layers)}. Make it again with `fl.to_stock`, "
        "or give it another name."
    )


def _check_flags(part: Any, path: str) -> None:
    """Raise an error if `trainable` of a part contradicts its name."""
    for trainable in (True, False) if part.trainable else (False,):
        named = part_name("", trainable=trainable)
        for layer in part.layers:
            flags = [layer.trainable, *(v.trainable for v in layer.weights)]
            if layer.name.endswith(named) and (not trainable) in flags:
                raise UnsupportedError(
                    f"{path}/{layer.name}: `trainable` contradicts the name of the layer; got "
                    f"trainable={not trainable}. Set it to {trainable}, or call "
                    "`fl.merge_stock` to make the whole layer trainable."
                )


def _config(model: keras.Model) -> Any:
    """The config of a small model, without the names of operations and without `trainable`."""
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
                return entry["config"]["value"]  # an array becomes a tensor when it is loaded
            return {key: plain(one) for key, one in entry.items() if key != "trainable"}
        if isinstance(entry, (list, tuple)):
            return [plain(one) for one in entry]
        return names.get(entry, entry) if isinstance(entry, str) else entry

    return plain(config)
