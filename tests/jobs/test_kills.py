"""Processes killed at random lose nothing: a small version of what ``python -m tests.jobs.kills`` does at length."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.kills import compare, disturbed, prepare, undisturbed


def test_results_are_those_of_an_undisturbed_run_whatever_is_killed(tmp_path: Path) -> None:
    prepare(tmp_path, clips=5, frames=8)
    undisturbed(tmp_path, real=False)
    done = disturbed(tmp_path, kills=3, seed=3, real=False)
    compare(tmp_path, done)
    assert done.wrong == [], (tmp_path / "log").read_text()
