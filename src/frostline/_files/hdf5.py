"""Read the groups and variables of a Keras weight file in HDF5 format.

Damaged files can crash the HDF5 library, so `hdf5_child.py` reads them in a separate process.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from frostline._arrays.pieces import PIECE, Piece
from frostline._errors import FileError
from frostline._files.archive import Window
from frostline._files.boundary import AGAIN, reading
from frostline._files.sources import Bytes, Source, dtype_named

_OPTIMIZER = "optimizer"


def start() -> subprocess.Popen[bytes]:
    """Start a process that reads the file named on its standard input."""
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("hdf5_child.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class Variable:
    """One variable; `key` is its name in its layer, usually a number."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    source: Source


@dataclass(frozen=True)
class Group:
    """A layer in a file.

    Attributes:
        place: Its attributes and containers from the model down, `"layers/dense_1"`.
        path: The names of the layers from the model down, `"encoder/hidden"`.
        above: The group of the layer that contains it.
        variables: Its own variables, in order.
    """

    place: str
    path: str
    above: Group | None
    variables: tuple[Variable, ...]

    @property
    def attribute(self) -> str:
        """The last part of the place: an attribute, or in a list the name of a class."""
        return self.place.rpartition("/")[2]

    @property
    def in_list(self) -> bool:
        """Whether it is in a list of its layer, where Keras names it by its class."""
        around = "" if self.above is None else self.above.place
        return self.place.rpartition("/")[0] != around

    @property
    def of_optimizer(self) -> bool:
        """Whether it is the state of the model's optimizer."""
        return self.place.partition("/")[0] == _OPTIMIZER


@dataclass(frozen=True)
class Weights:
    """The contents of a weight file.

    Attributes:
        groups: Every layer and the optimizer; outer layers come before inner ones.
        top: The first names at the top of the file, for errors.
        child: The process that reads it.
    """

    groups: list[Group]
    top: list[str]
    child: Child


class Child:
    """The process that reads an HDF5 file.

    Args:
        path: The file, for messages.
        window: The part of the file that is HDF5.
        mode: `"r"`, or `"r+"` to write; the window must then be the whole file.

    Attributes:
        ahead: Processes that were started in advance.
    """

    ahead: ClassVar[list[Any]] = []

    def __init__(self, path: Path, window: Window, mode: str = "r") -> None:
        self._path = path
        self._lock = threading.Lock()
        with reading(
            path,
            "cannot start a process to read it",
            "Run this in an ordinary Python process: `sys.executable` must start Python.",
        ):
            self._process: Any = self.ahead.pop() if self.ahead else start()
        self._requests: Any = self._process.stdin
        self._replies: Any = self._process.stdout
        self._send([str(window.path), window.start, window.length, mode])

    def listing(self) -> dict[str, Any]:
        """The contents of the file."""
        return json.loads(self._line())

    def read(self, number: int, index: tuple[int | slice, ...], label: str) -> bytes:
        """The bytes of entries of a dataset, in order."""
        parts = [[i.start, i.stop] if isinstance(i, slice) else i for i in index]
        with self._lock, reading(label, "this weight cannot be read"):
            self._send([number, parts, None])
            return self._replies.read(int(self._line()))

    def write(self, number: int, value: np.ndarray) -> None:
        """Replace all entries of a dataset."""
        raw = value.reshape(-1).view(np.uint8)
        with self._lock, reading(self._path, "a weight cannot be written"):
            self._send([number, [], raw.nbytes], raw.data)
            self._line()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            for pipe in (self._requests, self._replies):
                with contextlib.suppress(OSError):  # it has ended already
                    pipe.close()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _send(self, request: list[Any], data: Any = b"") -> None:
        with contextlib.suppress(OSError):  # it has ended: its reply or its status says why
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.write(data)
            self._requests.flush()

    def _line(self) -> bytes:
        line = self._replies.readline()
        if line.startswith(b'{"groups"') or line.rstrip().isdigit():
            return line
        told = json.loads(line) if line.endswith(b"}\n") else {}
        if "refused" in told:
            rule, do = (*told["refused"], AGAIN)[:2]
            rule = rule if rule.startswith("its weights") else f"its weights cannot be read: {rule}"
            raise FileError(f"{self._path}: {rule}. {do}")
        got = told.get("error") or self._end()
        raise FileError(f"{self._path}: its weights are damaged; got {got}. {AGAIN}")

    def _end(self) -> str:
        status = self._process.wait()
        if status == -getattr(signal, "SIGXCPU", 0):
            return "a timeout while reading them"
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"a crash of the process that reads HDF5, {name}"


class Slices:
    """Entries that only the HDF5 library can read: chunked, compressed, or never written."""

    piece = PIECE  # large, because a chunk in two pieces is unpacked twice

    def __init__(self, child: Child, number: int, name: str, dtype: np.dtype) -> None:
        self.child = child
        self.number = number
        self._name = name
        self._dtype = dtype

    def read(self, piece: Piece, buffer: np.ndarray) -> np.ndarray:
        del buffer
        raw = self.child.read(self.number, piece.index, self._name)
        wanted = (piece.stop - piece.start) * self._dtype.itemsize
        if len(raw) != wanted:
            raise FileError(
                f"{self._name}: this weight cannot be read; got {len(raw)} of {wanted} bytes. "
                + AGAIN
            )
        return np.frombuffer(raw, self._dtype)


@contextmanager
def open_hdf5(path: Path, window: Window, mode: str = "r") -> Iterator[Weights]:
    """Open the HDF5 file in a part of a file for the length of the block."""
    child = Child(path, window, mode)
    try:
        with reading(path, "its weights cannot be read"):
            listing = child.listing()
            groups: list[Group] = []
            for told in listing["groups"]:
                above = groups[told["above"]] if told["above"] >= 0 else None
                variables = tuple(
                    _variable(path, child, window, told["place"], one) for one in told["variables"]
                )
                groups.append(Group(told["place"], told["path"], above, variables))
        yield Weights(groups, listing["top"], child)
    finally:
        child.close()


def _variable(
    path: Path, child: Child, window: Window, place: str, told: dict[str, Any]
) -> Variable:
    label = f"{path}: {place or '.'}/vars/{told['key']}"
    shape, dtype = tuple(told["shape"]), dtype_named(told["dtype"])
    source: Source = Slices(child, told["number"], label, dtype)
    if told["offset"] is not None:
        source = Bytes(window.file, label, window.start + told["offset"], dtype)
    return Variable(told["key"], shape, dtype, source)
