"""Callbacks for `fit`: change what is frozen at given epochs, and check that it does not move.

They are ordinary Keras callbacks. They work on every backend, in `fit` and in any loop that calls
a `keras.callbacks.CallbackList`.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from frostline import _keras
from frostline._arrays.plan import WholePlan
from frostline._arrays.stored import StoredWeight
from frostline._callbacks.audit import FreezeAudit
from frostline._callbacks.backup import Backup, restore_description
from frostline._errors import ScheduleError
from frostline._freezing.apply import apply_plans
from frostline._freezing.description import describe
from frostline._weights.changing import alone
from frostline._weights.tree import Found, select, unique, weights_of
from frostline._weights.view import plan_of

__all__ = ["FreezeAudit", "FreezeSchedule", "gradual_unfreezing"]

Action = Callable[[keras.Model], Any]


class FreezeSchedule(keras.callbacks.Callback):
    """Change what is frozen at the beginning of given epochs, inside one `fit`.

    The optimizer stays the same object. Entries that still train keep their slots, unfrozen entries
    start with new ones, and the step count and the learning rate schedule continue.

    With `keras.callbacks.BackupAndRestore` in the same `fit`, in either order, the freeze is saved
    beside the backup. If the run is killed and started again, the freeze of the backup is restored
    first, then its weights and slots are read.

    Args:
        actions: A mapping from an epoch, counted from 0, to a callable that takes the model, or to
            a list of these, which are called in order. They may call `fl.freeze`, `fl.unfreeze` and
            `fl.train_only` on the model. Their results are ignored.

    Raises:
        ScheduleError: `actions` does not have that form.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="out")])
        >>> model.compile("sgd", "mse")
        >>> schedule = fl.callbacks.FreezeSchedule(
        ...     {
        ...         0: lambda model: fl.freeze(model, "out/kernel", fl.at[0]),
        ...         2: lambda model: fl.unfreeze(model, "out/kernel"),
        ...     }
        ... )
        >>> x, y = np.ones((8, 4)), np.ones((8, 3))
        >>> _ = model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule])
        >>> fl.is_frozen(model.get_layer("out").kernel)
        False
    """

    _called = "FreezeSchedule"
    """What its users call it, for messages."""

    def __init__(self, actions: Mapping[int, Action | Sequence[Action]]) -> None:
        super().__init__()
        self.actions = _checked(actions)
        self._done: frozenset[int] = frozenset()
        self._backups: list[Backup] = []

    def set_params(self, params: Any) -> None:
        """Called by Keras after every callback has its model and before training begins."""
        super().set_params(params)
        if not params or "epochs" not in params:
            return
        self._done = frozenset()
        self._backups = [Backup(one) for one in _keras.fellow_backups(self)]
        for backup in self._backups:
            resumed = backup.resumed(self.model)
            if resumed is not None:
                self._resume(*resumed)

    def _resume(self, done: frozenset[int], described: list[StoredWeight]) -> None:
        restore_description(self.model, described)
        self._done = done

    def on_train_begin(self, logs: Any = None) -> None:
        """Save what is frozen before the first epoch, and warn of actions that never run."""
        del logs
        epochs = (self.params or {}).get("epochs")  # None in a custom loop that sets no params
        late = [epoch for epoch in self.actions if epochs is not None and epoch >= epochs]
        if late:
            warnings.warn(
                f"{self._called}: `fit` ends before some actions; got epochs={epochs}, "
                f"actions at {late}. Train for more epochs, or remove these actions.",
                stacklevel=2,
            )
        if not self._done:
            self._note(-1)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call the actions of this epoch."""
        del logs
        if epoch not in self.actions or epoch in self._done:
            return
        for action in self.actions[epoch]:
            try:
                action(self.model)
            except Exception as error:
                error.add_note(f"In an action of {self._called}, at epoch {epoch}.")
                raise
        self._note(epoch)

    def _note(self, epoch: int) -> None:
        for backup in self._backups:
            backup.note(epoch, describe(self.model))


def gradual_unfreezing(
    model: keras.Model,
    every: int = 1,
    *,
    order: str = "top_down",
    groups: Sequence[Any] | None = None,
) -> FreezeSchedule:
    """Make a schedule that trains one group of weights first, then one more every few epochs.

    At epoch 0 all groups but the first are frozen. At epoch `every` the second group trains too, at
    `2 * every` the third. Each group returns to the freeze that it had before: what you froze
    yourself stays frozen.

    Args:
        model: The built model that will be trained.
        every: Epochs between one group and the next.
        order: `"top_down"` begins with the last group, `"bottom_up"` with the first.
        groups: A list with the weights of each group, from the input to the output. Name them as in
            the second argument of `freeze`, but without a mapping: a group is made of whole
            weights. By default each layer is a group, also inside nested models. Weights in no
            group do not change.

    Returns:
        A `FreezeSchedule`, for `fit(..., callbacks=[schedule])`.

    Raises:
        ScheduleError: `every` or `order` is not one of the above.
        FrostlineError: As for `freeze`, for `model` and `groups`.

    References:
        `order="top_down"`, from the output to the input, is the gradual unfreezing of Howard and
        Ruder, *Universal Language Model Fine-tuning for Text Classification*, ACL 2018, section
        3.3.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layers = [keras.layers.Dense(3, name=name) for name in ("a", "b", "c")]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> sorted(fl.callbacks.gradual_unfreezing(model, every=2).actions)
        [0, 2, 4]
    """
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ScheduleError(
            f"every: must be a positive number of epochs; got every={every!r}. Write `every=1`."
        )
    if order not in ("top_down", "bottom_up"):
        raise ScheduleError(
            f"order: must be 'top_down' or 'bottom_up'; got order={order!r}. "
            "Write 'top_down' to begin at the output."
        )
    found = weights_of(model)
    if isinstance(groups, str):
        raise ScheduleError(
            f"groups: must be a list with one entry for each group; got groups={groups!r}. "
            f"Write `groups=[{groups!r}, ...]`."
        )
    if groups is None:
        chosen = _by_layer(unique(found))
    else:
        chosen = [[w.variable for w in select(model, found, group)] for group in groups]
    if not chosen:
        raise ScheduleError(
            "groups: there is no group to train; got groups=[]. Leave it out: then each layer is "
            "a group."
        )
    paths = {id(weight.variable): weight.path for weight in found}
    return _GradualUnfreezing(chosen if order == "bottom_up" else chosen[::-1], every, paths)


class _GradualUnfreezing(FreezeSchedule):
    """A schedule that returns each group to the freeze that it had at the beginning."""

    _called = "gradual_unfreezing"

    def __init__(self, groups: list[list[Any]], every: int, paths: dict[int, str]) -> None:
        self._groups, self._paths = groups, paths
        self._before: dict[int, Any] = {}
        super().__init__({place * every: self._step(place) for place in range(len(groups))})

    def _step(self, place: int) -> Action:
        return self._begin if place == 0 else lambda model: self._thaw(model, place)

    def _resume(self, done: frozenset[int], described: list[StoredWeight]) -> None:
        self._remember()
        super()._resume(done, described)

    def _remember(self) -> None:
        self._before = {id(v): plan_of(v) for group in self._groups for v in group}

    @alone
    def _begin(self, model: keras.Model) -> None:
        below = {id(weight.variable) for weight in weights_of(model)}
        strange = [v for group in self._groups for v in group if id(v) not in below]
        if strange:
            raise ScheduleError(
                f"{self._paths[id(strange[0])]}: this schedule was made for another model; got "
                f"model={model.name!r}. Call `gradual_unfreezing(model)` with the model that you "
                "train."
            )
        self._remember()
        first = {id(variable) for variable in self._groups[0]}
        later = {id(v): v for group in self._groups[1:] for v in group if id(v) not in first}
        apply_plans(model, [(v, WholePlan(tuple(v.shape))) for v in later.values()])

    def _thaw(self, model: keras.Model, place: int) -> None:
        if not self._before:
            path = self._paths[id(self._groups[place][0])]
            raise ScheduleError(
                f"{path}: this schedule did not see epoch 0, so it has "
                f"frozen nothing to unfreeze; got a `fit` that begins later, groups[{place}]. "
                "Begin at epoch 0, keep the same schedule object, or use BackupAndRestore."
            )
        plans = [(v, self._before[id(v)]) for v in self._groups[place]]
        apply_plans(model, plans, restoring=True)


def _checked(actions: Any) -> dict[int, list[Action]]:
    if not isinstance(actions, Mapping):
        raise ScheduleError(
            f"actions: must map epochs to callables; got actions={type(actions).__name__}. "
            "Write `FreezeSchedule({0: lambda model: fl.freeze(model, 'hidden/*')})`."
        )
    checked = {}
    for epoch, action in actions.items():
        listed = list(action) if isinstance(action, (list, tuple)) else [action]
        whole = isinstance(epoch, (int, np.integer)) and not isinstance(epoch, bool)
        if not whole or epoch < 0:
            raise ScheduleError(
                f"actions: an epoch must be an integer from 0; got epoch={epoch!r}. "
                "Write 0 for the first epoch of `fit`."
            )
        if not listed or not all(map(callable, listed)):
            raise ScheduleError(
                f"actions: the action of epoch {epoch} cannot be called; got "
                f"action={reprlib.repr(action)}. Write `lambda model: fl.freeze(model, ...)`: "
                "without `lambda` the call has already run."
            )
        checked[int(epoch)] = listed
    return dict(sorted(checked.items()))


def _by_layer(found: Sequence[Found]) -> list[list[Any]]:
    """The weights of each layer that is not itself a model, from the input to the output."""
    groups: dict[int, list[Any]] = {}
    for weight in found:
        inside = [layer for layer in weight.layers if not isinstance(layer, keras.Model)]
        layer = inside[0] if inside else weight.owner
        groups.setdefault(id(layer), []).append(weight.variable)
    return list(groups.values())
