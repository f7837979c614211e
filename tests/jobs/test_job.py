"""Jobs: one input from opening to summary, for whoever asks; what goes wrong ends in the summary."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from sipvideo.errors import SinkError, SipVideoError
from sipvideo.jobs import Job, Watch, completed, run_job
from sipvideo.recovery import recover
from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import Source, VideoFile
from sipvideo.structures import Frame, FrameResult
from sipvideo.summary import RunMark, Summary
from tests.apps.scripted import clip, segmenter, shots


class Recorded(Watch):
    """Notes down what it is told, and does something at a frame."""

    def __init__(self, at: int = -1, then: Callable[[], object] = lambda: None) -> None:
        self.at, self.then = at, then
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.frames = 0
        self.stop = False

    @property
    def stopped(self) -> bool:
        return self.stop

    def advance(self, summary: Summary, result: FrameResult) -> None:
        self.frames = summary.frames
        if result.frame.index == self.at:
            self.then()

    def complain(self, error: SipVideoError) -> None:
        self.lines.append(str(error))

    def note(self, line: str) -> None:
        self.notes.append(line)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("job") / "street.mp4", 0.8)


def job_of(path: Path, folder: Path) -> Job:
    return Job(str(path), folder / "out", ("lines", "video"), {"weights": "x"})


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_job_gives_results_and_says_what_they_are(
    street: Path, tmp_path: Path, ahead: int
) -> None:
    job = replace(job_of(street, tmp_path), ahead=ahead)
    assert pickle.loads(pickle.dumps(job)) == job
    summary = run_job(job, segmenter())
    assert (summary.state, summary.frames, summary.objects, summary.identities) == (
        "complete",
        20,
        40,
        2,
    )
    assert summary.duration == pytest.approx(0.76)
    assert summary.files.keys() == {"results.jsonl", "video.mp4"}
    assert completed(job) == summary == Summary.read(tmp_path / "out")
    assert completed(replace(job, settings={"weights": "y"})) is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*summary.files, "summary.json"}


def test_frames_so_large_that_waiting_ones_would_fill_the_memory_are_done_one_after_the_other(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    class Noting(Watch):
        def advance(self, summary: Summary, result: FrameResult) -> None:
            threads.add(threading.current_thread().name)

    job = replace(job_of(street, tmp_path / "a"), ahead=3)
    run_job(job, segmenter(), Noting())
    monkeypatch.setattr("sipvideo.jobs.run.LARGE", 100)
    summary = run_job(replace(job, folder=tmp_path / "b"), segmenter(), Noting())
    assert threads == {"behind", "MainThread"}
    assert (summary.state, summary.frames) == ("complete", 20)


def test_frames_done_one_after_the_other_are_forgotten_before_the_next_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipvideo.jobs.run.LARGE", -1)
    made: list[weakref.ref[Frame]] = []
    left: list[int] = []

    class Walk(Source):
        def _frames(self) -> Generator[Frame, None, None]:
            for shot in shots(0.4):
                left.append(sum(frame() is not None for frame in made))
                frame = replace(shot.frame, image=shot.frame.image.copy())
                made.append(weakref.ref(frame))
                yield frame
                del frame, shot

    job = Job("walk", tmp_path / "out", ("lines", "video", "png"))
    summary = run_job(job, segmenter(), opener=lambda job: Walk("walk"))
    assert (summary.state, summary.frames) == ("complete", 10)
    assert left == [0] * 10


def test_whoever_watches_may_stop_it_and_what_is_there_is_whole(
    street: Path, tmp_path: Path
) -> None:
    watch = Recorded(5)
    watch.then = lambda: setattr(watch, "stop", True)
    summary = run_job(job_of(street, tmp_path), segmenter(), watch)
    assert summary.state == "interrupted"
    assert 6 <= summary.frames < 20
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == summary.frames
    with VideoFile(tmp_path / "out" / "video.mp4") as film:
        assert sum(1 for _ in film) == summary.frames
    assert completed(job_of(street, tmp_path)) is None


def test_a_watch_that_breaks_is_the_failure_of_its_job(street: Path, tmp_path: Path) -> None:
    watch = Recorded(5, lambda: 1 / 0)
    summary = run_job(job_of(street, tmp_path), segmenter(), watch)
    assert summary.state == "failed"
    assert watch.lines == [f"{street}: ZeroDivisionError: division by zero (--debug shows where)"]
    assert summary.problem == watch.lines[0]
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 6


def test_an_input_fails_in_one_line_and_what_fails_after_that_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(sink: AnnotatedVideo) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AnnotatedVideo, "_finish", full)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(clip(tmp_path / "whole.ts", 0.8).read_bytes()[:-300])
    watch = Recorded()
    summary = run_job(job_of(cut, tmp_path), segmenter(), watch)
    assert [line for line in watch.lines if "damaged or cut off" in line] == watch.lines
    assert len(watch.lines) == 1
    assert sum("No space left" in line for line in watch.notes) == 1
    assert (summary.problem, summary.notes) == (watch.lines[0], watch.notes)


def test_a_pipe_that_breaks_where_nobody_prints_is_a_failure_like_others(
    street: Path, tmp_path: Path
) -> None:
    def broken() -> None:
        raise BrokenPipeError

    summary = run_job(job_of(street, tmp_path), segmenter(), Recorded(5, broken))
    assert summary.state == "failed"
    assert "BrokenPipeError" in summary.problem


def test_two_runs_in_one_folder_at_once_are_refused_and_nothing_is_lost(
    street: Path, tmp_path: Path
) -> None:
    job = job_of(street, tmp_path)
    second = Recorded()
    first = Recorded(5, lambda: run_job(job, segmenter(), second))
    assert run_job(job, segmenter(), first).state == "complete"
    assert second.lines == [f"{tmp_path / 'out'}: another run is writing there"]
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 20


def test_what_is_in_work_is_not_recovered(street: Path, tmp_path: Path) -> None:
    watch = Recorded(5)

    def attempt() -> None:
        with pytest.raises(SinkError, match="another run is writing there"):
            recover(tmp_path / "out")

    watch.then = attempt
    assert run_job(job_of(street, tmp_path), segmenter(), watch).state == "complete"
    assert recover(tmp_path / "out") is None


def test_a_run_that_was_killed_before_its_first_frame_leaves_a_folder_that_can_be_recovered(
    tmp_path: Path,
) -> None:
    RunMark(tmp_path / "out").release(keep=True)
    summary = recover(tmp_path / "out")
    assert summary is not None
    assert summary.frames == 0
    assert not (tmp_path / "out").exists()
