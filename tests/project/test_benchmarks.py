"""The tables and figures of `make bench`, and what leaks with other ways to freeze."""

import sys
from pathlib import Path

import pytest
from benchmarks import deltas, diff, diff_files
from benchmarks.exactness import TRAININGS, measured, table
from benchmarks.report import FLOOR, FULL, OURS, Measured, figure, markdown

from frostline._files import open_file
from frostline._files.compare import compare

pytestmark = pytest.mark.once

SECONDS = {FULL: 0.010, FLOOR: 0.005, OURS: 0.006}
RESULTS = {
    "JAX": [
        Measured(f"{kind}, {share:.0%}, batch {batch}", "Dense layers", share, batch, SECONDS, {})
        for kind in ("columns", "random rows")
        for share in (0.1, 0.5)
        for batch in (16, 256)
    ]
}


def test_a_table_has_shares_of_full_training_and_of_the_floor():
    lines = markdown(RESULTS).splitlines()
    assert lines[:3] == ["## Dense layers", "", "### JAX"]
    assert "| columns, 10%, batch 16 | 10.0 ms | 0.50 | 0.60 (1.20) |" in lines


def test_memory_stands_beside_the_time_where_it_was_taken():
    row = Measured("entries", "Entries", None, None, SECONDS, {FULL: 164.2, OURS: 55.4})
    assert "| entries | 10.0 ms, 164 MiB | 0.50 | 0.60 (1.20), 55 MiB |" in markdown({"JAX": [row]})


def test_the_figure_is_drawn(tmp_path):
    figure(RESULTS, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_what_leaks_from_what_people_do_today():
    by_name = {training.name: training for training in TRAININGS}
    names = ["AdamW, weight decay", "Adam, average over the weights, frozen half-way"]
    found = {name: measured(by_name[name]) for name in names}
    decay, average = (found[name] for name in names)
    assert decay["gradient mask"][0] > 0
    assert average["constraint"][0] > 0
    assert all(row["frostline"] == (0, 0.0) for row in found.values())
    assert table(found)[2].endswith("| 0 |")


def test_a_comparison_beside_reading_as_a_row():
    taken = {"reading": (2.0, 2.0, 0.0), "two threads": (1.0, 2.0, 0.0), "diff": (3.0, 5.0, 64.0)}
    lines = diff.table([diff.row("equal", taken)])
    assert lines[-1] == "| equal | 2.00 s | 1.00 s | 3.00 s | 1.50 | 2.50 | 64 MiB |"
    assert {line.count("|") for line in lines} == {8}


@pytest.mark.parametrize(
    ("kind", "case", "frozen"),
    [("safetensors", "equal", 0), ("weights.h5", "changed", 0), ("keras", "entries", 4096)],
)
def test_files_to_compare_differ_where_nothing_is_frozen(
    kind, case, frozen, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(diff_files, "ROWS", 2)
    arguments = ["diff_files", str(tmp_path), kind, case, "0", "float32"]
    monkeypatch.setattr(sys, "argv", arguments)
    diff_files.main()
    before, after = map(Path, capsys.readouterr().out.split())
    with open_file(before) as one, open_file(after) as other:
        found = compare(one, other)
    assert found.total("frozen_changed") == 0
    assert found.total("frozen") == pytest.approx(frozen, rel=0.1)
    assert found.total("changed") == (0 if case == "equal" else 8192 - found.total("frozen"))


@pytest.mark.parametrize("kind", deltas.KINDS)
def test_every_way_to_another_task_ends_with_the_same_weights(kind, tmp_path):
    found = deltas.measured(kind, tmp_path, ((300, 20), (200, 10)))
    lines = deltas.table({"JAX": {kind: found}})
    assert lines[-1].startswith(f"| JAX, {kind} | ")
    assert {line.count("|") for line in lines} == {7}
