"""A file is the old one or the whole new one, and leftovers of a killed process are removed."""

import contextlib
import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import _writing
from frostline._callbacks.backup import Backup
from frostline._writing import check_target, hidden, replacing
from helpers import ROOT, invoke

pytestmark = pytest.mark.once

SOURCE = str(Path(fl.__file__).parent)


@contextlib.contextmanager
def writer(target, *pause):
    """Start a process that writes whole files to a path until it is killed."""
    command = [sys.executable, str(ROOT / "tests" / "writer.py"), SOURCE, str(target), *pause]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        process: Any = started
        try:
            yield process
        finally:
            process.kill()


def whole(path):
    """Whether a file was written to the end."""
    data = path.read_bytes()
    return hashlib.sha256(data[32:]).digest() == data[:32]


def write(path, text="new"):
    with replacing(path) as unfinished:
        unfinished.write_text(text)


def names(folder):
    return sorted(os.listdir(folder))


# Processes that are killed


def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path):
    target, rng, left, seen = tmp_path / "model.keras", random.Random(0), 0, set()
    for _ in range(30):
        with writer(target) as process:
            process.stdout.readline()
            time.sleep(rng.random() / 50)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert whole(target)
        seen.add(target.read_bytes()[:32])
        others = [name for name in names(tmp_path) if name != target.name]
        # Each process removes what the one before it left.
        assert len(others) <= 1
        assert all(_writing._HIDDEN.fullmatch(name) for name in others)
        left += len(others)
    assert len(seen) == 30
    assert left >= 5, "too few were killed while they wrote"
    write(tmp_path / "other.html")
    assert names(tmp_path) == ["model.keras", "other.html"]


def test_two_processes_and_this_one_write_one_file(tmp_path):
    target = tmp_path / "model.keras"
    with writer(target) as one, writer(target) as other:
        for process in (one, other):
            process.stdout.readline()
        for _ in range(50):
            assert whole(target)
            write(tmp_path / "beside.html")
        assert one.poll() is None
        assert other.poll() is None
    write(tmp_path / "beside.html")
    assert names(tmp_path) == ["beside.html", "model.keras"]


def test_the_file_of_a_process_that_still_writes_is_left_alone(tmp_path):
    target = tmp_path / "model.keras"
    with writer(target, "pause") as process:
        assert process.stdout.readline() == b"paused\n"
        for old in tmp_path.iterdir():
            os.utime(old, (0, 0))
        write(tmp_path / "beside.html")
        assert not target.exists()
        process.stdin.close()
        assert process.wait() == 0
    assert whole(target)
    assert names(tmp_path) == ["beside.html", "model.keras"]


def test_threads_of_one_process_leave_the_files_of_each_other_alone(tmp_path):
    def writing(number):
        for _ in range(20):
            write(tmp_path / f"{number}.html")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writing, range(4)))
    assert names(tmp_path) == [f"{number}.html" for number in range(4)]


HERE, AWAY, DEAD = _writing._machine(), "0" * 8, 4_190_000


@pytest.mark.parametrize(
    ("name", "age", "goes"),
    [
        (f".frostline-{HERE}-{DEAD}-00000000.keras", 0, True),
        (f".frostline-{HERE}-{os.getpid()}-00000000.keras", 0, True),
        (f".frostline-{HERE}-{os.getppid()}-00000000.keras", 100_000, False),
        (f".frostline-{AWAY}-{DEAD}-00000000.keras", 1000, False),
        (f".frostline-{AWAY}-{DEAD}-00000000.keras", 100_000, True),
        (f".frostline-{AWAY}-{DEAD}-00000000.keras", -1000, False),
        (f".frostline-{HERE}-{DEAD}-00000000", 0, True),
        (f"frostline-{HERE}-{DEAD}-00000000.keras", 100_000, False),
        (f".frostline-{HERE}-0-00000000.keras", 0, False),
        (".frostline-notes.txt", 100_000, False),
        (".model-abcdefgh.keras", 100_000, False),
    ],
    ids=[
        "of a dead process",
        "of an earlier process of this number",
        "of a living process",
        "of another machine",
        "of another machine, old",
        "of another machine, its clock ahead",
        "without a suffix",
        "not hidden",
        "of no process",
        "of the user",
        "of another program",
    ],
)
def test_what_is_swept(tmp_path, name, age, goes):
    left = tmp_path / name
    left.write_text("half")
    os.utime(left, (time.time() - age,) * 2)
    write(tmp_path / "new.html")
    assert names(tmp_path) == sorted(["new.html"] + [name] * (not goes))


def test_folders_and_links_of_such_a_name_are_not_swept(tmp_path):
    names_ = [f".frostline-{HERE}-{DEAD}-0000000{number}" for number in range(2)]
    (tmp_path / names_[0]).mkdir()
    (tmp_path / names_[1]).symlink_to(tmp_path / "kept")
    write(tmp_path / "kept")
    assert names(tmp_path) == [*names_, "kept"]


# Targets that cannot be written


@contextlib.contextmanager
def largest_file(size):
    """Make the system stop files from growing beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a partly frozen model in each kind of file, and a delta of it."""
    folder = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="d")], name="m")
    fl.freeze(model, "d/kernel", fl.at[:32])
    model.save(folder / "base.keras")
    model.save_weights(folder / "base.weights.h5")
    model.layers[0].kernel.assign(
        np.where(fl.frozen_mask(model.layers[0].kernel), model.layers[0].kernel, 1.0)
    )
    fl.extract_delta(model).save(folder / "tuned.safetensors")
    return folder


def command(*arguments):
    def run(files, out):
        paths = [files / one if (files / one).is_file() else one for one in arguments]
        result = invoke(*paths, "-o", out, "--force")
        if result.exit_code:
            assert result.exit_code == 2
            raise fl.FileError(" ".join(result.output.split()))

    return run


def report(files, out):
    fl.report(keras.saving.load_model(files / "base.keras"), path=out)


WAYS = {
    "freeze": ("a.keras", command("freeze", "base.keras", "--weights", "*")),
    "unfreeze": ("a.keras", command("unfreeze", "base.keras")),
    "extract": ("a.safetensors", command("delta", "extract", "base.keras")),
    "apply": ("a.keras", command("delta", "apply", "base.keras", "tuned.safetensors")),
    "apply to weights": (
        "a.weights.h5",
        command("delta", "apply", "base.weights.h5", "tuned.safetensors"),
    ),
    "save": (
        "a.safetensors",
        lambda files, out: fl.load_delta(files / "tuned.safetensors").save(out),
    ),
    "report": ("a.html", report),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_leaves_the_old_file(way, files, tmp_path):
    name, run = WAYS[way]
    out = tmp_path / name
    out.write_bytes(b"old")
    with largest_file(2000), pytest.raises((fl.FileError, fl.ReportError)) as raised:
        run(files, out)
    said = " ".join(str(raised.value).split())
    assert name in said
    assert "cannot be written; got" in said
    assert out.read_bytes() == b"old"
    assert names(tmp_path) == [name]
    run(files, out)
    assert out.read_bytes() != b"old"
    assert names(tmp_path) == [name]


def test_a_note_beside_a_backup_is_written_whole(tmp_path):
    backup = Backup(keras.callbacks.BackupAndRestore(tmp_path))
    backup.note(0, [])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with largest_file(1), pytest.raises(fl.FileError, match="cannot be written"):
        backup.note(1, [])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_as_target_is_refused(way, files, tmp_path):
    name, run = WAYS[way]
    (tmp_path / name).mkdir()
    with pytest.raises((fl.FileError, fl.ReportError), match="not a file; got a folder"):
        run(files, tmp_path / name)
    assert names(tmp_path / name) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_is_read_only_is_refused_first(way, files, tmp_path, monkeypatch):
    name, run = WAYS[way]
    # Root may write to any folder except on a read-only disk, so `os.access` stands in for one.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    with pytest.raises((fl.FileError, fl.ReportError)) as raised:
        run(files, tmp_path / name)
    assert "its folder is read-only; got folder=" in " ".join(str(raised.value).split())
    assert names(tmp_path) == []


def test_a_disk_that_turns_read_only_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(fl.FileError, match=r"a\.html: cannot be written; got Read-only file"):
        write(tmp_path / "a.html")
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_stays_one_and_leads_to_the_new_file(tmp_path, there):
    (tmp_path / "far").mkdir()
    link, far = tmp_path / "link.html", tmp_path / "far" / "page.html"
    link.symlink_to(far)
    if there:
        far.write_text("old")
    check_target(link)
    write(link)
    assert link.is_symlink()
    assert far.read_text() == "new"
    assert names(tmp_path / "far") == ["page.html"]


@pytest.mark.parametrize("to", ["no/page.html", "link.html"], ids=["no folder", "itself"])
def test_a_link_that_leads_nowhere_is_refused_and_stays(tmp_path, to):
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / to)
    with pytest.raises(fl.FileError, match=r"link\.html: cannot be written; got .*a link to"):
        write(link)
    assert os.readlink(link) == str(tmp_path / to)
    assert names(tmp_path) == ["link.html"]


def test_a_device_or_a_pipe_is_refused_and_stays(tmp_path):
    pipe = tmp_path / "pipe.html"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        for refused in (check_target, write):
            with pytest.raises(fl.FileError, match="not an ordinary file"):
                refused(path)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ("freeze", "base.keras", "--weights", "*", "-o", "base.keras"),
        ("unfreeze", "base.keras", "-o", "base.keras"),
        ("delta", "apply", "base.keras", "tuned.safetensors", "-o", "base.keras"),
    ],
    ids=["freeze", "unfreeze", "apply"],
)
def test_the_file_that_is_read_is_replaced_with_force_alone(files, tmp_path, arguments):
    for one in files.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    paths = [tmp_path / one if "." in one else one for one in arguments]
    before = (tmp_path / "base.keras").read_bytes()
    result = invoke(*paths)
    assert result.exit_code == 2
    assert "base.keras: this file exists; got no --force" in " ".join(result.output.split())
    assert (tmp_path / "base.keras").read_bytes() == before
    assert invoke(*paths, "--force").exit_code == 0
    assert (tmp_path / "base.keras").read_bytes() != before
    assert names(tmp_path) == names(files)


@pytest.mark.parametrize("linked", [False, True], ids=["the same", "by a link"])
def test_a_delta_never_replaces_what_it_was_taken_out_of(tmp_path, linked):
    path = tmp_path / "tuned.safetensors"
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, "float32")}, path)
    before, out = path.read_bytes(), path
    if linked:
        out = tmp_path / "out.safetensors"
        out.symlink_to(path)
    result = invoke("delta", "extract", path, "-o", out, "--force")
    assert result.exit_code == 2
    assert "the output would replace an input file" in " ".join(result.output.split())
    assert path.read_bytes() == before


def test_a_new_file_is_as_open_as_any_and_an_old_one_stays_as_it_was(tmp_path):
    (tmp_path / "plain").write_text("")
    write(tmp_path / "new.html")
    assert (tmp_path / "new.html").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new.html").chmod(0o600)
    with replacing(tmp_path / "new.html") as unfinished:
        # Nobody else can read it while it is being written.
        assert unfinished.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new.html").stat().st_mode & 0o777 == 0o600


def test_a_hidden_file_goes_with_its_block(tmp_path):
    with hidden(tmp_path, ".h5") as path:
        assert names(tmp_path) == [path.name]
        assert _writing._HIDDEN.fullmatch(path.name)
    assert names(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), hidden(tmp_path, ".h5"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    assert not _writing._ours
