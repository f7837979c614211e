"""Sinks go on where an earlier run left them, as if there had been one run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sipvideo.errors import SinkError
from sipvideo.events import EventWatch, Rules
from sipvideo.events.sink import EventFiles
from sipvideo.sinks import (
    AnnotatedPictures,
    AnnotatedVideo,
    AppearanceTable,
    CocoRleLines,
    Explanations,
    LabelMapPngs,
    MotsText,
    Sink,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.sinks.sink import Mark, parts
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, FrameResult
from tests.media import Tone, film
from tests.sinks.runs import NAMES, plain, random_run
from tests.sinks.test_audio import write
from tests.sinks.test_kept import same


def plain_values(mark: Mark) -> Mark:
    """A mark as it comes back from a file, where it has no arrays."""
    kept: Mark = json.loads(json.dumps(mark, default=np.ndarray.tolist))
    for view in kept["memory"].get("views", ()):
        view[2] = np.array(view[2], np.float32)
    return kept


KINDS = {
    "pictures": (AnnotatedPictures, (plain,)),
    "a.json": (YouTubeVISResults, ()),
    "a.ndjson": (CocoRleLines, (NAMES,)),
    "a.txt": (MotsText, ()),
    "maps": (LabelMapPngs, ()),
    "a.csv": (TrackTable, (NAMES,)),
    "a.parquet": (TrackTable, (NAMES,)),
    "a.npz": (AppearanceTable, ()),
    "a.jsonl.gz": (Explanations, ()),
}


def opened(name: str, folder: Path, mark: Mark | None = None) -> Sink:
    folder.mkdir(exist_ok=True)
    kind, given = KINDS[name]
    sink: Sink = kind(folder / name, *given, mark=mark)  # type: ignore[operator]
    return sink


def looks(results: Iterable[FrameResult]) -> list[FrameResult]:
    """The same with embeddings, and closer in time, so that views of identities span frames."""
    rng = np.random.default_rng(0)
    changed = []
    for result in results:
        seen = result.detections
        vectors = rng.normal(size=(len(seen), 4)).astype(np.float32)
        seen = Detections(seen.boxes, seen.scores, seen.labels, seen.masks, vectors)
        frame = type(result.frame)(result.frame.image, result.frame.index, result.frame.index / 5)
        changed.append(FrameResult(frame, seen, result.track_ids, 1.0))
    return changed


def copied(sink: Sink, folder: Path) -> Path:
    """What lies on disk now, as a process that is killed leaves it."""
    folder.mkdir()
    for part in parts(sink._partial):
        target = folder / part.name
        shutil.copytree(part, target) if part.is_dir() else shutil.copy(part, target)
    return folder


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stopped", [False, True])
def test_a_sink_that_goes_on_from_a_mark_makes_what_one_run_makes(
    tmp_path: Path, name: str, stopped: bool
) -> None:
    run = looks(random_run(count=30))
    whole = opened(name, tmp_path / "whole")
    with whole:
        for result in run:
            whole.write(result)
    sink, mark, done = opened(name, tmp_path / "0"), None, 0
    for attempt, (at, until) in enumerate(((7, 12), (8, 9), (25, 30)), 1):
        for result in run[done:at]:
            sink.write(result)
        mark = plain_values(sink.mark())
        assert sink.keeps(mark)
        for result in run[at:until]:
            sink.write(result)
        left = tmp_path / str(attempt)
        if stopped:  # whole files are made, and the hidden ones stay
            sink.keep = True
            sink.close()
            assert sink.path.exists()
            left = sink.path.parent
        else:
            copied(sink, left)
            sink.discard()
        sink, done = opened(name, left, mark), at
    with sink:
        for result in run[done:]:
            sink.write(result)
    assert sink.frames_written == len(run)
    if name == "a.jsonl.gz":  # the packed form knows the hour
        return
    assert same(sink.path, whole.path)
    assert {file.name for file in sink.path.parent.iterdir()} == {name}


def test_a_file_that_lost_what_the_mark_says_is_refused(tmp_path: Path) -> None:
    sink = opened("a.csv", tmp_path / "a")
    for result in random_run():
        sink.write(result)
    mark = sink.mark()
    left = copied(sink, tmp_path / "b")
    sink.discard()
    hidden = left / sink._partial.name
    hidden.write_bytes(hidden.read_bytes()[:-1])
    with pytest.raises(SinkError, match=r"a\.csv: what was written of it before is not all there"):
        opened("a.csv", left, mark)
    assert hidden.exists()


def test_events_go_on_with_their_numbers_and_the_watch_with_what_it_knows(tmp_path: Path) -> None:
    run = random_run(count=40)

    def sink(folder: Path, mark: Mark | None = None) -> EventFiles:
        return EventFiles(folder / "events", EventWatch(Rules(), NAMES), "street", mark=mark)

    def told(folder: Path) -> list[dict[str, Any]]:
        lines = (folder / "events" / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        for event in events:
            event["id"] = event["id"].partition(":")[2]
        return events

    (tmp_path / "whole").mkdir()
    with sink(tmp_path / "whole") as whole:
        for result in run:
            whole.write(result)
    (tmp_path / "a").mkdir()
    first = sink(tmp_path / "a")
    for result in run[:17]:
        first.write(result)
    mark = plain_values(first.mark())
    for result in run[17:23]:
        first.write(result)
    left = copied(first, tmp_path / "b")
    first.discard()
    with sink(left, mark) as second:
        for result in run[17:]:
            second.write(result)
    assert told(left) == told(tmp_path / "whole")
    assert len(told(left)) > 10


def nobody(source: VideoFile) -> list[FrameResult]:
    return [
        FrameResult(frame, Detections.empty(frame.size), np.zeros(0, np.int64), 1.0)
        for frame in source
    ]


def packets(path: Path) -> dict[str, list[tuple[float, int]]]:
    """When each packet is shown or heard, and its size, by the kind of its stream."""
    found: dict[str, list[tuple[float, int]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None:
                time = float(packet.pts * packet.time_base)
                found.setdefault(packet.stream.type, []).append((round(time, 4), packet.size))
    return found


def shown(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        assert not any(frame.is_corrupt for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        return [round(float(frame.time), 4) for frame in container.decode(video=0)]


@pytest.fixture(scope="module", params=["copied", "bare", "converted", "short", "uneven", "none"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of twelve seconds, with sound of several kinds."""
    folder = tmp_path_factory.mktemp("film")
    if request.param == "copied":
        return film(folder / "a.mp4", 300, tone=Tone(seconds=12))
    if request.param == "short":  # nothing is heard from the first mark on
        return film(folder / "a.mp4", 300, tone=Tone(seconds=2))
    if request.param == "none":
        return film(folder / "a.mp4", 300)
    if request.param == "uneven":
        from tests.media import picture, write_video

        ticks = np.cumsum(np.random.default_rng(0).choice([1, 2, 40], 150, p=[0.6, 0.3, 0.1]))
        return write_video(folder / "a.mkv", [picture(k) for k in range(150)], ticks=ticks.tolist())
    if request.param == "bare":
        return write(folder / "a.ts", "aac", 48000, begin=1, seconds=12)
    return write(folder / "a.mkv", "pcm_s16le", 22050, seconds=12)


def written(
    sink: AnnotatedVideo, results: Sequence[FrameResult], at: int
) -> tuple[Mark, Sequence[FrameResult]]:
    """Writes to ``at``, takes a mark, goes on until all before is on disk; what comes after the mark."""
    for result in results[:at]:
        sink.write(result)
    mark = sink.mark()
    assert not sink.keeps(mark)
    for result in results[at:]:
        sink.write(result)
        if sink.keeps(mark):
            break
    else:
        pytest.fail("never on disk")
    return plain_values(mark), results[at:]


def test_a_video_that_goes_on_twice_has_every_picture_and_sound_once_and_in_step(
    source: Path, tmp_path: Path
) -> None:
    with VideoFile(source) as clip:
        results = nobody(clip)
        with AnnotatedVideo(tmp_path / "whole.mp4", plain, clip) as whole:
            for result in results:
                whole.write(result)
        sink, mark = AnnotatedVideo(tmp_path / "a.mp4", plain, clip), None
        for attempt in range(2):
            mark, results = written(sink, results, 40)
            left = copied(sink, tmp_path / str(attempt))
            sink.discard()
            # A run that went on from here and was killed at once, without a mark of its own.
            useless = AnnotatedVideo(left / "a.mp4", plain, clip, mark=mark)
            for result in results[:30]:
                useless.write(result)
            again = copied(useless, tmp_path / f"again{attempt}")
            useless.discard()
            sink = AnnotatedVideo(again / "a.mp4", plain, clip, mark=mark)
        with sink:
            for result in results:
                sink.write(result)
    assert shown(sink.path) == shown(whole.path)
    ours, theirs = packets(sink.path), packets(whole.path)
    assert [time for time, _ in sorted(ours["video"])] == [t for t, _ in sorted(theirs["video"])]
    sound = [sorted(found.get("audio", ())) for found in (ours, theirs)]
    assert [size for _, size in sound[0]] == [size for _, size in sound[1]]
    assert [t for t, _ in sound[0]] == pytest.approx([t for t, _ in sound[1]], abs=2e-4)
    assert {file.name for file in sink.path.parent.iterdir()} == {"a.mp4"}


def test_what_a_video_that_went_on_has_on_disk_can_be_made_whole(tmp_path: Path) -> None:
    path = film(tmp_path / "in.mp4", 300, tone=Tone(seconds=12))
    with VideoFile(path) as clip:
        results = nobody(clip)
        sink = AnnotatedVideo(tmp_path / "a.mp4", plain, clip)
        mark, results = written(sink, results, 60)
        left = copied(sink, tmp_path / "left")
        sink.discard()
        sink = AnnotatedVideo(left / "a.mp4", plain, clip, mark=mark)
        for result in results[:150]:
            sink.write(result)
        again = copied(sink, tmp_path / "again")
        sink.discard()
    kept = AnnotatedVideo.assemble(again / sink._partial.name, again / "a.mp4")
    times = shown(again / "a.mp4")
    assert kept.frames == len(times) > 160
    # Of the last pictures those are missing that are decoded later than they are shown.
    assert times[:-3] == pytest.approx([k / 25 for k in range(len(times) - 3)])
    assert {file.name for file in again.iterdir()} == {"a.mp4"}
