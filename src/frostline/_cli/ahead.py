"""The process that reads HDF5, started while the command imports the rest.

A fork of a process with one thread shares what is imported: it costs half as much as a start of the
script, which is what happens elsewhere.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "_files" / "hdf5_child.py"

started: list[Any] = []
"""Processes that wait for the name of a file; they end with this one."""


class Forked:
    """A fork that runs `SCRIPT`, with what is used of a `subprocess.Popen`."""

    def __init__(self) -> None:
        asked, answered = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                for end, standard in ((asked[0], 0), (answered[1], 1)):
                    os.dup2(end, standard)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os.closerange(3, max(*asked, *answered) + 1)
                sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
                runpy.run_path(str(SCRIPT), run_name="__main__")
            finally:
                os._exit(0)
        os.close(asked[0])
        os.close(answered[1])
        self.stdin, self.stdout = os.fdopen(asked[1], "wb"), os.fdopen(answered[0], "rb")
        self._status: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its status once it has ended."""
        end = time.monotonic() + (timeout or 3600)
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired(SCRIPT.name, timeout or 3600)
            else:
                time.sleep(0.0005)
        return self._status

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


def start(words: Sequence[str]) -> None:
    """Start a process for each file of a command that Keras wrote, where that is cheap."""
    count = sum(word.lower().endswith((".keras", ".h5")) for word in words)
    if not count or sys.platform != "linux":
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads would not survive a fork
    import numpy as np

    del np
    if len(os.listdir("/proc/self/task")) == 1:
        started.extend(Forked() for _ in range(min(count, 2)))
