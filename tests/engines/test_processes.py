"""The helper that starts processes for the engine tests never hangs or leaves one running."""

import pytest

from processes import run_together, started

pytestmark = pytest.mark.once


def test_each_process_prints_its_rank(tmp_path):
    printed = run_together("ranks", 2, folder=tmp_path)
    assert printed == ["rank 0 of 2\n", "rank 1 of 2\n"]


def test_when_one_fails_the_others_are_ended(tmp_path):
    with (
        pytest.raises(AssertionError, match="process 1, status 3"),
        started("ranks", 2, "fail", 1, folder=tmp_path) as processes,
    ):
        processes.finish()
    assert all(one.poll() is not None for one in processes.processes)


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    with started("ranks", 1, "fail", 7, folder=tmp_path) as processes:
        processes.wait_for(0, "rank 0")
        processes.processes[0].stdin.close()
        assert processes.processes[0].wait(30) == 9
