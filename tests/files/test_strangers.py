"""Files from strangers give one kind of error, use little memory, and have names printed as text.

Each test makes its file from a good file, in a few lines.
"""

import base64
import functools
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from h5py import h5p, h5s

import frostline as fl
from files.fuzzing import seeds
from frostline._deltas import read
from frostline._errors import FileError, FrostlineError, visible
from frostline._files import open_file
from frostline._files.check import check
from model_files import descriptions, with_config, with_weights

pytestmark = pytest.mark.once
ESCAPES = "\x1b[2Ja\nb\u202ec\x7f\x9b"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    seeds(folder)
    return folder


def refused(path, match=None):
    """Return the error for a file, which `verify` also reports, without raising it."""
    with pytest.raises(FileError, match=match) as caught, open_file(path):
        pass
    assert str(path) in str(caught.value)
    assert check(path, read).faults
    return str(caught.value)


# Faults of a weight file: objects that h5py can write and Keras does not.
def null(own):
    own["9"] = h5py.Empty("f4")


def compound(own):
    own["9"] = np.zeros(3, [("a", "f4"), ("b", "i8")])


def text_inside(own):
    own.create_dataset("9", (3,), [("a", "f4"), ("s", h5py.string_dtype())])


def huge_chunk(own):
    own.create_dataset("9", (2**40, 2**21), "f4", chunks=(2**29, 1))


def nothing_written(own):
    own.create_dataset("9", (2**28,), "f4")


def nothing_written_in_chunks(own):
    own.create_dataset("9", (2**28,), "f4", chunks=(4,), compression="gzip")


def constant(own):
    own.create_dataset("9", data=np.zeros(2**20, "i4"), chunks=(2**20,), scaleoffset=0)


def many_axes(own):
    space = h5s.create_simple((1,) * 32)
    h5py.h5d.create(own.id, b"8", h5py.h5t.IEEE_F32LE, space)
    plist = h5p.create(h5p.DATASET_CREATE)
    h5py.h5d.create(own.id, b"9", h5py.h5t.IEEE_F32LE, h5s.create_simple((2**60, 2**60)), plist)


def two_names(own):
    own["9"] = own["0"]


def in_itself(own):
    own.file["layers/dense/again"] = own.file["layers"]


def shared(own):
    below = own.file.create_group("first")
    for _ in range(60):  # two paths to each group: 2**60 paths in all
        inside = below.create_group("a")
        below["b"] = inside
        below = inside


def deep(own):
    below = own.file
    for _ in range(300):
        below = below.create_group("g")


def soft(own):
    own["9"] = h5py.SoftLink("/layers/dense/vars/0")


def wide_half(own):
    own["9"] = np.zeros(3, "f8")
    own["9"].attrs["dtype"] = "bfloat16"


FORGED = {
    **{null: "unsupported shape", compound: "dtype", text_inside: "dtype", huge_chunk: "shape"},
    **{nothing_written: "got 0 bytes", nothing_written_in_chunks: "got 0 bytes"},
    **{constant: "filters", many_axes: "shape", two_names: "two names", in_itself: "form a loop"},
    **{shared: "two names", deep: "nested too deeply", soft: "link", wide_half: "dtype"},
}


@pytest.mark.parametrize("change", FORGED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_objects_that_no_weight_file_has(change, suffix, good, tmp_path):
    path = tmp_path / f"bad.{suffix}"
    if suffix == "keras":
        with_weights(good / "model.keras", lambda h: change(h["layers/dense/vars"]), path)
    else:
        path.write_bytes((good / "model.weights.h5").read_bytes())
        with h5py.File(path, "r+") as hdf5:
            change(hdf5["layers/dense/vars"])
    assert FORGED[change] in refused(path)


def test_a_crash_of_the_hdf5_library_is_an_error(good, monkeypatch, tmp_path):
    # The process that reads HDF5 can end by a signal or by its own limits.
    script = tmp_path / "child.py"
    for code, got in {
        "os.kill(os.getpid(), 11)": "a crash of the process that reads HDF5, SIGSEGV",
        "os._exit(3)": "a crash of the process that reads HDF5, status 3",
        "print('nonsense')": "a crash of the process that reads HDF5, status 0",
        "os.kill(os.getpid(), signal.SIGXCPU)": "a timeout while reading them",
    }.items():
        script.write_text(f"import os, signal\n{code}\n")
        popen = subprocess.Popen
        with monkeypatch.context() as patched:
            patched.setattr(
                "frostline._files.hdf5.start",
                functools.partial(
                    popen,
                    [sys.executable, str(script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                ),
            )
            assert got in refused(good / "model.weights.h5")


# Faults of an archive: a header's signature, the offset of a field from it, and a bad value.
FIELDS = {
    "version": (b"PK\x01\x02", 6, "<H", 255, "version 25.5"),
    "encrypted": (b"PK\x01\x02", 8, "<H", 1, "encrypted"),
    "method": (b"PK\x01\x02", 10, "<H", 14, "compressed by method 14"),
    "size": (b"PK\x01\x02", 24, "<I", 2**31, "bytes compressed to"),
    "packed size": (b"PK\x01\x02", 20, "<I", 2**31, "another part"),
    "offset": (b"PK\x01\x02", 42, "<I", 2**31, "another part"),
    "overlap": (b"PK\x01\x02", 42, "<I", 0, "another part|not safe"),
    "directory": (b"PK\x05\x06", 16, "<I", 2**31, "another part|not a complete"),
    "directory size": (b"PK\x05\x06", 12, "<I", 2**31, "not a complete"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_headers_of_an_archive_are_checked(name, good, tmp_path):
    sign, at, kind, value, match = FIELDS[name]
    data = bytearray((good / "model.keras").read_bytes())
    struct.pack_into(kind, data, data.rindex(sign) + at, value)
    (tmp_path / "bad.keras").write_bytes(data)
    refused(tmp_path / "bad.keras", match)


def test_a_part_that_is_given_twice(good, tmp_path):
    with zipfile.ZipFile(good / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        archive.writestr("config.jsoN", b"{}")
    data = (tmp_path / "bad.keras").read_bytes().replace(b"jsoN", b"json")
    (tmp_path / "bad.keras").write_bytes(data)
    refused(tmp_path / "bad.keras", "repeated names")


def edited(good, out, text, method=zipfile.ZIP_DEFLATED):
    """Copy the good archive, with the text of its config changed."""
    with (
        zipfile.ZipFile(good / "model.keras") as archive,
        zipfile.ZipFile(out, "w", method) as other,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            other.writestr(name, text(data.decode()).encode() if name == "config.json" else data)
    return out


CONFIGS = {
    "deep": lambda text: '{"a": ' + "[" * 100_000 + "]" * 100_000 + ", " + text[1:],
    "no end": lambda text: text[:-5],
    "long number": lambda text: '{"a": ' + "9" * 5000 + ", " + text[1:],
    "many lists": lambda text: '{"a": [' + "[]," * 2_000_000 + "0], " + text[1:],
    "long text": lambda text: '{"a": "' + "x" * (60 << 20) + '", ' + text[1:],
    "spaces": lambda text: text + " " * (120 << 20),
    "long paths": lambda text: (
        '{"a": '
        + '{"class_name": "A", "config": {"name": "' * 40
        + ("n" * 400 + '", "x": {"class_name": "A", "config": {"name": "') * 10
        + '"'
        + "}" * 99
        + text[1:]
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_that_no_model_has(name, good, tmp_path):
    message = refused(edited(good, tmp_path / "bad.keras", CONFIGS[name]))
    assert "config.json cannot be read" in message


PLANS = {
    "axis of two billion": {"kind": "axis", "shape": [2 * 10**9], "axis": 0, "trainable": [0, 1]},
    "shape of infinity": {"kind": "whole", "shape": [float("inf"), 2]},
    "negative": {"kind": "whole", "shape": [-6, -5]},
    "no shape": {"kind": "whole"},
    "shape of texts": {"kind": "whole", "shape": ["6", "5"]},
    "shape of truth": {"kind": "whole", "shape": [True, 5]},
    "shape of halves": {"kind": "whole", "shape": [6.0, 5.0]},
    "other rank": {"kind": "whole", "shape": [6, 5, 1]},
    "other axis": {"kind": "axis", "shape": [6, 5], "axis": 2, "trainable": [0, 1]},
    "axis before the first": {"kind": "axis", "shape": [6, 5], "axis": -1, "trainable": [0, 1]},
    "block outside": {"kind": "axis", "shape": [6, 5], "axis": 0, "trainable": [0, 2**40]},
    "half a block": {"kind": "axis", "shape": [6, 5], "axis": 0, "trainable": [0, 1, 2]},
    "no block": {"kind": "axis", "shape": [6, 5], "axis": 0, "trainable": []},
    "infinite block": {"kind": "axis", "shape": [6, 5], "axis": 0, "trainable": [0, 1e400]},
    "kind": {"kind": ["axis"], "shape": [6, 5]},
    "bomb": {
        "kind": "entries",
        "shape": [6, 5],
        "frozen": base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode(),
    },
    "no base64": {"kind": "entries", "shape": [6, 5], "frozen": "\x1b!"},
    "huge mask": {"kind": "entries", "shape": [2**40, 2**40], "frozen": "AAAA"},
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_that_fit_no_weight(name, good, tmp_path):
    def change(config):
        descriptions(config)[0]["plan"] = PLANS[name]

    path = with_config(good / "model.keras", change, tmp_path / "bad.keras")
    refused(path, "does not fit its weights")
    with pytest.raises(FrostlineError):
        keras.saving.load_model(path)


FREEZES = {
    "nothing": None,
    "a list": [],
    "no layer": {"layer": None},
    "no weights": {"weights": None},
    "weights of nothing": {"weights": [None]},
    "version": {"version": [1]},
    "a new version": {"version": 10**30},
    "paths": {"paths": [1]},
    "optimizers": {"optimizers": {"optimizer": []}},
}


@pytest.mark.parametrize("name", FREEZES)
def test_freezes_that_are_none(name, good, tmp_path):
    def change(config):
        layers = [one for one in config["config"]["layers"] if "frostline" in one["config"]]
        own = layers[0]["config"]
        given = FREEZES[name]
        own["frostline"] = {**own["frostline"], **given} if isinstance(given, dict) else given

    path = with_config(good / "model.keras", change, tmp_path / "bad.keras")
    if given_in_full := FREEZES[name] is not None:
        refused(path, "its freeze is malformed")
    assert given_in_full or name == "nothing"
    with pytest.raises(FrostlineError):
        keras.saving.load_model(path)


WEIGHTS = {
    "route": [3],
    "position": -1,
    "path": None,
    "name": 7,
    "index": True,
}


@pytest.mark.parametrize("key", WEIGHTS)
def test_descriptions_of_weights_that_are_none(key, good, tmp_path):
    path = with_config(
        good / "model.keras",
        lambda config: descriptions(config)[0].update({key: WEIGHTS[key]}),
        tmp_path / "bad.keras",
    )
    refused(path, "its freeze is malformed")
    with pytest.raises(FrostlineError):
        keras.saving.load_model(path)


def test_a_weight_that_is_described_twice(good, tmp_path):
    def change(config):
        for one in config["config"]["layers"]:
            if "frostline" in one["config"]:
                one["config"]["frostline"]["weights"] *= 2

    path = with_config(good / "model.keras", change, tmp_path / "bad.keras")
    refused(path, "occurs twice")
    with pytest.raises(FrostlineError, match="occurs twice"):
        keras.saving.load_model(path)


def tensors(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(**given):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **given}}


HEADERS = {
    "infinity": one(shape=[float("inf")]),
    "digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
    "list for dtype": one(dtype=["F32"]),
    "truth": one(shape=[True, 2]),
    "half": one(shape=[2.0]),
    "text": one(shape=["2"]),
    "negative": one(shape=[-2], data_offsets=[8, 0]),
    "rank": one(shape=[1] * 65 + [2]),
    "three offsets": one(data_offsets=[0, 8, 8]),
    "overlap": {**one(), "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    "hole": one(shape=[1], data_offsets=[4, 8]),
    "twice": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' * 1
    + b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    "metadata": {"__metadata__": [1], **one()},
    "deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "many": b'{"a":[' + b"[]," * 2_000_000 + b"0]}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_tensors_are_checked(name, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(tensors(HEADERS[name]))
    refused(tmp_path / "bad.safetensors")


def forged(good, out, change, tensor=lambda name, data: data):
    """Copy the good delta, with its description and the bytes of its tensors changed."""
    data = (good / "delta.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    described = json.loads(header["__metadata__"]["frostline_delta"])
    change(described)
    header["__metadata__"]["frostline_delta"] = json.dumps(described)
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            rest[first:last] = tensor(name, bytes(rest[first:last]))
    out.write_bytes(tensors(header, bytes(rest)))
    return out


def of(kind, **given):
    """Return a change to the first weight of a delta that is held as `kind`."""

    def change(described):
        next(w for w in described["weights"] if w["held"] == kind).update(given)

    return change


DELTAS = {
    "64 bits": of("entries", shape=[6, 2**63]),
    "negative shape": of("axis", shape=[-6, 5]),
    "two billion": of("axis", shape=[2 * 10**9, 5]),
    "axis": of("axis", axis=-1),
    "axis of truth": of("axis", axis=True),
    "dtype": of("axis", dtype="object"),
    "hash": of("axis", others="\x1b" * 32),
    "held": of("axis", held=["axis"]),
    "surrogate": of("none", path="\ud800"),
    "version": lambda described: described.update(version=10**30),
    "weights": lambda described: described.update(weights=3),
    "twice": lambda described: described["weights"].append(described["weights"][0]),
    "infinity": lambda described: described.update(fingerprint=float("inf")),
}


@pytest.mark.parametrize("name", DELTAS)
def test_descriptions_of_deltas_are_checked(name, good, tmp_path):
    path = forged(good, tmp_path / "bad.safetensors", DELTAS[name])
    with pytest.raises(FileError, match=r"bad\.safetensors"):
        fl.load_delta(path)


def test_positions_that_32_bits_cannot_subtract(good, tmp_path):
    def tensor(name, data):
        if not name.startswith("positions/second"):
            return data
        numbers = np.frombuffer(data, np.int32).copy()
        numbers[1:3] = -(2**31), -1000
        return numbers.tobytes()

    path = forged(good, tmp_path / "bad.safetensors", lambda described: None, tensor)
    with pytest.raises(FileError, match="positions of 'second/kernel' outside"):
        fl.load_delta(path)


def test_names_are_printed_as_text(good, tmp_path, capsys):
    from frostline._cli import answers

    with h5py.File(tmp_path / "names.weights.h5", "w") as hdf5:
        own = hdf5.create_group("layer/vars")
        own.attrs["name"] = ESCAPES
        own["0"] = np.zeros(3, "f4")
        hdf5.create_group(ESCAPES + "/vars")["1"] = np.zeros(3, "f4")
        surrogate = h5py.h5g.create(hdf5.id, b"\xff\xfe")
        h5py.Group(surrogate).create_group("vars")["2"] = np.zeros(2, "f4")
    for as_json in (False, True):
        with open_file(tmp_path / "names.weights.h5") as opened:
            assert len(opened.weights) == 3
            answers.inspected(opened, as_json=as_json, quiet=False)
        printed = capsys.readouterr().out
        printed.encode("ascii" if as_json else "utf-8")
        assert all(visible(line) == line for line in printed.split("\n"))
    assert str(FileError(ESCAPES)) == r"\x1b[2Ja\x0ab\u202ec\x7f\x9b"


RUN = """
import resource, sys
sys.argv = ["frostline", *sys.argv[1:]]
sys.orig_argv = sys.argv
from frostline.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
# What `ru_maxrss` says of this process counts the one that started it too.
with open("/proc/self/status") as status:
    own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print("status", code, "peak", peak, file=sys.stderr)
"""


def command(*words):
    """Run the command in a process. Return its status, peak memory in bytes, and output."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        timeout=60,
    )
    found = re.search(r"status (\S+) peak (\d+)", done.stderr)
    assert found, done.stderr
    assert "Traceback" not in done.stderr
    return int(found[1]), int(found[2]) << 10, done.stdout + done.stderr


def bombs(good, folder):
    """Files that claim to hold far more than they do, each with its command."""

    def changed(change):
        def write(out):
            out.write_bytes((good / "model.weights.h5").read_bytes())
            with h5py.File(out, "r+") as hdf5:
                change(hdf5["layers/dense/vars"])
            return out

        return write

    def plan(name):
        def change(config):
            descriptions(config)[0]["plan"] = PLANS[name]

        return lambda out: with_config(good / "model.keras", change, out)

    def packed(own):
        own.create_dataset("9", data=np.zeros(2**24, "f4"), chunks=(2**24,), compression="gzip")

    def positions(described):
        weight = next(w for w in described["weights"] if w["held"] == "axis")
        weight["shape"][weight["axis"]] = 2 * 10**9

    yield "inspect", plan("axis of two billion")(folder / "axis.keras"), 2
    yield "verify", plan("bomb")(folder / "mask.keras"), 1
    yield "inspect", changed(huge_chunk)(folder / "chunk.weights.h5"), 2
    yield "verify", changed(nothing_written)(folder / "nothing.weights.h5"), 1
    yield "verify", changed(packed)(folder / "packed.weights.h5"), 0
    yield "inspect", edited(good, folder / "spaces.keras", CONFIGS["spaces"]), 2
    yield "inspect", edited(good, folder / "text.keras", CONFIGS["long text"], 0), 2
    yield "inspect", edited(good, folder / "lists.keras", CONFIGS["many lists"]), 2
    lists = folder / "lists.safetensors"
    lists.write_bytes(tensors(HEADERS["many"]))
    yield "inspect", lists, 2
    yield "info", forged(good, folder / "long.safetensors", positions), 2


def test_memory_is_bounded_by_what_a_file_holds(good, tmp_path):
    usual = max(
        command("inspect", good / "model.keras")[1], command("verify", good / "model.keras")[1]
    )
    assert usual < 256 << 20
    for word, path, wanted in bombs(good, tmp_path):
        words = ["delta", "info"] if word == "info" else [word]
        status, peak, printed = command(*words, path)
        assert status == wanted, printed
        largest = 4 << 24 if path.name == "packed.weights.h5" else 0
        print(path.name, f"{(peak - usual) >> 20} MiB of {usual >> 20}")
        assert peak - usual < (64 << 20) + 3 * largest, f"{path.name}: {(peak - usual) >> 20} MiB"


def test_a_config_of_a_larger_model_than_its_weights(good, tmp_path):
    def change(config):
        for layer in config["config"]["layers"]:
            if "units" in layer["config"]:
                layer["config"]["units"] = 2 * 10**9

    path = with_config(good / "model.keras", change, tmp_path / "bad.keras")
    status, _, printed = command(
        "freeze", path, "--weights", "last/bias", "-o", tmp_path / "out.keras"
    )
    assert status == 2
    assert "its config describes a larger model than its weights" in printed
    assert not (tmp_path / "out.keras").exists()


def test_whole_files_in_chunks_are_changed_by_deltas(good, tmp_path):
    """Weights that HDF5 has compressed are written by the process that reads them."""
    with h5py.File(good / "model.weights.h5") as hdf5, io.BytesIO() as buffer:
        with h5py.File(buffer, "w") as packed:

            def copy(name, member):
                if isinstance(member, h5py.Dataset):
                    options = {"compression": "gzip"} if member.ndim else {}
                    packed.create_dataset(name, data=member[...], **options)
                else:
                    packed.create_group(name).attrs.update(member.attrs)

            hdf5.visititems(copy)
        (tmp_path / "packed.weights.h5").write_bytes(buffer.getvalue())
    from frostline._deltas import apply_to_file

    delta = fl.load_delta(good / "delta.safetensors")
    out = tmp_path / "out.weights.h5"
    apply_to_file(tmp_path / "packed.weights.h5", [delta], out, "error", lambda done: None)
    assert not check(out, read).faults
    with h5py.File(out) as one, h5py.File(good / "model.weights.h5") as other:
        for name in ("layers/dense/vars/0", "layers/dense_1/vars/0"):
            np.testing.assert_array_equal(one[name], other[name])
            assert one[name].compression == "gzip"
