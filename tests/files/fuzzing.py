"""Damage and forge model files, and check that each is read or refused with a frostline error.

`seeds` writes good files. `python tests/files/fuzzing.py FOLDER FIRST COUNT` is a process without
Keras that makes a mutant of one of them for each number. A number always makes the same mutant. The
script prints a line for each mutant with any other outcome, and the counts at the end.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import re
import resource
import signal
import struct
import sys
import traceback
import zipfile
import zlib
from collections import Counter
from typing import Any

ROOM = 192 << 20  # bytes of memory for all mutants of a process, in addition to those of Python
SECONDS = 20  # for one mutant
KEPT = "mutant"
ODD = [
    *(None, True, False, "", "a", 0, -1, 1, 2, 255, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1),
    *(2**63, -(2**63), 2**64, 10**30, 1.5, -0.0, 1e300, float("inf"), float("-inf"), float("nan")),
    *("0", "1e9", "/", "..", "\x1b[2J\x1b[31m", "a\nb", "\u202eabc", "\ud800", "\x00", "x" * 5000),
    *([], {}, [[]], [0], [-1], [2**31], [1, 2, 3], {"a": 1}, [None], ["a"], [1.5], [True, False]),
]
NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]


def seeds(folder: pathlib.Path) -> None:
    """Write the good files: `model.keras`, `model.weights.h5`, `packed.weights.h5`, ..."""
    import h5py
    import keras
    import numpy as np

    import frostline as fl

    def model(value):
        keras.utils.set_random_seed(value)
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(5, name="first"),
                keras.layers.Dense(4, name="second"),
                keras.layers.Dense(3, name="third"),
                keras.layers.Dense(8, name="last"),
            ]
        )

    one = model(1)
    fl.freeze(one, "first/kernel", fl.at[0])
    fl.freeze(one, "second/kernel", lambda w: np.arange(w.size).reshape(w.shape) % 3 == 0)
    fl.freeze(one, "third/bias")
    fl.freeze(one, "last/kernel", fl.at[:, [0, 2]])
    one.compile("sgd", "mse")
    one.save(folder / "model.keras")
    one.save_weights(folder / "model.weights.h5")
    fl.extract_delta(one).save(folder / "delta.safetensors")
    fl.extract_delta(one).save(folder / "rounded.safetensors", dtype="bfloat16")
    with h5py.File(folder / "packed.weights.h5", "w") as file:
        for name, options in {
            "0": {"chunks": (7, 9), "compression": "gzip", "shuffle": True, "fletcher32": True},
            "1": {"chunks": (30, 1), "compression": "lzf"},
            "2": {"chunks": (5, 5), "maxshape": (None, None)},
            "3": {},
        }.items():
            array = np.arange(600.0, dtype=">f4" if name == "3" else "f4").reshape(30, 20)
            file.create_dataset(f"layers/dense/vars/{name}", data=array, **options)
        file["layers/dense/vars/4"] = np.array([True, False])
    with h5py.File(folder / "latest.weights.h5", "w", libver="latest") as file:
        for name in "abc":
            own = file.create_group(f"{name}/vars")
            own.attrs["name"] = name
            own["0"] = np.arange(12.0).reshape(3, 4)


class Mutants:
    """Mutants of the good files in a folder. The number alone determines the mutant."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.good = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}
        with zipfile.ZipFile(folder / "model.keras") as archive:
            self.parts = {name: archive.read(name) for name in archive.namelist()}

    def make(self, number: int) -> tuple[str, bytes]:
        """Return the kind of a mutant, which ends in the suffix of its file, and its bytes."""
        self.random = random.Random(number)
        kinds = {
            self.zip_fields: 12,
            self.zip_members: 12,
            self.config: 20,
            self.freeze: 20,
            self.hdf5: 22,
            self.hdf5_objects: 10,
            self.header: 12,
            self.delta: 14,
            self.any_bytes: 10,
        }
        kind = self.random.choices(list(kinds), list(kinds.values()))[0]
        name, data = kind()
        return f"{kind.__name__} {name}", data

    def any_bytes(self):
        name = self.random.choice(list(self.good))
        return name, self._spoiled(self.good[name])

    def zip_fields(self):
        """Change the number in a header field of an archive."""
        data = bytearray(self.good["model.keras"])
        sign, fields = self.random.choice(
            [
                (b"PK\x03\x04", {4: 2, 6: 2, 8: 2, 10: 2, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2}),
                (
                    b"PK\x01\x02",
                    {
                        **{4: 2, 6: 2, 8: 2, 10: 2, 12: 2, 16: 4, 20: 4, 24: 4, 28: 2},
                        **{30: 2, 32: 2, 34: 2, 36: 2, 38: 4, 42: 4},
                    },
                ),
                (b"PK\x05\x06", {4: 2, 6: 2, 8: 2, 10: 2, 12: 4, 16: 4, 20: 2}),
            ]
        )
        starts = [found.start() for found in re.finditer(re.escape(sign), data)]
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            at, size = self.random.choice(list(fields.items()))
            place = self.random.choice(starts) + at
            old = int.from_bytes(data[place : place + size], "little")
            new = self.random.choice([*NUMBERS, old + 1, old ^ 1, old * 2]) % 256**size
            data[place : place + size] = new.to_bytes(size, "little")
        return "model.keras", bytes(data)

    def zip_members(self):
        """Repeat, move, compress, empty or inflate parts of an archive."""
        buffer = io.BytesIO()
        parts = list(self.parts.items())
        self.random.shuffle(parts)
        with zipfile.ZipFile(buffer, "w") as archive, contextlib.suppress(UserWarning):
            for name, data in parts:
                change = self.random.choice(["", "", "", "drop", "twice", "empty", "bomb", "name"])
                method = self.random.choice([0, 0, 0, 8, 12, 14])
                if change == "drop":
                    continue
                if change == "empty":
                    data = b""
                if change == "bomb":
                    data += b" " * self.random.choice([1 << 20, 1 << 24])
                    method = 8
                if change == "name":
                    name = self.random.choice(["../" + name, "\x1b[2J", "a" * 3000, "/" + name])
                archive.writestr(zipfile.ZipInfo(name), data, method)
                if change == "twice":
                    archive.writestr(zipfile.ZipInfo(name + "?"), data, method)
        data = buffer.getvalue()
        return "model.keras", data.replace(b"json?", b"json").replace(b".h5?", b".h5")

    def config(self):
        config = json.loads(self.parts["config.json"])
        for _ in range(self.random.choice([1, 1, 2, 5])):
            config = self._changed(config)
        return self._with_config(config)

    def freeze(self):
        """Change something in the description of a freeze."""
        config = json.loads(self.parts["config.json"])
        found = list(freezes(config))
        for _ in range(self.random.choice([1, 1, 2, 4])):
            own = self.random.choice(found)
            what = self.random.choice(["freeze", "weights", "plan", "plan", "mask"])
            weights = own.get("weights")
            weight = weights[0] if isinstance(weights, list) and weights else None
            plan = weight.get("plan") if isinstance(weight, dict) else None
            if what == "mask" and isinstance(plan, dict):
                size = self.random.choice([0, 1, 3, 100, 1 << 24])
                packed = zlib.compress(bytes(size), self.random.choice([0, 9]))[: 1 << 20]
                plan.update(kind="entries", frozen=base64.b64encode(packed).decode())
            elif what == "plan" and isinstance(plan, dict):
                key = self.random.choice([*plan, "shape", "axis", "trainable", "frozen", "kind"])
                plan[key] = self._changed(plan.get(key), 0.5)
            elif what == "weights" and weights:
                own["weights"] = self._changed(weights)
            else:
                key = self.random.choice(list(own) or ["weights"])
                own[key] = self._changed(own.get(key), 0.4)
        return self._with_config(config)

    def hdf5(self):
        """Change bytes of the structures that HDF5 keeps beside the entries."""
        name = self.random.choice([n for n in self.good if n.endswith(".h5")])
        data = bytearray(self.good[name])
        starts = [
            found.start()
            for found in re.finditer(rb"TREE|HEAP|SNOD|OHDR|OCHK|\x89HDF|FRHP|BTHD|GCOL", data)
        ]
        for _ in range(self.random.choice([1, 1, 1, 2, 8])):
            base = self.random.choice([*starts, self.random.randrange(len(data))])
            place = min(len(data) - 1, base + self.random.randrange(160))
            if self.random.random() < 0.6:
                data[place] ^= 1 << self.random.randrange(8)
            else:
                size = self.random.choice([1, 2, 4, 8])
                new = self.random.choice(NUMBERS) % 256**size
                data[place : place + size] = new.to_bytes(size, "little")
        return name, bytes(data)

    def hdf5_objects(self):
        """Add objects that HDF5 can hold and a weight file never has."""
        import h5py
        import numpy as np

        buffer = io.BytesIO(self.good["model.weights.h5"])
        pick = self.random.choice
        with h5py.File(buffer, "r+") as file:
            for _ in range(pick([1, 1, 2])):
                own: Any = file["layers/dense/vars"]
                n = str(self.random.randrange(2, 99))
                huge = tuple(pick([0, 1, 3, 2**20, 2**40]) for _ in range(pick([1, 2, 3, 33])))
                with contextlib.suppress(
                    ValueError, OSError, RuntimeError, OverflowError, TypeError
                ):
                    match self.random.randrange(14):
                        case 0:
                            own.create_dataset(n, huge, "f4", chunks=tuple(max(1, k) for k in huge))
                        case 1:
                            own.create_dataset(n, huge, "f8", chunks=(1,) * len(huge))
                        case 2:
                            own[n] = h5py.Empty("f4")
                        case 3:
                            own.create_dataset(n, (2,), h5py.vlen_dtype(np.float32))
                        case 4:
                            own.create_dataset(n, (3,), [("a", "f4"), ("b", h5py.string_dtype())])
                        case 5:
                            file[f"layers/{pick(['x', 'dense/deep'])}"] = pick(
                                [file["layers"], own]
                            )
                        case 6:
                            own[n] = pick([h5py.SoftLink("/a"), h5py.ExternalLink("a.h5", "/a")])
                        case 7:
                            own.attrs["name"] = pick(["\x1b[2J", "a\nb", "\u202e", "x" * 5000, ""])
                        case 8:
                            file.create_group(pick(["\x1b[2J", "a\nb", "x" * 3000]) + "/vars")[
                                "0"
                            ] = 1.0
                        case 9:
                            below: Any = file
                            for _ in range(pick([150, 250])):
                                below = below.create_group("g")
                        case 10:
                            own.create_dataset(n, huge, pick(["f4", "u1", "c16", "f2", "S7", "V3"]))
                        case 11:
                            own.attrs["name"] = pick([np.zeros(9000), 3, np.zeros(0), b"\xff\xfe"])
                        case 12:
                            own[n] = np.zeros(3, pick(["f8", "V2", ">i2", "c8", "S3", "g"]))
                            own[n].attrs["dtype"] = "bfloat16"
                        case 13:
                            own.create_dataset(
                                n, (1 << 22,), "f4", chunks=(1 << 20,), compression="gzip"
                            )[: 1 << pick([1, 20])] = 0
        return "model.weights.h5", buffer.getvalue()

    def header(self):
        """Change something in the header of a `.safetensors` file."""
        name = self.random.choice(["delta.safetensors", "rounded.safetensors"])
        text, rest = _split(self.good[name])
        header = json.loads(text)
        for _ in range(self.random.choice([1, 1, 2, 5])):
            key = self.random.choice(list(header))
            header[key] = self._changed(header[key], 0.2)
            if self.random.random() < 0.1:
                header[self.random.choice(["\x1b[2J", "a\nb", "\ud800", "x" * 3000])] = header.pop(
                    key
                )
        return name, _joined(self._text(header), rest)

    def delta(self):
        """Change the description of a delta, with the hash that fits."""
        name = self.random.choice(["delta.safetensors", "rounded.safetensors"])
        text, rest = _split(self.good[name])
        header = json.loads(text)
        described: Any = json.loads(header["__metadata__"]["frostline_delta"])
        if self.random.random() < 0.3:
            described = self._changed(described)
        else:
            weights = described["weights"]
            place = self.random.randrange(len(weights))
            weights[place] = self._changed(weights[place], 0.1)
        if self.random.random() < 0.3:
            rest = self._spoiled(rest)[: len(rest)].ljust(len(rest), b"\0")
        header["__metadata__"]["frostline_delta"] = json.dumps(described)
        with contextlib.suppress(Exception):
            described["fingerprint"] = _hashed(header, described, rest)
            header["__metadata__"]["frostline_delta"] = json.dumps(described)
        return name, _joined(json.dumps(header).encode(), rest)

    def _with_config(self, config):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in self.parts.items():
                archive.writestr(
                    zipfile.ZipInfo(name), self._text(config) if name == "config.json" else data
                )
        return "model.keras", buffer.getvalue()

    def _text(self, data) -> bytes:
        text = json.dumps(data)
        if self.random.random() < 0.1:
            deep = self.random.choice([50, 500, 5000, 200_000])
            inside = self.random.choice(
                ["[" * deep + "]" * deep, '{"config":' * deep + "1" + "}" * deep]
            )
            inside = self.random.choice([inside, "9" * deep, "[],".join([""] * deep)[:-1]])
            places = [found.end() for found in re.finditer(": ", text)]
            place = self.random.choice(places or [len(text)])
            text = text[:place] + inside + ", " + text[place:]
        if self.random.random() < 0.1:
            keys = [found.group() for found in re.finditer(r'"\w+": ', text)]
            if len(keys) > 1:
                one, other = self.random.sample(keys, 2)
                text = text.replace(one, other, 1)
        return text.encode()

    def _changed(self, data, here=0.08):
        """Return plain data with something in it changed."""
        if self.random.random() < here or not isinstance(data, dict | list) or not data:
            if isinstance(data, str) and self.random.random() < 0.3:
                return data[: self.random.randrange(len(data) + 1)] + self.random.choice(
                    ["", "\x1b", "a"]
                )
            if type(data) is int and self.random.random() < 0.5:
                return data + self.random.choice([-1, 1, 2**31, 10, 1_000_000, -(2**31)])
            return self.random.choice(ODD)
        if isinstance(data, list):
            place = self.random.randrange(len(data))
            change = self.random.random()
            if change < 0.1:
                return data[:place] + data[place + 1 :]
            if change < 0.2:
                return data + [data[place]] * self.random.choice([1, 2, 300])
            return [*data[:place], self._changed(data[place], 0.15), *data[place + 1 :]]
        key = self.random.choice(list(data))
        rest = {name: value for name, value in data.items() if name != key}
        return rest if self.random.random() < 0.1 else {**rest, key: self._changed(data[key], 0.15)}

    def _spoiled(self, data: bytes) -> bytes:
        spoiled = bytearray(data)
        for _ in range(self.random.choice([1, 1, 2, 20])):
            place = self.random.randrange(len(spoiled) or 1)
            match self.random.randrange(6):
                case 0 | 1 if spoiled:
                    spoiled[place] ^= 1 << self.random.randrange(8)
                case 2:
                    del spoiled[place:]
                    spoiled = spoiled or bytearray(1)
                case 3:
                    spoiled[place:place] = self.random.randbytes(self.random.choice([1, 8, 512]))
                case 4:
                    del spoiled[place : place + self.random.choice([1, 8, 512])]
                case 5:
                    spoiled[place : place + 8] = struct.pack("<Q", self.random.choice(NUMBERS))
        return bytes(spoiled)


def freezes(config):
    """Yield the freeze of each layer in a config, to be changed in place."""
    if isinstance(config, dict):
        if isinstance(config.get("frostline"), dict):
            yield config["frostline"]
        config = list(config.values())
    for part in config if isinstance(config, list) else ():
        yield from freezes(part)


def _split(data: bytes) -> tuple[bytes, bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length], data[8 + length :]


def _joined(text: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + rest


def _hashed(header, described, rest: bytes) -> str:
    import numpy as np

    from frostline._deltas.format import hash_of
    from frostline._deltas.load import _weight
    from frostline._files.safetensors import _DTYPES
    from frostline._files.sources import dtype_named

    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            kind = dtype_named(_DTYPES[entry["dtype"]])
            tensors[name] = np.frombuffer(rest[first:last], kind).reshape(entry["shape"])
    weights = tuple(_weight(entry, tensors) for entry in described["weights"])
    return hash_of(weights, described["frostline"])


def sparing(child: Any) -> type:
    """Make a class that starts the process that reads HDF5 only for bytes not read before."""
    from frostline import _errors as errors

    known: dict[bytes, Any] = {}

    class Sparing(child):
        def __init__(self, *given) -> None:
            self._given, self._started = given, False

        def listing(self):
            window, mode = self._given[1], self._given[2:]
            data = os.pread(window.file.fileno(), window.length, window.start) + bytes(len(mode))
            mark = hashlib.sha256(data).digest()
            if mark not in known:
                if len(known) > 20:
                    known.popitem()
                try:
                    self._start()
                    known[mark] = self._listed
                except errors.FrostlineError as error:
                    known[mark] = error
            if isinstance(known[mark], Exception):
                raise known[mark]
            return known[mark]

        def read(self, *given):
            self._start()
            return super().read(*given)

        def write(self, *given):
            self._start()
            return super().write(*given)

        def close(self):
            if self._started:
                super().close()

        def _start(self):
            if not self._started:
                self._started = True
                super().__init__(*self._given)
                self._listed = super().listing()

    return Sparing


class TooLong(BaseException):
    """A mutant took too long."""


def commands(good: pathlib.Path, path: pathlib.Path):
    """The functions that the command line runs on a file, which print."""
    from frostline._cli import answers
    from frostline._deltas import apply_to_file, extract_from_file, read
    from frostline._files import open_file
    from frostline._files.check import check
    from frostline._files.compare import compare

    base = next((good / n for n in ("model.keras",) if n.endswith(path.suffix)), None)
    base = base or good / ("model.weights.h5" if path.suffix == ".h5" else "delta.safetensors")

    def inspect(as_json):
        with open_file(path) as opened:
            answers.inspected(opened, as_json=as_json, quiet=False)

    def verify():
        answers.verified(check(path, read), path, as_json=False, quiet=False)

    def diff():
        with open_file(base) as one, open_file(path) as other:
            compared = compare(one, other)
        answers.compared(compared, base, path, as_json=False, quiet=False)

    def info(as_json):
        answers.delta_listed(read(path), path, as_json=as_json, quiet=False)

    def extract():
        with open_file(path) as one, open_file(base) as other:
            delta = extract_from_file(one, other, None, "0", lambda done: None)
        delta.save(path.with_name("out.safetensors"))

    def apply_to():
        out = path.with_name(f"out{''.join(path.suffixes)}")
        apply_to_file(path, [read(good / "delta.safetensors")], out, "error", lambda done: None)

    def apply():
        out = path.with_name("out.keras")
        apply_to_file(good / "model.keras", [read(path)], out, "error", lambda done: None)

    found = [lambda: inspect(False), lambda: inspect(True), verify, diff]
    if path.suffix == ".safetensors":
        return [*found, lambda: info(False), lambda: info(True), apply]
    return [*found, extract, apply_to]


def tried(good: pathlib.Path, path: pathlib.Path) -> tuple[str, str]:
    """Try a file. Return `read`, `refused`, or what is wrong with the outcome, and why."""
    from frostline._errors import FrostlineError, visible

    outcome = "read"
    for command in commands(good, path):
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                command()
        except FrostlineError as error:
            outcome, said = "refused", str(error)
            if "MemoryError" in said or "BrokenProcess" in said:
                return "memory", said
            printed.write(said)
        except TooLong:
            return "time", "".join(traceback.format_exc(limit=-3))
        except BaseException:
            return "raised", traceback.format_exc()
        text = printed.getvalue()
        if any(visible(line) != line for line in text.split("\n")):
            return "printed", ascii(text[:300])
    return outcome, ""


def main(folder: pathlib.Path, first: int, count: int) -> int:
    """Try mutants, and print those with a wrong outcome."""
    sys.argv[0] = "frostline"  # so that no Keras is imported
    import warnings

    from frostline._cli.ahead import Forked
    from frostline._files import hdf5

    warnings.simplefilter("ignore")
    hdf5.Child = sparing(hdf5.Child)  # type: ignore[misc]
    hdf5.start = Forked  # type: ignore[assignment]
    mutants = Mutants(folder)
    work = folder / f"work-{first}"
    work.mkdir(exist_ok=True)
    counts: Counter[str] = Counter()

    def late(number, frame):
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    commands(folder, folder / "model.keras")  # imports all that the commands need
    tried(folder, folder / "model.keras")
    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    bad = 0
    for number in range(first, first + count):
        print(f"at {number}", flush=True)
        kind, data = mutants.make(number)
        name = kind.partition(" ")[2]
        path = work / f"{KEPT}.{name.partition('.')[2]}"
        path.write_bytes(data)
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, resource.RLIM_INFINITY))
        signal.alarm(SECONDS)
        outcome, why = tried(folder, path)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        counts[f"{kind.partition(' ')[0]} {outcome}"] += 1
        if outcome not in ("read", "refused"):
            bad += 1
            (work / f"{number}.{name.partition('.')[2]}").write_bytes(data)
            print(f"BAD {number} {kind}: {outcome}: {why}", flush=True)
    print(json.dumps(counts), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(min(1, main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
