"""Several processes of one module on loopback, which know their RANK and the WORLD_SIZE."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

LIMIT = 120
"""Seconds until processes that wait for one another are ended."""


def together(module: str, count: int, *arguments: str) -> str:
    """Run a module in some processes, and give what the first one printed in its last line."""
    ports = _free_ports(count)
    world = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": ports[0],
        "PORTS": ",".join(ports),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            env={**os.environ, **world, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        printed = [process.communicate(timeout=LIMIT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, error) in zip(processes, printed, strict=True):
        if process.returncode:
            raise SystemExit(f"{module} {' '.join(arguments)}:\n{error[-3000:]}")
    return printed[0][0].splitlines()[-1]


def _free_ports(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
