"""Worker processes: every job comes back once, whatever becomes of the worker that has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sipvideo.errors import SipVideoError
from sipvideo.jobs import InProcess, Monitor, WorkerPool
from sipvideo.jobs.pool import AHEAD
from sipvideo.jobs.processes import shares
from sipvideo.jobs.worker import Advanced, Again, Settled, work
from sipvideo.summary import MARK, Summary
from tests.jobs.odd import (
    DEADLY,
    SLOW,
    STUCK,
    WRONG,
    MortalSpec,
    Noted,
    OddSpec,
    clip,
    endless,
    job,
)
from tests.waiting import until

FILES = ("results.jsonl", "objects.csv")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(OddSpec(), 2) as made:
        yield made


def test_workers_give_the_same_results_as_one_process(pool: WorkerPool, tmp_path: Path) -> None:
    paths = [clip(tmp_path / f"{name}.mp4", 128, 5 + k) for k, name in enumerate("abcde")]
    here = {
        o.job.input: o
        for o in InProcess(OddSpec()).run([job(p, tmp_path / "here") for p in paths], Monitor())
    }
    there = {
        o.job.input: o for o in pool.run([job(p, tmp_path / "there") for p in paths], Monitor())
    }
    assert here.keys() == there.keys() == {str(path) for path in paths}
    assert {outcome.worker for outcome in there.values()} <= {"1", "2"}
    for path in paths:
        one, other = here[str(path)], there[str(path)]
        assert one.summary.state == other.summary.state == "complete"
        assert other.summary == Summary.read(tmp_path / "there" / path.stem)
        for name in FILES:
            saved = [tmp_path / where / path.stem / name for where in ("here", "there")]
            assert saved[0].read_bytes() == saved[1].read_bytes()


def test_a_poisonous_video_is_set_aside_after_three_tries_and_hurts_no_other(
    pool: WorkerPool, tmp_path: Path
) -> None:
    poison = clip(tmp_path / "poison.mp4", DEADLY)
    paths = [poison, *(clip(tmp_path / f"{name}.mp4") for name in "abc"), tmp_path / "none.mp4"]
    noted = Noted()
    found = {Path(o.job.input).stem: o for o in pool.run([job(p, tmp_path) for p in paths], noted)}
    states = {name: (o.summary.state, o.tries) for name, o in found.items()}
    good = dict.fromkeys("abc", ("complete", 1))
    assert states == {**good, "poison": ("failed", 3), "none": ("failed", 1)}
    assert (
        "set aside: 3 workers died of it, the last one by SIGKILL"
        in found["poison"].summary.problem
    )
    assert sum("its worker died by SIGKILL" in line for line in noted.lines) == 2
    assert noted.begun.count("poison 3") == 1


def test_a_video_whose_worker_dies_goes_on_from_its_checkpoint_in_another(tmp_path: Path) -> None:
    path = clip(tmp_path / "long.mp4", frames=100)
    long = replace(job(path, tmp_path / "there"), checkpoint=0.01)
    here = job(path, tmp_path / "here")
    list(InProcess(OddSpec()).run([here], Monitor()))
    noted = Noted()
    with WorkerPool(MortalSpec(once=str(tmp_path / "died")), 1) as mortal:
        (outcome,) = mortal.run([long], noted)
    assert (outcome.summary.state, outcome.tries, outcome.summary.resumed) == ("complete", 2, 1)
    assert any("was cut off, goes on after frame" in line for line in noted.lines)
    for name in FILES:
        saved = [tmp_path / where / path.stem / name for where in ("here", "there")]
        assert saved[0].read_bytes() == saved[1].read_bytes()


def test_a_defect_is_its_inputs_failure_in_one_line(pool: WorkerPool, tmp_path: Path) -> None:
    noted = Noted()
    [outcome] = pool.run([job(clip(tmp_path / "wrong.mp4", WRONG), tmp_path)], noted)
    line = f"{tmp_path / 'wrong.mp4'}: ZeroDivisionError: a defect (--debug shows where)"
    assert outcome.summary.problem == line
    assert noted.lines == [line]


def test_a_job_over_its_time_has_failed_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipvideo.jobs.pool.GRACE", 300.0)
    paths = [
        clip(tmp_path / "slow.mp4", SLOW, 200),
        clip(tmp_path / "stuck.mp4", STUCK),
        clip(tmp_path / "good.mp4"),
    ]
    with WorkerPool(OddSpec(), 1, timeout=1.0) as pool:
        outcomes = []
        for outcome in pool.run([job(p, tmp_path) for p in paths], Monitor()):
            outcomes.append(outcome)
            monkeypatch.setattr("sipvideo.jobs.pool.GRACE", 0.2)
    slow, stuck, good = outcomes
    assert (slow.summary.state, stuck.summary.state, good.summary.state) == (
        "failed",
        "failed",
        "complete",
    )
    assert slow.summary.problem == f"{paths[0]}: took longer than 1 s (--job-timeout)"
    assert 0 < slow.summary.frames < 200
    saved = (tmp_path / "slow" / "results.jsonl").read_text().splitlines()
    assert len(saved) == slow.summary.frames
    assert (stuck.summary.problem, stuck.tries) == (
        f"{paths[1]}: took longer than 1 s (--job-timeout)",
        1,
    )


def test_jobs_are_taken_as_there_is_room_and_a_stop_keeps_what_is_there(tmp_path: Path) -> None:
    noted = Noted(stop_at="slow")
    slow = clip(tmp_path / "slow.mp4", SLOW, 400)
    taken: list[int] = []
    with WorkerPool(OddSpec(), 2) as pool:
        outcomes = list(pool.run(endless(slow, tmp_path, taken), noted))
    assert {outcome.summary.state for outcome in outcomes} == {"interrupted"}
    assert len(taken) <= 2 * 2 + AHEAD + 2
    # The other worker may not have begun yet.
    begun = [outcome for outcome in outcomes if outcome.summary.frames]
    assert begun
    for outcome in begun:
        assert outcome.job.folder is not None
        lines = (outcome.job.folder / "results.jsonl").read_text().splitlines()
        assert len(lines) == outcome.summary.frames


def test_a_job_that_does_not_stop_is_ended_with_its_worker(tmp_path: Path) -> None:
    noted = Noted()
    stuck = clip(tmp_path / "stuck.mp4", STUCK)
    with WorkerPool(OddSpec(), 1) as pool:
        pool.load()
        noted.stop_at = ""
        running = pool.run([job(stuck, tmp_path)], noted)
        noted.advance = lambda *_: setattr(noted, "stop", True)  # type: ignore[method-assign,assignment]
        assert [outcome.summary.state for outcome in running] == ["interrupted"]


def test_what_is_wrong_with_the_model_is_told_before_any_job() -> None:
    with (
        WorkerPool(OddSpec(problem="no such model"), 2) as pool,
        pytest.raises(SipVideoError, match="no such model"),
    ):
        pool.load()


def test_a_worker_that_cannot_load_the_model_is_done_without(tmp_path: Path) -> None:
    told: list[str] = []
    spec = OddSpec(problem="no memory", once=str(tmp_path / "met"))
    with WorkerPool(spec, 2, tell=told.append) as pool:
        jobs = [job(clip(tmp_path / f"{name}.mp4"), tmp_path) for name in "ab"]
        states = [outcome.summary.state for outcome in pool.run(jobs, Monitor())]
        until(lambda: bool(list(pool.run(jobs, Monitor())) and told))
    assert states == ["complete"] * 2
    assert told == ["goes on without a worker: no memory"]


class Line:
    """A worker's line, with all said to it beforehand."""

    def __init__(self, *messages: object) -> None:
        self._messages = [*messages, None]
        self.said: list[object] = []

    def send(self, message: object, /) -> None:
        self.said.append(message)

    def recv(self) -> object:
        return self._messages.pop(0)


def test_a_job_whose_worker_died_after_all_was_saved_is_not_done_twice(tmp_path: Path) -> None:
    one = job(clip(tmp_path / "a.mp4"), tmp_path)
    line = Line(Again(one), one, Again(one))
    work(line, OddSpec(), None)
    settled = [k for k, message in enumerate(line.said) if isinstance(message, Settled)]
    summaries = [m.summary for m in line.said if isinstance(m, Settled)]
    assert [summary.state for summary in summaries] == ["complete"] * 3
    assert summaries[1] == summaries[2]
    steps = [k for k, message in enumerate(line.said) if isinstance(message, Advanced)]
    # Whoever is told to begin again does the job that was not begun, and not the one that was done.
    done = [any(a < k < b for k in steps) for a, b in pairwise([-1, *settled])]
    assert done == [True, True, False]


def test_an_error_of_the_list_comes_after_the_jobs_before_it(
    pool: WorkerPool, tmp_path: Path
) -> None:
    def jobs() -> Iterator[object]:
        yield job(clip(tmp_path / "a.mp4"), tmp_path)
        raise SipVideoError("line 2 is wrong")

    running = pool.run(jobs(), Monitor())  # type: ignore[arg-type]
    assert next(running).summary.state == "complete"
    with pytest.raises(SipVideoError, match="line 2 is wrong"):
        next(running)


def test_workers_end_with_a_driver_that_is_killed_and_their_folders_can_be_used_again(
    tmp_path: Path,
) -> None:
    slow = clip(tmp_path / "slow.mp4", SLOW, 2000)
    driver = subprocess.Popen([sys.executable, "-m", "tests.jobs.driver", slow, tmp_path / "out"])
    until(lambda: (tmp_path / "out" / "slow" / MARK).exists())
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    until(lambda: not (tmp_path / "out" / "slow" / MARK).exists())
    summary = Summary.read(tmp_path / "out" / "slow")
    assert summary is not None
    assert summary.state == "interrupted"


def test_cores_are_shared_out_so_that_each_worker_has_at_least_one() -> None:
    cores = os.sched_getaffinity(0)
    for workers in (1, 2, 3, 7):
        given = [share.cores for share in shares(workers)]
        assert all(given)
        assert set().union(*map(set, given)) <= cores
        if workers <= len(cores):
            assert sorted(sum(given, ())) == sorted(cores)


def test_workers_take_turns_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert [share.gpu for share in shares(3)] == ["0", "3", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [share.gpu for share in shares(2)] == [None, None]
