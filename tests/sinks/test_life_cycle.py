"""What holds for every sink: complete or absent, interrupted runs, failures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.errors import SinkError, SourceError
from sipvideo.masks import CompactMasks
from sipvideo.sinks import (
    AnnotatedPicture,
    AnnotatedPictures,
    AnnotatedVideo,
    CocoRleLines,
    LabelMapPngs,
    Sink,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from tests.media import number_in, picture
from tests.sinks.runs import (
    BLANK,
    SIZE,
    assert_whole,
    every_sink,
    one_result,
    plain,
    read_map,
    write_all,
)


def test_frames_without_objects_are_fine_everywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nothing = one_result([], [])
    for sink in every_sink(tmp_path):
        write_all(sink, [nothing])
        assert sink.path.exists()
    assert json.loads((tmp_path / "a.json").read_text()) == []
    assert json.loads((tmp_path / "a.ndjson").read_text())["objects"] == []
    assert (tmp_path / "a.txt").read_text() == ""
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 0
    assert not read_map(tmp_path / "maps" / "000000.png").any()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1
    assert capfd.readouterr() == ("", "")


def test_nothing_has_its_final_name_before_it_is_complete(tmp_path: Path) -> None:
    for sink in every_sink(tmp_path):
        sink.write(one_result([], []))
        assert not sink.path.exists()
        sink.close()
        sink.close()
        assert sink.path.exists()
        with pytest.raises(ValueError, match="the sink is closed"):
            sink.write(one_result([], []))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SourceError("clip.mp4: cut off")])
def test_an_interrupted_run_keeps_the_frames_so_far(tmp_path: Path, error: BaseException) -> None:
    run = [
        one_result([4], [np.ones(SIZE, bool)], frame=Frame(picture(k, (24, 32)), k, k / 25))
        for k in range(5)
    ]
    for sink in every_sink(tmp_path):
        part = run[:1] if isinstance(sink, AnnotatedPicture) else run
        with pytest.raises(type(error)):
            write_all(sink, part, error)
    with VideoFile(tmp_path / "a.mp4") as video:
        assert [number_in(f.image) for f in video] == list(range(5))
    assert len(json.loads((tmp_path / "a.json").read_text())[0]["segmentations"]) == 5
    assert len((tmp_path / "a.ndjson").read_text().splitlines()) == 5
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 5
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 6
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 5
    assert len(list((tmp_path / "maps").iterdir())) == 5
    assert len(list((tmp_path / "pictures").iterdir())) == 5


def test_a_run_that_fails_before_its_first_frame_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    for sink in every_sink(tmp_path):
        with pytest.raises(SourceError):
            write_all(sink, [], SourceError("no video"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path: Path) -> None:
    for sink in every_sink(tmp_path):
        sink.write(one_result([], []))
        sink._handles.close()  # as when the process is killed: the temporary file stays
    assert len(list(tmp_path.glob(".*.partial"))) == 10
    for sink in every_sink(tmp_path):
        write_all(sink, [one_result([1], [np.ones(SIZE, bool)])])
        assert sink.path.exists()
    assert len(json.loads((tmp_path / "a.json").read_text())) == 1
    assert not list(tmp_path.glob(".*"))


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_all(CocoRleLines(tmp_path / "new" / "folder" / "a.ndjson"), [one_result([], [])])
    assert (tmp_path / "new" / "folder" / "a.ndjson").exists()


# Failures


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(SinkError, match=r"a\.json: is a folder, expected a file name"):
        YouTubeVISResults(tmp_path / "a.json")


@pytest.mark.parametrize("kind", [LabelMapPngs, lambda p: AnnotatedPictures(p, plain)])
def test_a_folder_with_content_is_not_overwritten(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    (tmp_path / "file").write_text("text")
    for name in ("letters", "file"):
        with pytest.raises(SinkError, match=f"{name}: exists already and is not an empty folder"):
            kind(tmp_path / name)
    assert (tmp_path / "letters" / "love.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    write_all(kind(tmp_path / "empty"), [one_result([], [])])
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["000000.png"]


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(SinkError, match=r"a\.csv: cannot be written: ") as caught:
        TrackTable(tmp_path / "file" / "a.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: AnnotatedVideo(p / "a.avi", plain), r"expected a name ending in \.mp4"),
        (lambda p: AnnotatedPicture(p / "a.gif", plain), r"expected a name ending in \.jpg"),
        (lambda p: TrackTable(p / "a.xlsx"), r"expected a name ending in \.csv or \.parquet"),
    ],
)
def test_an_unknown_ending_is_refused_before_the_run(
    tmp_path: Path, make: Any, message: str
) -> None:
    with pytest.raises(SinkError, match=message):
        make(tmp_path)


@contextlib.contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Makes writing fail like a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("number", range(9))
def test_a_full_disk_is_one_line_and_what_fitted_is_kept(tmp_path: Path, number: int) -> None:
    """As a whole output; where that needs more room than there is, as a hidden file of which one is made later."""
    rng = np.random.default_rng(1)
    run = []
    for k in range(60):
        noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
        run.append(one_result([k], [rng.random(SIZE) < 0.5], frame=Frame(noise, k, k / 25)))
    candidates = every_sink(tmp_path)
    sink = candidates.pop(number)
    for other in candidates:
        other.discard()
    if isinstance(sink, LabelMapPngs):
        run = [big_labels(k) for k in range(3)]
    if isinstance(sink, AnnotatedPicture):
        run = run[:1]
    with pytest.raises(SinkError, match=r"cannot be written: .*File too large") as caught:
        with_little_space(sink, run)
    assert str(sink.path) in str(caught.value)
    assert "\n" not in str(caught.value)
    if sink._partial.exists():
        assert "sipvideo recover" in str(caught.value)
        assert not sink.path.exists()
        sink.assemble(sink._partial, sink.path)
    else:
        assert "recover" not in str(caught.value)
    if sink.path.exists():
        assert_whole(sink.path)
    assert {path.name for path in tmp_path.iterdir()} <= {sink.path.name}


def with_little_space(sink: Sink, run: Sequence[FrameResult]) -> None:
    with file_size_limit(1000):
        write_all(sink, run)


def big_labels(index: int) -> FrameResult:
    """A frame whose label map does not fit into a kilobyte."""
    masks = np.random.default_rng(index).random((6, *SIZE)) < 0.5
    big = CompactMasks.from_dense(np.kron(masks, np.ones((1, 4, 4), bool)))
    detections = Detections(
        boxes=np.zeros((6, 4), np.float32),
        scores=np.full(6, 0.5, np.float32),
        labels=np.zeros(6, np.int64),
        masks=big,
        embeddings=np.zeros((6, 0), np.float32),
    )
    return FrameResult(Frame(BLANK, index, 0.0), detections, np.arange(6), 1.0)


def test_one_failing_sink_does_not_cost_the_others_their_frames(tmp_path: Path) -> None:
    run = [one_result([i], [np.ones(SIZE, bool)], k) for k, i in enumerate((1, 70000))]

    def write_both() -> None:
        with CocoRleLines(tmp_path / "good.ndjson") as good, LabelMapPngs(tmp_path / "bad") as bad:
            for result in run:
                good.write(result)
                bad.write(result)

    with pytest.raises(SinkError, match="track id 70000 does not fit into 16 bits"):
        write_both()
    assert len((tmp_path / "good.ndjson").read_text().splitlines()) == 2
    assert len(list((tmp_path / "bad").iterdir())) == 1
