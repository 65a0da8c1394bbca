"""The process that reads HDF5, started while the command still imports its modules.

A fork of a process with one thread shares the imported modules. It takes half the time of starting
the script as a new process, which is done elsewhere.
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
"""Processes that wait for the name of a file. They end when this process ends."""


class Forked:
    """A fork that runs `SCRIPT`, with the methods of `subprocess.Popen` that are used."""

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
        """Wait until it ends, and return its exit status."""
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
    """Start a process for each HDF5 file of a command, if a fork is possible."""
    count = sum(word.lower().endswith((".keras", ".h5")) for word in words)
    if not count or sys.platform != "linux":
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads would not survive a fork
    import numpy as np

    del np
    if len(os.listdir("/proc/self/task")) == 1:
        started.extend(Forked() for _ in range(min(count, 2)))
