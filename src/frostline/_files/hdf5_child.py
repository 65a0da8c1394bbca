"""Read an HDF5 file in a separate process, because damaged files can crash the HDF5 library.

`hdf5.py` starts this file as a script. It prints one line of JSON, which lists all groups and
datasets, then answers requests for entries until its standard input ends. It imports nothing from
this package. Every number in the file is checked against the size of the file before it is used.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

if __name__ == "__main__":
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # never load a library that a file asks for
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5s, h5t, h5z

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

DEEPEST = 200  # nested groups
LONGEST = 4096  # characters of a path in the file
RANK = 32
ROOM = 64 << 20  # bytes that this process may take in addition to three times a weight
SMALL = 1 << 16  # bytes of a dataset that was never written
SECONDS = 3  # for one request, and one more for each 16 MiB of data
ITSELF = "a weight file must contain its weights itself; got"
AGAIN = "Save the weights again with Keras."
CUT = "It may have been cut off while it was copied: take it from its source again."
OWN = b"vars"
KINDS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
# The maximum compression of each filter, which limits the size that a dataset may claim.
SHRINKS = {h5z.FILTER_DEFLATE: 1032, h5z.FILTER_SHUFFLE: 1, h5z.FILTER_FLETCHER32: 1, 32000: 90}


class Refused(Exception):
    """The file breaks a rule. The second argument, if there is one, says what to do."""


class Window(io.RawIOBase):
    """`length` bytes of a file from `start` on, as a file."""

    def __init__(self, file: Any, start: int, length: int) -> None:
        self._file, self._start, self._length, self._place = file, start, length, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + (0, self._place, self._length)[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._length - self._place))
        self._file.seek(self._start + self._place)
        read = self._file.readinto(view[:count])
        self._place += read
        return read


class Listing:
    """The contents of a file.

    Each object may be opened only once, so that loops of groups end. The characters of names and
    the bytes of data are limited by the size of the file.
    """

    def __init__(self, hdf5: Any, length: int) -> None:
        self.groups: list[dict[str, Any]] = []
        self.places: list[bytes] = []
        self._length, self._room = length, SMALL + 8 * length
        self._plain = not hdf5.userblock_size
        self._seen: set[int] = set()
        self._names = self._bytes = 0
        self.top = [_text(name) for name in self._members(hdf5.id, b"")][:3]
        self._walk(hdf5.id, b"", "", -1, 0)

    def _walk(self, group: Any, place: bytes, path: str, above: int, depth: int) -> None:
        if depth > DEEPEST:
            raise Refused(f"groups are nested too deeply; got {_text(place)[:60]}...")
        names = self._members(group, place)
        here = above
        if OWN in names:
            own = self._open(group, OWN, place)
            if isinstance(own, h5py.h5g.GroupID):
                # Older Keras files have no names; then the attribute or class is used.
                name = _attribute(own, b"name") or _text(place.rpartition(b"/")[2])
                path = (f"{path}/{name}" if path else name) if place else ""
                self._spend(len(path) + len(place))
                variables = self._variables(own, place)
                here = len(self.groups)
                told = {"place": _text(place), "path": path, "above": above}
                self.groups.append({**told, "variables": variables})
        for name in names:
            if name != OWN:
                member = self._open(group, name, place)
                if isinstance(member, h5py.h5g.GroupID):
                    inside = place + b"/" + name if place else name
                    self._walk(member, inside, path, here, depth + 1)

    def _variables(self, group: Any, place: bytes) -> list[dict[str, Any]]:
        found = []
        for key in self._members(group, place):
            dataset = self._open(group, key, place)
            if not isinstance(dataset, h5d.DatasetID):
                continue
            where = (place + b"/" if place else b"") + OWN + b"/" + key
            try:
                described = self._dataset(dataset)
            except Refused as refused:
                rule, *do = refused.args
                raise Refused(f"{_text(where)}: {rule}", *do) from None
            if described is not None:
                found.append({"key": _text(key), "number": len(self.places), **described})
                self.places.append(where)
        return found

    def _members(self, group: Any, place: bytes) -> list[bytes]:
        """The names in a group, in their order: `dense_2` before `dense_10`."""
        found: list[tuple[bytes, int]] = []

        def take(name: bytes, info: Any) -> bool | None:
            found.append((name, info.type))
            self._names += len(name) + 8
            return self._names > self._room or None  # h5py could not pass on an exception

        group.links.iterate(take, info=True)
        self._spend(0)
        for name, kind in found:
            if len(place) + len(name) > LONGEST:
                raise Refused(f"a name has more than {LONGEST} characters")
            if kind != h5l.TYPE_HARD:
                raise Refused(f"{ITSELF} a link at {_text(place)}/{_text(name)}", AGAIN)
        return sorted((name for name, _ in found), key=_natural)

    def _open(self, group: Any, name: bytes, place: bytes) -> Any:
        one = h5o.open(group, name)
        address = h5o.get_info(one).addr
        if address in self._seen:
            raise Refused(
                "an object has two names, or groups form a loop; got "
                f"{_text(place)[:60]}/{_text(name)[:60]}"
            )
        self._seen.add(address)
        return one

    def _spend(self, characters: int) -> None:
        self._names += characters
        if self._names > self._room:
            raise Refused("the names are longer than the file")

    def _dataset(self, dataset: Any) -> dict[str, Any] | None:
        """Describe a dataset; with an offset if its bytes in the file are as in memory."""
        dtype, shape = dataset.dtype, dataset.shape
        if dtype.kind not in "biufcV":
            return None
        named = _attribute(dataset, b"dtype") == "bfloat16"
        simple = dtype.kind != "V" or (dtype.fields is None and dtype.subdtype is None and named)
        known = named or dtype.str[1:] in KINDS | {"b1", "f2", "f4", "f8", "c8", "c16"}
        if not simple or not known or (named and dtype.itemsize != 2):
            raise Refused(f"unknown dtype; got {dtype}")
        if shape is None or len(shape) > RANK:
            raise Refused(f"unsupported shape; got {shape}")
        size = math.prod(shape) * dtype.itemsize
        offset = self._offset(dataset, dtype, shape, size)
        native = "bfloat16" if named else dtype.newbyteorder("=").str
        return {"shape": shape, "dtype": native, "offset": offset}

    def _offset(self, dataset: Any, dtype: Any, shape: tuple[int, ...], size: int) -> int | None:
        plist = dataset.get_create_plist()
        layout, held = plist.get_layout(), dataset.get_storage_size()
        if plist.get_external_count() or layout == h5d.VIRTUAL:
            raise Refused(f"{ITSELF} a dataset in another file", AGAIN)
        self._bytes += held
        if self._bytes > self._length:
            raise Refused(
                f"more data than the file can contain; got {held} bytes in {self._length}"
            )
        shrunk = _chunks(plist, shape, dtype.itemsize) if layout == h5d.CHUNKED else 1
        if size > max(SMALL, held * shrunk):
            raise Refused(f"too little data for the shape; got {held} bytes for shape {shape}")
        plain = layout == h5d.CONTIGUOUS and self._plain
        offset = dataset.get_offset() if plain else None
        if offset is None:
            return None
        if offset + size > self._length or held != size:
            raise Refused(
                f"the data is beyond the end of the file; got bytes {offset} to "
                f"{offset + max(size, held)} of {self._length}"
            )
        stored = dataset.get_type()
        if dtype.kind == "V":
            return offset if stored.get_class() == h5t.OPAQUE else None
        as_is = dtype.isnative and stored.equal(h5t.py_create(dtype, logical=True))
        return offset if as_is else None


def _chunks(plist: Any, shape: tuple[int, ...], itemsize: int) -> int:
    """The maximum compression of a dataset in chunks; 1 without filters."""
    chunk = plist.get_chunk()
    larger = any(c > max(n, 1) for c, n in zip(chunk, shape, strict=True))
    if larger and math.prod(chunk) * itemsize > SMALL:
        raise Refused(f"chunks are larger than the array; got {chunk} for shape {shape}")
    filters = [plist.get_filter(place)[0] for place in range(plist.get_nfilters())]
    if not set(filters) <= SHRINKS.keys() or len(set(filters)) < len(filters):
        raise Refused(f"unsupported filters; got numbers {filters}")
    return math.prod(SHRINKS[number] for number in filters)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _natural(name: bytes) -> list[tuple[int, bytes]]:
    return [
        (int(part), b"") if part.isdigit() else (-1, part)
        for part in re.split(rb"(\d{1,18})", name)
    ]


def _attribute(one: Any, name: bytes) -> str | None:
    """An attribute that is a short text, None for anything else."""
    if not h5a.exists(one, name):
        return None
    attribute = h5a.open(one, name)
    kind = attribute.get_type()
    single = attribute.get_space().get_simple_extent_type() == h5s.SCALAR
    if not single or kind.get_class() != h5t.STRING or attribute.get_storage_size() > LONGEST:
        return None
    owner = h5py.Group if isinstance(one, h5py.h5g.GroupID) else h5py.Dataset
    value = owner(one).attrs[name.decode()]
    value = _text(value) if isinstance(value, bytes) else value
    return value if isinstance(value, str) and len(value) <= LONGEST else None


class Datasets:
    """The datasets of a file; the last one that was requested stays open, with its chunks."""

    def __init__(self, hdf5: Any, places: list[bytes]) -> None:
        self._hdf5, self._places = hdf5, places
        self._open: tuple[int, Any] | None = None

    def get(self, number: int) -> Any:
        if self._open is None or self._open[0] != number:
            place = self._places[number]
            one = h5py.Dataset(h5d.open(self._hdf5.id, place))
            if one.chunks:
                # Room for all chunks of the rows that are read together: each is unpacked once.
                whole = [-(-n // c) * c for n, c in zip(one.shape, one.chunks, strict=True)]
                size = math.prod((one.chunks[0], *whole[1:])) * one.dtype.itemsize
                size = min(size, 2 * one.nbytes) + (1 << 20)
                allow(2 * size + one.nbytes)
                access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
                access.set_chunk_cache(12421, size, 1.0)
                one = h5py.Dataset(h5d.open(self._hdf5.id, place, access))
            self._open = number, one
        return self._open[1]


def answers(datasets: Datasets, requests: Any, replies: Any) -> None:
    """Answer requests `[number, index, bytes]`: read entries, or write them if `bytes` is given."""
    for line in requests:
        number, index, count = json.loads(line)
        dataset = datasets.get(number)
        spend(dataset.nbytes)
        native = dataset.dtype.newbyteorder("=")
        if count is None:
            at = tuple(slice(*part) if isinstance(part, list) else part for part in index)
            read = np.ascontiguousarray(np.asarray(dataset[at]), native)
            replies.write(b"%d\n" % read.nbytes + read.tobytes())
        else:
            dataset[...] = np.frombuffer(requests.read(count), native).reshape(dataset.shape)
            dataset.file.flush()
            replies.write(b"0\n")
        replies.flush()


def spend(size: int) -> None:
    """Limit the CPU time of this process, from now on, to what `size` bytes need."""
    if resource is not None:
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + SECONDS + (size >> 24))


def allow(more: int) -> None:
    """Limit the memory of this process to what it has now, `more` bytes and some room."""
    if resource is not None and sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, now + ROOM + more)


def _limit(kind: int, value: int) -> None:
    assert resource is not None
    _, hard = resource.getrlimit(kind)
    with contextlib.suppress(ValueError, OSError):  # there is a lower limit already
        resource.setrlimit(kind, (value if hard < 0 else min(value, hard), hard))


@contextlib.contextmanager
def opened(path: str, start: int, length: int, mode: str) -> Iterator[Any]:
    """Open the HDF5 file in a part of a file; to write, the part must be the whole file."""
    with open(path, "rb", buffering=0) as file:
        try:
            hdf5 = h5py.File(path if mode == "r+" else Window(file, start, length), mode)
        except (OSError, RuntimeError, ValueError) as error:
            raise Refused(f"its weights are not a complete HDF5 file; got {error}", CUT) from None
        with hdf5:
            cache = hdf5.id.get_mdc_config()  # the cache of closed objects
            cache.set_initial_size, cache.initial_size, cache.max_size = True, 1 << 20, 1 << 21
            hdf5.id.set_mdc_config(cache)
            yield hdf5


def main() -> None:
    """Read the name of the file, print its listing or an error, and answer requests."""
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    asked = requests.readline()
    if not asked:
        return
    path, start, length, mode = json.loads(asked)
    allow(min(2 * length, 1 << 30))
    spend(min(length << 5, 300 << 24))  # two seconds for each MiB of a file of small objects
    try:
        with opened(path, start, length, mode) as hdf5:
            listing = Listing(hdf5, length)
            told = {"groups": listing.groups, "top": listing.top}
            replies.write(json.dumps(told).encode("ascii") + b"\n")
            replies.flush()
            answers(Datasets(hdf5, listing.places), requests, replies)
    except Exception as error:
        refused, name = isinstance(error, Refused), type(error).__name__
        said = {"refused": error.args} if refused else {"error": f"{name}: {error}"[:300]}
        with contextlib.suppress(BrokenPipeError):
            replies.write(json.dumps(said).encode("ascii") + b"\n")
            replies.flush()


if __name__ == "__main__":
    main()
