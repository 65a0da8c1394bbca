"""Starts the process that reads HDF5 while the command imports the rest: Python's own alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = Path(__file__).parents[1] / "_files" / "hdf5_child.py"

started: list[subprocess.Popen[bytes]] = []
"""Processes that wait for the name of a file; they end with this process."""


def start(words: Sequence[str]) -> None:
    """Start a process for each file of a command that Keras wrote."""
    for _ in [word for word in words if word.lower().endswith((".keras", ".h5"))][:2]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
