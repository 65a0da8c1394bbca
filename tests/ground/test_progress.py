"""Progress bars appear after a second, only in a terminal, and go when the work is done."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import _console

pytestmark = pytest.mark.once

pty = pytest.importorskip("pty", reason="a terminal of this kind is Unix's")

MODEL = """
import warnings; warnings.simplefilter("ignore")
import keras, numpy as np
import frostline as fl
from frostline import _console
_console._PATIENCE = {patience}
dense = [keras.layers.Dense(3, name="a"), keras.layers.Dense(2)]
model = keras.Sequential([keras.Input((4,)), *dense])
"""
CALLS = {
    "freeze": ('fl.freeze(model, "*", lambda w: w == w)', ["selecting", "freezing"]),
    "unfreeze": ('fl.freeze(model, "a/*"); fl.unfreeze(model)', ["unfreezing"]),
    "snapshot": ("fl.snapshot(model)", ["copying"]),
    "restore": ("fl.restore(model, fl.snapshot(model))", ["restoring"]),
    "plot": ("fl.plot(model)", ["drawing"]),
    "plot_drift": ("fl.plot_drift(fl.snapshot(model), model)", ["comparing"]),
    "stock": (
        'fl.freeze(model, "a/*", fl.units([0])); fl.merge_stock(fl.to_stock(model))',
        ["making layers", "filling"],
    ),
    "audit": (
        'fl.freeze(model, "a/*", fl.units([0])); model.compile("sgd", "mse"); '
        "model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0, "
        "callbacks=[fl.callbacks.FreezeAudit()])",
        ["auditing"],
    ),
}
EVERY = [label for _, labels in CALLS.values() for label in labels]


def in_terminal(script: str) -> str:
    """Run a script with a terminal as its standard error, and return what it writes."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={
            **os.environ,
            **{"PYTHONPATH": str(Path(fl.__file__).parent.parent), "TERM": "xterm"},
            **{"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100"},
        },
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while read := os.read(ours, 1 << 16):
                written += read
        except OSError:  # Linux raises this when the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


def screen(written: str) -> str:
    """The text that stays on a terminal after `written` was written to it."""
    lines, row, column = [""], 0, 0
    for control, arguments, kind, char in re.findall(
        r"(\x1b\[([?\d;]*)([A-Za-z]))|([^\x1b])", written, re.DOTALL
    ):
        if control:
            if kind == "A":
                row = max(0, row - int(arguments or 1))
            elif kind == "K" and arguments == "2":
                lines[row] = ""
        elif char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            text = lines[row].ljust(column)
            lines[row] = text[:column] + char + text[column + 1 :]
            column += 1
    return "\n".join(lines)


def ours(text: str, labels: list[str]) -> list[str]:
    """The labels that occur in a text, in which backends may write other things too."""
    return [label for label in labels if label in text]


def test_bars_are_shown_in_a_terminal_and_leave_nothing():
    script = [MODEL.format(patience=-1)]
    for name, (call, _) in CALLS.items():
        script += [f"import sys; print('now: {name}', file=sys.stderr)", call, "fl.unfreeze(model)"]
    written = in_terminal("\n".join(script))
    for name, (_, labels) in CALLS.items():
        part = written.partition(f"now: {name}\r\n")[2].partition("now: ")[0]
        assert ours(part, labels) == labels
    assert ours(screen(written), EVERY) == []


def test_what_is_quick_or_told_to_be_silent_shows_no_bar():
    script = (
        "fl.snapshot(model); _console._PATIENCE = -1\n"
        "keras.config.disable_interactive_logging(); fl.snapshot(model)"
    )
    assert ours(in_terminal(MODEL.format(patience=60) + script), EVERY) == []


@pytest.mark.parametrize("call", [call for call, _ in CALLS.values()], ids=CALLS.keys())
def test_nothing_is_written_where_there_is_no_terminal(call, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(_console, "_PATIENCE", -1)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2)]
    )
    monkeypatch.setattr(sys, "stderr", stream)
    exec(call, {"fl": fl, "np": np, "model": model})
    assert stream.getvalue() == ""


def test_a_program_without_a_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(_console.each("copying", [1, 2])) == [1, 2]


def test_no_bar_is_made_where_there_is_no_terminal():
    script = """
        import sys
        from frostline import _console
        with _console.meter("reading", 10, quiet=False) as advance:
            advance(10)
        assert "rich.progress" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fl.__file__).parent.parent)},
    )


def test_a_bar_within_another_is_not_shown(monkeypatch):
    monkeypatch.setattr(_console, "_is_terminal", lambda stream: True)
    monkeypatch.setattr(_console, "_PATIENCE", -1)
    shown = []
    real = _console._bar
    monkeypatch.setattr(_console, "_bar", lambda unit: shown.append(unit) or real(unit))

    def work():
        for _ in _console.each("outer", [1, 2], "layers"):
            for _ in _console.each("inner", [1], "weights"):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert shown == ["layers"]
    list(_console.each("again", [1], "files"))
    assert shown == ["layers", "files"]


def test_the_bar_of_keras_is_whole_afterwards():
    """Another bar replaces it while weights are compared; then it is drawn again in full."""
    script = MODEL.format(patience=-1) + (
        "import sys; sys.stdout = sys.stderr\n"
        'fl.freeze(model, "a/*", fl.units([0])); model.compile("sgd", "mse")\n'
        "audit = fl.callbacks.FreezeAudit(every=1)\n"
        "model.fit(np.ones((8, 4)), np.ones((8, 2)), batch_size=4, epochs=2, callbacks=[audit])"
    )
    written = in_terminal(script)
    assert "auditing" in written
    left = [line.rstrip() for line in screen(written).split("\n") if line.strip()]
    left = left[next(n for n, line in enumerate(left) if line.startswith("Epoch 1/2")) :]
    assert [line[:9] for line in left if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    bars = [line for line in left if line.startswith("2/2")]
    assert len(bars) == 2
    assert all("loss" in bar and "auditing" not in bar for bar in bars)
