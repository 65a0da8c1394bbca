"""Save the freeze beside the backup of `keras.callbacks.BackupAndRestore`."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import keras

from frostline import _keras
from frostline._arrays.stored import StoredWeight
from frostline._errors import RestoreError
from frostline._freezing.apply import apply_plans
from frostline._freezing.description import plans_described
from frostline._weights.changing import alone
from frostline._weights.tree import unique, walk
from frostline._writing import replacing

_NAME = "frostline_schedule.json"
_VERSION = 2


class Backup:
    """The notes in the folder of a backup callback: what is frozen from each epoch on."""

    def __init__(self, callback: keras.callbacks.BackupAndRestore) -> None:
        self._callback = callback
        self._path = pathlib.Path(os.fspath(callback.backup_dir)) / _NAME
        self._notes: dict[int, list[StoredWeight]] = {}

    def note(self, epoch: int, described: list[StoredWeight]) -> None:
        """Save what is frozen from this epoch on; -1 means before the first."""
        self._notes = {known: note for known, note in self._notes.items() if known < epoch}
        self._notes[epoch] = described
        self._path.parent.mkdir(parents=True, exist_ok=True)
        notes = {str(known): note for known, note in self._notes.items()}
        # The run may be killed at any time.
        with replacing(self._path) as unfinished:
            unfinished.write_text(
                json.dumps({"version": _VERSION, "notes": notes}), encoding="utf-8"
            )

    def resumed(self, model: Any) -> tuple[frozenset[int], list[StoredWeight]] | None:
        """The epochs whose actions ran before the backup, and what is frozen in it."""
        reached = _keras.backed_up_epoch(self._callback)
        if reached is None:
            return None
        try:
            read = json.loads(self._path.read_text(encoding="utf-8"))
            notes = {int(epoch): note for epoch, note in read["notes"].items()}
            known = read["version"] == _VERSION
        except (OSError, ValueError, KeyError, AttributeError):
            notes, known = {}, False
        self._notes = {epoch: note for epoch, note in notes.items() if epoch <= reached}
        if not known or not self._notes:
            raise RestoreError(
                f"{model.name}: the backup does not say what was frozen, because it was made "
                f"without this schedule; got backup_dir={str(self._path.parent)!r}. Delete the "
                "folder to start again, or leave the schedule out."
            )
        return frozenset(self._notes), self._notes[max(self._notes)]


@alone
def restore_description(model: Any, described: list[StoredWeight]) -> None:
    """Freeze exactly what is described in a model."""
    wanted = {id(variable): plan for variable, plan in plans_described(model, described)}
    plans = [(w.variable, wanted.get(id(w.variable))) for w in unique(walk(model))]
    apply_plans(model, plans, restoring=True)
