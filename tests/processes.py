"""Start processes that train one model together on loopback; all of them end with their test."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "engines" / "programs"

# A process ends when its standard input closes, so none is left if pytest itself is killed.
_START = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(9)), daemon=True).start()
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_PYTHON = (sys.executable, "-W", "ignore", "-c", _START)


class Processes:
    """The processes of one program, each with RANK and WORLD_SIZE set as by torchrun."""

    def __init__(
        self,
        program: str,
        count: int,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
    ):
        port, *ports = map(str, free_ports(1 + 2 * count))
        together = {
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "PORTS": ",".join(ports[:count]),
            "INNER_PORTS": ",".join(ports[count:]),  # for servers behind a proxy
            "PYTHONUNBUFFERED": "1",
        }
        self._logs = [folder / f"{program}-{rank}.log" for rank in range(count)]
        self.processes = []
        for rank, log in enumerate(self._logs):
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [*_PYTHON, str(PROGRAMS / f"{program}.py"), *arguments],
                        env={**os.environ, **together, "RANK": str(rank), **environment},
                        stdin=subprocess.PIPE,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )

    def printed(self, rank: int) -> str:
        """Everything that one process has printed until now."""
        return self._logs[rank].read_text()

    def wait_for(self, rank: int, text: str, timeout: float = 120) -> None:
        """Wait until a process has printed a text."""
        end = time.monotonic() + timeout
        while text not in self.printed(rank):
            assert self.processes[rank].poll() is None, self._ends()
            assert time.monotonic() < end, f"never printed {text!r}\n{self._ends()}"
            time.sleep(0.02)

    def kill(self, rank: int) -> None:
        """Kill a process with SIGKILL, as if its machine failed."""
        self.processes[rank].send_signal(signal.SIGKILL)
        self.processes[rank].wait()

    def finish(self, timeout: float = 180) -> list[str]:
        """Wait for all processes, check that they exit with 0, and return what each has printed."""
        end = time.monotonic() + timeout
        while any(process.poll() is None for process in self.processes):
            # If one has failed, the others would wait for it.
            assert not any(process.poll() for process in self.processes), self._ends()
            assert time.monotonic() < end, f"not ended after {timeout} s\n{self._ends()}"
            time.sleep(0.02)
        assert not any(process.poll() for process in self.processes), self._ends()
        return [self.printed(rank) for rank in range(len(self.processes))]

    def end(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            process.kill()
            process.wait()
            process.communicate()

    def _ends(self) -> str:
        statuses = [process.poll() for process in self.processes]
        ends = [self.printed(rank)[-3000:] for rank in range(len(statuses))]
        return "\n".join(
            f"-- process {rank}, status {status}\n{end}"
            for rank, (status, end) in enumerate(zip(statuses, ends, strict=True))
        )


@contextmanager
def started(
    program: str, count: int, *arguments: Any, folder: Path, **environment: str
) -> Iterator[Processes]:
    """Start a program of `tests/engines/programs` in `count` processes; all end with the block."""
    processes = Processes(program, count, list(map(str, arguments)), folder, environment)
    try:
        yield processes
    finally:
        processes.end()


def run_together(
    program: str, count: int, *arguments: Any, folder: Path, **environment: str
) -> list[str]:
    """Run a program in `count` processes until they end; return what each has printed."""
    with started(program, count, *arguments, folder=folder, **environment) as processes:
        return processes.finish()


def free_ports(count: int) -> list[int]:
    """Free loopback ports, outside the range from which systems take the ports of connections.

    The processes bind them seconds later: in that range a connection could take one of them.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found
