"""The audit: check by checksums that no frozen entry changes, and find the entry if one does."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import warnings
import weakref
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from frostline._arrays.bits import differ
from frostline._arrays.plan import AxisPlan, Plan
from frostline._console import each
from frostline._errors import AuditError, ScheduleError
from frostline._freezing.apply import WATCHERS
from frostline._weights.tree import Found, unique, walk
from frostline._weights.values import read_copies, read_frozen_part
from frostline._weights.view import View, plan_of

Leak: TypeAlias = tuple[Found, tuple[int, ...], Any, Any]
"""A weight, the index of an entry that has changed, its old value and its new value."""


class FreezeAudit(keras.callbacks.Callback):
    """Check during training that no bit of a frozen entry changes.

    The frozen entries of the model are read and compared by checksum. Their values are kept in a
    temporary file, which is read only if a checksum differs, to find the entry. The freeze may
    change during training: weights are compared before a change and recorded after it. What another
    callback writes is found at the next comparison, at the latest when training ends; put the audit
    last in the list and it is found in the same epoch. If weights are spread over processes, each
    process compares its own shards.

    Args:
        every: `"epoch"`, or a number of batches. On JAX the weights are fetched from the training
            step for each comparison, so a small number slows training down.
        on_leak: What to do if a frozen entry changes: `"raise"` or `"warn"`.

    Raises:
        ScheduleError: An argument is not one of the above.
        AuditError: A frozen entry has changed; raised during training.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="out")])
        >>> _ = fl.freeze(model, "out/kernel", fl.at[0])
        >>> model.compile("adamw", "mse")
        >>> audit = fl.callbacks.FreezeAudit()
        >>> x, y = np.ones((8, 4)), np.ones((8, 3))
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[audit])
        >>> audit.comparisons
        2
    """

    def __init__(self, every: str | int = "epoch", on_leak: str = "raise") -> None:
        super().__init__()
        batches = isinstance(every, int) and not isinstance(every, bool) and every > 0
        if every != "epoch" and not batches:
            raise ScheduleError(
                f"every: must be 'epoch' or a positive number of batches; got every={every!r}. "
                "Write `FreezeAudit(every=100)`."
            )
        if on_leak not in ("raise", "warn"):
            raise ScheduleError(
                f"on_leak: must be 'raise' or 'warn'; got on_leak={on_leak!r}. "
                "Write `FreezeAudit(on_leak='warn')`."
            )
        self.every = every
        self.on_leak = on_leak
        self.comparisons = 0
        self._records: dict[int, Record] = {}
        self._folder = ""
        self._drop_folder: Callable[[], Any] = lambda: None
        self._seen = self._batch = self._epoch = 0
        self._pending: list[Leak] = []
        if batches:
            # Keras may run callbacks asynchronously if none of them has this method.
            self.on_train_batch_end = self._count_batches

    def on_train_begin(self, logs: Any = None) -> None:
        """Record the frozen values."""
        del logs
        self.comparisons, self._seen, self._records, self._pending = 0, 0, {}, []
        self._drop_folder()
        self._folder = tempfile.mkdtemp(prefix="frostline-")
        # Removed with this object at the latest: `fit` may end with any error.
        self._drop_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        WATCHERS.add(self)
        self._compare(changed_only=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start to count batches again."""
        del logs
        self._epoch, self._seen, self._batch = epoch, 0, 0

    def freeze_will_change(self, variables: Sequence[Any]) -> None:
        """Compare weights right before their freeze changes: afterwards they may train."""
        # Reported by the next comparison: a change must not fail because of an earlier leak.
        self._pending += self._leaks(among={id(variable) for variable in variables})

    def freeze_changed(self) -> None:
        """Record what is frozen now, right after a change by a schedule or another callback."""
        self._pending += self._leaks(changed_only=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compare, if `every` is `"epoch"`."""
        del epoch, logs
        if self.every == "epoch":
            self.audit()

    def on_train_end(self, logs: Any = None) -> None:
        """Compare a last time, and delete the recorded values."""
        del logs
        try:
            if self.every != "epoch":
                self.audit()
            elif self._folder:  # what callbacks after this one wrote in the last epoch
                self._compare(changed_only=False)
        finally:
            WATCHERS.discard(self)
            self._records, self._folder = {}, ""
            self._drop_folder()

    def audit(self) -> None:
        """Compare now, while training runs.

        Raises:
            AuditError: An entry differs and `on_leak` is `"raise"`.
        """
        self.comparisons += 1
        self._compare(changed_only=False)

    def _count_batches(self, batch: int, logs: Any = None) -> None:
        del logs
        self._batch = batch + 1
        if batch + 1 - self._seen >= int(self.every):
            self._seen = batch + 1
            self.audit()

    def _compare(self, *, changed_only: bool) -> None:
        if not self._folder:
            raise ScheduleError(
                f"FreezeAudit: no values to compare with; got every={self.every!r} before "
                "training. Call `audit()` while `fit` runs, which records the values first."
            )
        pending, self._pending = self._pending, []
        for leak in [*pending, *self._leaks(changed_only=changed_only)]:
            self._report(*leak)

    def _leaks(
        self, *, changed_only: bool = False, among: Container[int] | None = None
    ) -> Iterator[Leak]:
        """Frozen entries that have changed; records what is frozen now where that is new.

        Args:
            changed_only: Compare only weights whose freeze has changed.
            among: Compare only variables with these ids.
        """
        found = unique(walk(self.model))
        now = {id(w.variable): w for w in found if plan_of(w.variable) is not None}
        for key in [key for key in self._records if key not in now]:
            del self._records[key]
        wanted = {key: weight for key, weight in now.items() if among is None or key in among}
        for key, weight in each("auditing", wanted.items()):
            record = self._records.get(key)
            changed = record is None or record.plan != plan_of(weight.variable)
            if record is not None and (changed or not changed_only):
                leak = first_change(record, weight.variable) or _unlike_copy(weight.variable)
                if leak is not None:
                    yield weight, *leak
                    changed = True
            if changed:
                self._records[key] = Record(weight.variable, self._folder)

    def _report(self, weight: Found, entry: tuple[int, ...], before: Any, after: Any) -> None:
        batch = f", after {self._batch} batches" if self._batch else ""
        message = (
            f"{weight.path}: a frozen entry has changed; got weight{list(entry)}={after.item()!r}, "
            f"was {before.item()!r} (shape {tuple(weight.variable.shape)}, dtype "
            f"{weight.variable.dtype}; in epoch {self._epoch}, counted from 0{batch}). "
            "Look for code that assigns to this weight while it trains."
        )
        if self.on_leak == "raise":
            raise AuditError(message)
        warnings.warn(message, stacklevel=3)


class Record:
    """The frozen entries of a variable now, as far as they are in this process."""

    def __init__(self, variable: Any, folder: str) -> None:
        plan = plan_of(variable)
        assert plan is not None
        self.plan = plan
        values, self.held = _frozen_values(variable, plan)
        self.dtype = values.dtype
        self.checksum = _checksum(values)
        # On disk: memory may not have room for a second copy of a large model.
        self._path = pathlib.Path(folder) / f"{id(variable)}.bin"
        values.view(np.uint8).tofile(self._path)

    def values(self) -> np.ndarray:
        """The recorded entries, in the order of the weight."""
        return np.fromfile(self._path, dtype=np.uint8).view(self.dtype)


def first_change(record: Record, variable: Any) -> tuple[tuple[int, ...], Any, Any] | None:
    """The first entry, frozen before and now, whose bits differ: index, old value, new value."""
    plan = plan_of(variable)
    assert plan is not None
    now, held = _frozen_values(variable, plan)
    if plan == record.plan and held == record.held and _checksum(now) == record.checksum:
        return None
    was_frozen, is_frozen = record.held.mask(record.plan), held.mask(plan)
    both = was_frozen & is_frozen
    then = record.values()[both[was_frozen]]
    now = now[both[is_frozen]]
    differs = differ(then, now)
    if not differs.any():
        return None
    first = int(np.argmax(differs))
    place = np.unravel_index(np.flatnonzero(both)[first], both.shape)
    return tuple(int(n) for n in place), then[first], now[first]


@dataclass(frozen=True)
class Held:
    """Which of the frozen entries of a weight this process has.

    Attributes:
        divided: Whether the weight is divided into two parts.
        shape: The shape of the variable that stores the frozen entries.
        regions: The regions of it in this process, None for all of it.
    """

    divided: bool
    shape: tuple[int, ...]
    regions: tuple[tuple[slice, ...], ...] | None

    def mask(self, plan: Plan) -> np.ndarray:
        """`bool[plan.shape]`: the frozen entries in this process."""
        mask = plan.mask()
        if self.regions is not None:
            mask[mask] = self.among_frozen(plan)
        return mask

    def among_frozen(self, plan: Plan) -> np.ndarray:
        """Which of the frozen entries, in the order of the weight, are in this process."""
        here = np.zeros(self.shape, bool)
        for region in self.regions or ():
            here[region] = True
        return self.in_order(plan, here)

    def in_order(self, plan: Plan, stored: np.ndarray) -> np.ndarray:
        """The frozen entries as one axis in the order of the weight."""
        if self.divided and plan.kind == "entries":
            stored = stored[plan.mask()]
        elif self.divided and isinstance(plan, AxisPlan) and plan.keeps_length:
            frozen = np.compress(plan.places == 0, stored, plan.stored_axis)
            stored = np.moveaxis(frozen, plan.stored_axis, plan.axis)
        return np.ascontiguousarray(stored).reshape(-1)


def _frozen_values(variable: Any, plan: Plan) -> tuple[np.ndarray, Held]:
    """The frozen entries of a variable in this process, in the order of the weight."""
    stored, regions = read_frozen_part(variable)
    held = Held(isinstance(variable, View), stored.shape, regions)
    values = held.in_order(plan, stored)
    return values if regions is None else values[held.among_frozen(plan)], held


def _unlike_copy(variable: Any) -> tuple[tuple[int, ...], Any, Any] | None:
    """The first frozen entry whose copies on two devices differ: index and both values."""
    copies, plan = read_copies(variable), plan_of(variable)
    assert plan is not None
    first = next(copies, None)
    if first is None:
        return None
    for other in copies:
        differs = differ(first, other)
        if differs.any() and (differs := differs & plan.mask()).any():
            place = tuple(int(n) for n in np.argwhere(differs)[0])
            return place, first[place], other[place]
    return None


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(values.view(np.uint8).data)
