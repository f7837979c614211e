"""A job that was cut off goes on from its checkpoint, to the same bytes as one that was not."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.build import load
from sipvideo.config import TrackerConfig, VeilConfig
from sipvideo.engine import FunctionEngine
from sipvideo.jobs import Job, Watch, completed, run_job
from sipvideo.jobs.checkpoint import Checkpoint, UnfitError
from sipvideo.pipeline import VideoSegmenter
from sipvideo.recovery import recover
from sipvideo.results import KINDS
from sipvideo.showing import ShowingOptions
from sipvideo.sinks import YouTubeVISResults
from sipvideo.sinks.sink import Kept
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.summary import CHECKPOINT, Summary
from sipvideo.tracker import build_tracker
from sipvideo.veil import Veil
from tests.media import write_video
from tests.scenes import REALISTIC, Shot, clock, crowd, film

CLASSES = ("walker", "runner", "rider")
SECONDS = 5.0
SOMETIMES = 1e-6
"""Seconds between checkpoints: one after the other, every few frames however fast the machine is."""


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    """A lively crowd with exits, missed objects and false alarms."""
    made = list(film(crowd(7, 8, 5), clock(SECONDS, 25), faults=REALISTIC, seed=5))
    return [
        replace(s, detections=replace(s.detections, grey=s.frame.image.mean(2).astype(np.uint8)))
        for s in made
    ]


@pytest.fixture(scope="module")
def street(shots: list[Shot], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job") / "street.mp4"
    return write_video(path, [shot.frame.image for shot in shots], encoder={"g": "30", "bf": "2"})


def segmenter(shots: list[Shot], preset: str = "sipvideo", **settings: Any) -> VideoSegmenter:
    def detect(frame: Frame) -> Detections:
        return shots[frame.index].detections

    tracker = build_tracker(TrackerConfig(preset=preset, **settings))
    return VideoSegmenter(detect, tracker, CLASSES)


class CutOff(Watch):
    """Copies the folder of results, as a process that is killed leaves it, and ends the run.

    That is at some frame, or when there is a checkpoint of this run, if that comes later.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at = folder, at
        self.lines: list[str] = []
        self.begun_at = 1 << 30
        self.stop = False
        self.former = self.written()

    def written(self) -> int:
        """When the checkpoint was written; 0: never."""
        path = self.folder / CHECKPOINT
        return path.stat().st_mtime_ns if path.exists() else 0

    @property
    def stopped(self) -> bool:
        return self.stop

    def advance(self, summary: Summary, result: FrameResult) -> None:
        self.begun_at = min(self.begun_at, summary.frames - 1)
        if not self.stop and summary.frames >= self.at and self.written() != self.former:
            self.stop = True
            shutil.copytree(self.folder, self.folder.with_name(f"{self.folder.name}+"))

    def note(self, line: str) -> None:
        self.lines.append(line)


def ended(job: Job, made: Callable[[], VideoSegmenter], cuts: tuple[int, ...]) -> tuple[Job, Any]:
    """Runs a job, cut off at some frames and gone on with; the last of its runs and what it was told."""
    watch = CutOff(Path(), 1 << 30)
    for cut in cuts:
        assert job.folder is not None
        watch = CutOff(job.folder, cut)
        run_job(job, made(), watch)
        job = replace(job, folder=Path(f"{job.folder}+"))
    assert job.folder is not None
    assert not (job.folder / "summary.json").exists()
    watch = CutOff(job.folder, 1 << 30)
    summary = run_job(job, made(), watch)
    assert (summary.state, summary.problem) == ("complete", "")
    return job, watch


def same(name: str, ours: Path, theirs: Path) -> None:
    """The content of a result equals that of an undisturbed run."""
    if name == "parquet":
        assert pyarrow.parquet.read_table(ours).equals(pyarrow.parquet.read_table(theirs))
    elif name == "events":
        read = (path / "events.jsonl" for path in (ours, theirs))
        first, second = ([json.loads(x) for x in path.read_text().splitlines()] for path in read)
        assert [e | {"id": 0} for e in first] == [e | {"id": 0} for e in second]
        assert [e["id"].split(":")[1] for e in first] == [e["id"].split(":")[1] for e in second]
    elif name == "appearance":
        one, other = np.load(ours), np.load(theirs)
        assert all(np.array_equal(one[key], other[key]) for key in other.files)
    elif name == "explain":
        assert gzip.decompress(ours.read_bytes()) == gzip.decompress(theirs.read_bytes())
    elif ours.is_dir():
        names = sorted(path.name for path in theirs.iterdir())
        assert sorted(path.name for path in ours.iterdir()) == names
        assert all((ours / n).read_bytes() == (theirs / n).read_bytes() for n in names)
    else:
        assert ours.read_bytes() == theirs.read_bytes()


ALL = tuple(kind for kind in KINDS if kind not in ("video", "prores", "pictures"))


def assert_goes_on(
    job: Job, made: Callable[[], VideoSegmenter], cuts: tuple[int, ...]
) -> tuple[Job, Any]:
    """A job that is cut off at some frames ends like one that is not."""
    assert job.folder is not None
    whole = replace(job, folder=job.folder.with_name("whole"), checkpoint=0)
    expected = run_job(whole, made())
    assert expected.state == "complete"
    last, watch = ended(job, made, cuts)
    assert last.folder is not None
    assert watch.begun_at > 0
    for name in job.kinds:
        same(name, last.folder / KINDS[name].file, whole.folder / KINDS[name].file)  # type: ignore[operator]
    found = Summary.read(last.folder)
    assert found is not None
    assert found.resumed == len(cuts)
    counted = ("frames", "objects", "identities", "duration", "files")
    if "events" in job.kinds:
        counted = counted[:-1]
    assert [getattr(found, n) for n in counted] == [getattr(expected, n) for n in counted]
    hidden = [path.name for path in last.folder.iterdir() if path.name.startswith(".")]
    assert not hidden
    return last, watch


def job_of(street: Path, folder: Path, *kinds: str, **fields: Any) -> Job:
    fields = {"ahead": 3, "resume": True, "checkpoint": SOMETIMES, **fields}
    return Job(str(street), folder / "a", kinds, **fields)


@pytest.mark.parametrize(("ahead", "preset"), [(0, "paper"), (3, "sipvideo")])
def test_a_job_cut_off_three_times_ends_like_one_that_was_not(
    street: Path, shots: list[Shot], tmp_path: Path, ahead: int, preset: str
) -> None:
    job = job_of(street, tmp_path, *ALL, ahead=ahead)
    _, watch = assert_goes_on(job, lambda: segmenter(shots, preset), (50, 70, 110))
    assert watch.lines[0].startswith(f"{street}: was cut off, goes on after frame ")
    summary = Summary.read(tmp_path / "a+++")
    assert summary is not None
    assert len([note for note in summary.notes if "was cut off" in note]) == 3


def test_the_default_model_goes_on_to_the_same_bytes_on_a_real_clip(tmp_path: Path) -> None:
    clip = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
    ready = load().for_files()
    job = job_of(clip, tmp_path, "lines", "json", "csv", "appearance", most=36)
    last, _ = assert_goes_on(job, lambda: ready, (14, 26))
    assert last.folder is not None
    assert (last.folder / "objects.csv").read_bytes().count(b"\n") > 36


@pytest.mark.parametrize(
    "part", [{"start": 0.5, "every": 2}, {"end": 4.3, "batch": 4}, {"most": 110}, {"batch": 5}]
)
def test_parts_of_a_video_and_batches_go_on(
    street: Path, shots: list[Shot], tmp_path: Path, part: dict[str, Any]
) -> None:
    sizes: list[int] = []

    class Batches(FunctionEngine):
        """Finds what depends on the frames that are found together, as rounding does."""

        def detect(self, frames: Sequence[Frame]) -> list[Detections]:
            sizes.append(len(frames))
            found = super().detect(frames)
            return [
                replace(one, scores=one.scores * np.float32(1 - 1e-3 * k))
                for k, one in enumerate(found)
            ]

    def made() -> VideoSegmenter:
        ready = segmenter(shots)
        engine = Batches(lambda frame: shots[frame.index].detections)
        return VideoSegmenter(engine, ready.tracker, CLASSES)

    assert_goes_on(job_of(street, tmp_path, "lines", "csv", **part), made, (25, 48))
    if "batch" in part:
        assert max(sizes) == part["batch"]


@pytest.mark.parametrize("seconds", [0.6, 2.0])
def test_frames_that_wait_for_what_comes_later_go_on_waiting(
    street: Path, shots: list[Shot], tmp_path: Path, seconds: float
) -> None:
    job = job_of(street, tmp_path, "lines", "json", "csv", lookahead=seconds)
    last, _ = assert_goes_on(
        job, lambda: segmenter(shots, max_age=0.2, returns=False), (30, 60, 80)
    )
    assert last.folder is not None
    for name in ("repair.log", "repair.jsonl"):
        changes = (last.folder / name).read_bytes()
        assert changes == (tmp_path / "whole" / name).read_bytes()
        assert changes.count(b"\n") > 3


def test_zones_go_on_counting(street: Path, shots: list[Shot], tmp_path: Path) -> None:
    rules = tmp_path / "zones.yaml"
    rules.write_text(
        "zones: {left: {polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], stay: 0.5, more_than: 1}}\n"
        "lines: {middle: {from: [0.5, 0], to: [0.5, 1]}}\nsettle: 0.1\nlasting: 0.2\ngone_after: 0.5\n"
    )
    showing = ShowingOptions(zones=str(rules))
    job = job_of(street, tmp_path, "events", "pictures", showing=showing)
    last, _ = assert_goes_on(job, lambda: segmenter(shots), (40, 90))
    assert last.folder is not None
    told = (last.folder / "events" / "events.jsonl").read_text()
    assert all(f'"kind": "{kind}"' in told for kind in ("entered", "crossed", "crowded"))


def test_who_is_covered_stays_covered_and_no_picture_is_in_the_checkpoint(
    street: Path, shots: list[Shot], tmp_path: Path
) -> None:
    def made() -> VideoSegmenter:
        ready = segmenter(shots)
        veil = Veil(VeilConfig(), frozenset({0, 1}), 0.3)
        return VideoSegmenter(ready.engine, ready.tracker, CLASSES, veil)

    job = job_of(street, tmp_path, "pictures", "csv")
    assert_goes_on(job, made, (40, 80))
    shutil.rmtree(tmp_path / "a+")
    run_job(job, made(), watch := CutOff(tmp_path / "a", 100))
    content = (tmp_path / "a" / CHECKPOINT).read_bytes()
    assert watch.stop
    for shot in shots:
        assert shot.detections.grey is not None
        for row in shot.detections.grey:
            assert row.tobytes() not in content


def test_whoever_stops_a_run_has_whole_files_and_may_go_on(
    street: Path, shots: list[Shot], tmp_path: Path
) -> None:
    job = job_of(street, tmp_path, *ALL)
    whole = replace(job, folder=tmp_path / "whole", checkpoint=0)
    run_job(whole, segmenter(shots))
    for cut in (40, 90):
        watch = CutOff(tmp_path / "a", cut)
        watch.folder = tmp_path / "a"
        summary = run_job(job, segmenter(shots), watch)
        shutil.rmtree(tmp_path / "a+")
        assert summary.state == "interrupted"
        lines = (tmp_path / "a" / "results.jsonl").read_text().splitlines()
        assert len(lines) == summary.frames < len(shots)
        assert {path.name for path in (tmp_path / "a").iterdir() if path.name[0] != "."} == {
            "summary.json",
            *(KINDS[kind].file for kind in ALL),
        }
    summary = run_job(job, segmenter(shots))
    assert (summary.state, summary.resumed) == ("complete", 2)
    for kind in ALL:
        same(kind, tmp_path / "a" / KINDS[kind].file, tmp_path / "whole" / KINDS[kind].file)
    assert not [path for path in (tmp_path / "a").iterdir() if path.name[0] == "."]


def test_a_run_killed_while_its_files_are_completed_goes_on_too(
    street: Path, shots: list[Shot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(street, tmp_path, "video", *ALL)
    assert run_job(job, segmenter(shots)).state == "complete"
    shutil.move(tmp_path / "a", tmp_path / "whole")
    # All but the last file is made when the process dies.
    assemble = YouTubeVISResults.assemble

    def dying(partial: Path, path: Path, *, keep: bool = False) -> Kept:
        shutil.copytree(path.parent, tmp_path / "a+", dirs_exist_ok=True)
        return assemble(partial, path, keep=keep)

    with monkeypatch.context() as patch:
        patch.setattr(YouTubeVISResults, "assemble", staticmethod(dying))
        run_job(job, segmenter(shots))
    assert (tmp_path / "a+" / "masks").exists()
    again = replace(job, folder=tmp_path / "a+")
    summary = run_job(again, segmenter(shots))
    assert (summary.state, summary.resumed, summary.frames) == ("complete", 1, len(shots))
    for kind in ALL:
        same(kind, tmp_path / "a+" / KINDS[kind].file, tmp_path / "whole" / KINDS[kind].file)
    with VideoFile(tmp_path / "a+" / "video.mp4") as film:
        assert sum(1 for _ in film) == len(shots)


def test_strict_has_nothing_against_going_on(
    street: Path, shots: list[Shot], tmp_path: Path
) -> None:
    job = replace(cut_off(job_of(street, tmp_path, "lines"), shots), strict=True)
    summary = run_job(job, segmenter(shots))
    assert (summary.state, summary.resumed, summary.notes) == ("complete", 1, [])
    assert completed(job) == summary


def cut_off(job: Job, shots: list[Shot], at: int = 80) -> Job:
    """The job with the folder that a killed run left."""
    assert job.folder is not None
    run_job(job, segmenter(shots), CutOff(job.folder, at))
    return replace(job, folder=Path(f"{job.folder}+"))


def change_settings(job: Job) -> Job:
    return replace(job, settings={"weights": "others"}, fps=10)


def change_kinds(job: Job) -> Job:
    return replace(job, kinds=("csv",))


def damage(job: Job) -> Job:
    assert job.folder is not None
    path = job.folder / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return job


def lose(job: Job) -> Job:
    assert job.folder is not None
    (job.folder / ".results.jsonl.partial").write_bytes(b"")
    return job


def print_too(job: Job) -> Job:
    return replace(job, stdout=True)


def change_input(job: Job) -> Job:
    write_video(Path(job.input), [np.full((120, 160, 3), k, np.uint8) for k in range(125)])
    return job


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_settings, "other than when it was cut off: fps, weights"),
        (change_kinds, "other than when it was cut off: kinds"),
        (damage, "the checkpoint is damaged"),
        (lose, "results.jsonl: what was written of it before is not all there"),
        (print_too, "standard output cannot be gone on with"),
        (change_input, "is not the one that was there"),
    ],
)
def test_what_does_not_fit_begins_anew_and_says_why(
    street: Path, shots: list[Shot], tmp_path: Path, change: Callable[[Job], Job], reason: str
) -> None:
    own = Path(shutil.copy(street, tmp_path / "own.mp4"))
    job = change(cut_off(job_of(own, tmp_path, "lines", "csv", "png"), shots))
    watch = CutOff(tmp_path, 1 << 30)
    summary = run_job(job, segmenter(shots), watch)
    assert f"{own}: begins anew: " in watch.lines[0]
    assert reason in watch.lines[0]
    assert summary.notes == watch.lines
    assert (summary.state, summary.frames, summary.resumed) == ("complete", len(shots), 0)
    expected = replace(job, folder=tmp_path / "whole", stdout=False)
    run_job(expected, segmenter(shots))
    assert expected.folder is not None
    for kind in job.kinds:
        file = KINDS[kind].file
        assert job.folder is not None
        same(kind, job.folder / file, expected.folder / file)


def test_without_resume_a_run_begins_anew_without_a_word(
    street: Path, shots: list[Shot], tmp_path: Path
) -> None:
    job = replace(cut_off(job_of(street, tmp_path, "lines"), shots), resume=False)
    watch = CutOff(tmp_path, 1 << 30)
    summary = run_job(job, segmenter(shots), watch)
    assert (summary.frames, summary.resumed, watch.begun_at, watch.lines) == (125, 0, 0, [])


def test_recover_makes_whole_what_a_run_with_a_checkpoint_left(
    street: Path, shots: list[Shot], tmp_path: Path
) -> None:
    job = cut_off(job_of(street, tmp_path, "lines", "video"), shots)
    assert job.folder is not None
    summary = recover(job.folder)
    assert summary is not None
    assert (summary.state, summary.frames) == ("recovered", 80)
    left = {path.name for path in job.folder.iterdir()}
    assert left == {"results.jsonl", "video.mp4", "summary.json"}


def test_a_short_run_writes_no_checkpoint(street: Path, shots: list[Shot], tmp_path: Path) -> None:
    job = cut_off(job_of(street, tmp_path, "lines", checkpoint=60.0), shots)
    assert job.folder is not None
    assert not (job.folder / CHECKPOINT).exists()


@pytest.mark.parametrize("content", [b"", b"sipvideo checkpoint 1 00000000\n{}", b"PK\x03\x04"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(UnfitError, match="damaged"):
        Checkpoint.read(tmp_path, {})


@pytest.mark.parametrize(
    "array", [["|O", [1], 0], ["<f4", [1 << 40], 0], ["<f4", [-1], 0], ["<f4", [1], -4], 7]
)
def test_arrays_of_a_hostile_checkpoint_are_refused(tmp_path: Path, array: Any) -> None:
    body = json.dumps({"memory": {"array": array}}).encode() + b"\n" + bytes(8)
    head = b"sipvideo checkpoint 1 %08x\n" % zlib.crc32(body)
    (tmp_path / CHECKPOINT).write_bytes(head + body)
    with pytest.raises(UnfitError, match="damaged"):
        Checkpoint.read(tmp_path, {})
