"""Sinks: every format is read back and compared with what went in; failures and interruptions."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo import sinks
from sipvideo.errors import SinkError, SourceError
from sipvideo.masks import CompactMasks
from sipvideo.sinks import (
    AnnotatedPicture,
    AnnotatedPictures,
    AnnotatedVideo,
    CocoRleLines,
    LabelMapPngs,
    MotsText,
    Sink,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.sources import Source, VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from tests.media import Tone, film, number_in, picture, write_video

NAMES = ("person", "dog", "cat")
SIZE = (24, 32)
BLANK = np.zeros((*SIZE, 3), np.uint8)


def plain(result: FrameResult) -> NDArray[np.uint8]:
    """Draws nothing."""
    return result.frame.image


def one_result(
    ids: Sequence[int],
    masks: Sequence[NDArray[np.bool_]],
    index: int = 0,
    *,
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    frame: Frame | None = None,
) -> FrameResult:
    n = len(ids)
    dense = np.array(masks, bool).reshape(n, *SIZE)
    compact = CompactMasks.from_dense(dense)
    detections = Detections(
        boxes=compact.windows.astype(np.float32) + np.float32(0.3),
        scores=np.array(scores if scores is not None else [0.5] * n, np.float32),
        labels=np.array(labels if labels is not None else [0] * n, np.int64),
        masks=compact,
        embeddings=np.zeros((n, 0), np.float32),
    )
    frame = frame or Frame(BLANK, index, index / 25)
    return FrameResult(frame, detections, np.array(ids, np.int64), 1.0)


def random_run(seed: int = 0, count: int = 12) -> list[FrameResult]:
    """Objects that come, go and overlap; untracked ones; a frame without objects; gaps in index and time."""
    rng = np.random.default_rng(seed)
    run = []
    index = 0
    for k in range(count):
        n = 0 if k == 3 else int(rng.integers(1, 6))
        ids = rng.choice(9, n, replace=False)
        ids[rng.random(n) < 0.2] = -1
        masks = np.zeros((n, *SIZE), bool)
        for mask in masks:
            y, x = rng.integers(0, 18), rng.integers(0, 26)
            mask[y : y + 9, x : x + 12] = rng.random(mask[y : y + 9, x : x + 12].shape) < 0.8
        scores = np.sort(rng.random(n))[::-1]
        labels = rng.integers(0, 3, n).tolist()
        frame = Frame(BLANK, index, float(rng.random() + index))
        run.append(
            one_result(
                ids.tolist(), list(masks), labels=labels, scores=scores.tolist(), frame=frame
            )
        )
        index += int(rng.integers(1, 3))
    return run


def write_all(sink: Sink, run: Sequence[FrameResult], error: BaseException | None = None) -> None:
    with sink:
        for result in run:
            sink.write(result)
        if error is not None:
            raise error


def decode(rle: dict[str, Any]) -> NDArray[np.bool_]:
    raw = {"size": rle["size"], "counts": rle["counts"].encode()}
    with warnings.catch_warnings():  # pycocotools 2.0.11 has not followed numpy's newest wish
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(coco_mask.decode(raw), bool)


def expected_masks(run: Sequence[FrameResult]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """(frame index, track id) -> mask, of the tracked objects."""
    return {
        (r.frame.index, track_id): r.detections.masks.dense(k)
        for r in run
        for k, track_id in enumerate(r.track_ids.tolist())
        if track_id >= 0
    }


def without_overlaps(run: Sequence[FrameResult]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """The slow definition: a pixel belongs to the tracked object with the highest score, pixel by pixel."""
    masks = expected_masks(run)
    scores = {
        (r.frame.index, track_id): float(r.detections.scores[k])
        for r in run
        for k, track_id in enumerate(r.track_ids.tolist())
    }
    left = {key: mask.copy() for key, mask in masks.items()}
    for key, mask in left.items():
        for other, rival in masks.items():
            if other[0] == key[0] and scores[other] > scores[key]:
                mask &= ~rival
    return left


def assert_same_masks(
    got: dict[tuple[int, int], NDArray[np.bool_]], wanted: dict[tuple[int, int], NDArray[np.bool_]]
) -> None:
    assert got.keys() == wanted.keys()
    for key, mask in wanted.items():
        assert np.array_equal(got[key], mask), key


# All formats of one run


@pytest.fixture(scope="module")
def run() -> list[FrameResult]:
    return random_run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: list[FrameResult]) -> Path:
    """Every data format, written in one pass."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.ExitStack() as stack:
        together: list[Sink] = [
            YouTubeVISResults(folder / "vis.json"),
            CocoRleLines(folder / "lines.ndjson", NAMES),
            MotsText(folder / "mots.txt", first_frame=0),
            LabelMapPngs(folder / "maps"),
            TrackTable(folder / "tracks.csv", NAMES),
            TrackTable(folder / "tracks.parquet", NAMES),
        ]
        for sink in together:
            stack.enter_context(sink)
        for result in run:
            for sink in together:
                sink.write(result)
    assert not list(folder.glob(".*"))
    return folder


def read_map(path: Path) -> NDArray[Any]:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert values is not None
    return values


def test_json_lines_give_back_masks_ids_and_times(folder: Path, run: list[FrameResult]) -> None:
    lines = [json.loads(line) for line in (folder / "lines.ndjson").read_text().splitlines()]
    assert [(line["frame"], line["timestamp"]) for line in lines] == [
        (r.frame.index, r.frame.timestamp) for r in run
    ]
    got = {
        (line["frame"], thing["track_id"]): decode(thing["segmentation"])
        for line in lines
        for thing in line["objects"]
        if thing["track_id"] is not None
    }
    assert_same_masks(got, expected_masks(run))
    assert sum(len(line["objects"]) for line in lines) == sum(len(r.track_ids) for r in run)


def test_youtube_vis_results_give_back_the_masks_of_every_track(
    folder: Path, run: list[FrameResult]
) -> None:
    masks = expected_masks(run)
    entries = json.loads((folder / "vis.json").read_text())
    # Entries carry no ids: they come in the order in which the tracks appeared.
    ids = list(dict.fromkeys(track_id for _, track_id in masks))
    assert len(entries) == len(ids)
    got = {
        (frame, track_id): decode(rle)
        for track_id, entry in zip(ids, entries, strict=True)
        for frame, rle in enumerate(entry["segmentations"])
        if rle is not None
    }
    assert_same_masks(got, masks)
    assert {len(entry["segmentations"]) for entry in entries} == {run[-1].frame.index + 1}


def test_label_maps_give_back_masks_and_ids_without_overlaps(
    folder: Path, run: list[FrameResult]
) -> None:
    exclusive = without_overlaps(run)
    paths = sorted((folder / "maps").iterdir())
    assert [path.name for path in paths] == [f"{r.frame.index:06d}.png" for r in run]
    for path, result in zip(paths, run, strict=True):
        wanted = np.zeros(SIZE, np.uint16)
        for (frame, track_id), mask in exclusive.items():
            if frame == result.frame.index:
                wanted[mask] = track_id + 1
        values = read_map(path)
        assert values.dtype == np.uint16
        assert np.array_equal(values, wanted)


def test_mots_text_gives_back_masks_without_overlaps(folder: Path, run: list[FrameResult]) -> None:
    wanted = {key: mask for key, mask in without_overlaps(run).items() if mask.any()}
    lines = (folder / "mots.txt").read_text().splitlines()
    assert len(lines) == len(wanted)
    tracks: dict[str, int] = {}
    for line, ((frame, track_id), mask) in zip(lines, wanted.items(), strict=True):
        number, object_id, class_id, height, width, counts = line.split(" ")
        assert int(number) == frame
        assert int(object_id) // 1000 == int(class_id)
        assert np.array_equal(decode({"size": [int(height), int(width)], "counts": counts}), mask)
        assert tracks.setdefault(object_id, track_id) == track_id
    assert len(tracks) == len({track_id for _, track_id in wanted})


def test_tables_give_back_ids_times_and_areas(folder: Path, run: list[FrameResult]) -> None:
    masks = expected_masks(run)
    times = {r.frame.index: r.frame.timestamp for r in run}
    rows = list(csv.DictReader((folder / "tracks.csv").read_text().splitlines()))
    stored = pyarrow.parquet.read_table(folder / "tracks.parquet").to_pylist()
    for table in (rows, stored):
        assert [(int(row["frame"]), int(row["track_id"])) for row in table] == list(masks)
        assert [float(row["timestamp"]) for row in table] == [times[frame] for frame, _ in masks]
        areas = [int(mask.sum()) for mask in masks.values()]
        assert [int(row["mask_area"]) for row in table] == areas


def every_sink(folder: Path) -> list[Sink]:
    return [
        AnnotatedVideo(folder / "a.mp4", plain),
        AnnotatedPicture(folder / "a.png", plain),
        AnnotatedPictures(folder / "pictures", plain),
        YouTubeVISResults(folder / "a.json"),
        CocoRleLines(folder / "a.ndjson"),
        MotsText(folder / "a.txt"),
        LabelMapPngs(folder / "maps"),
        TrackTable(folder / "a.csv"),
        TrackTable(folder / "a.parquet"),
    ]


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
    assert len(list(tmp_path.glob(".*.partial"))) == 9
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
def test_a_full_disk_is_one_line_and_leaves_no_litter(tmp_path: Path, number: int) -> None:
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
    assert not sink.path.exists()
    assert not sink._partial.exists()


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


# Annotated video


def annotate(source: Source, path: Path, stop_after: int | None = None) -> AnnotatedVideo:
    with AnnotatedVideo(path, plain, source, crf=8) as sink:
        for frame in source:
            if frame.index == stop_after:
                break
            size = frame.size
            sink.write(FrameResult(frame, Detections.empty(size), np.zeros(0, np.int64), 1.0))
    return sink


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Presentation time in seconds and content of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        streams = getattr(container.streams, kind)
        if not streams:
            return []
        found = [p for p in container.demux(streams[0]) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in found]


def test_an_annotated_video_plays_everywhere(tmp_path: Path) -> None:
    annotate(VideoFile(film(tmp_path / "in.mp4", 10)), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == 1


def test_frames_and_colours_survive(tmp_path: Path) -> None:
    annotate(VideoFile(film(tmp_path / "in.mp4", 20)), tmp_path / "out.mp4")
    for k, frame in enumerate(VideoFile(tmp_path / "out.mp4")):
        assert number_in(frame.image) == k
        difference = frame.image[20:40, 20:40].astype(int) - picture(k)[20:40, 20:40]
        assert np.abs(difference).max() <= 6


@pytest.mark.parametrize(
    "base", [Fraction(1, 12800), Fraction(1, 90000), Fraction(1, 30000), Fraction(1001, 30000)]
)
def test_a_variable_clock_is_kept_to_the_tick(tmp_path: Path, base: Fraction) -> None:
    step = 3 if base.numerator > 1 else base.denominator // 10
    ticks = np.cumsum(np.random.default_rng(5).integers(1, step, 40)).tolist()
    images = [picture(k) for k in range(40)]
    options = {"movie_timescale": str(base.denominator)}
    write_video(tmp_path / "in.mp4", images, ticks=ticks, time_base=base, options=options)
    source = VideoFile(tmp_path / "in.mp4")
    annotate(source, tmp_path / "out.mp4")
    wanted = [float(t * base) for t in ticks]
    assert [f.timestamp for f in source] == wanted
    assert [f.timestamp for f in VideoFile(tmp_path / "out.mp4")] == wanted


def test_frames_at_the_same_time_stay_apart_and_in_order(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", plain) as sink:
        for k, second in enumerate((0.0, 1.0, 1.0, 0.5, 2.0)):
            sink.write(one_result([], [], frame=Frame(picture(k), k, second)))
    frames = list(VideoFile(tmp_path / "a.mp4"))
    assert [number_in(f.image) for f in frames] == list(range(5))
    seconds = np.array([f.timestamp for f in frames])
    assert np.allclose(seconds, [0, 1, 1, 1, 2], atol=1e-4)
    assert (np.diff(seconds) > 0).all()


def test_a_live_clock_starts_at_zero(tmp_path: Path) -> None:
    class Live(Source):
        start = None

        def _frames(self) -> Any:
            yield from (Frame(picture(k), k, 54321.5 + k / 10) for k in range(5))

    annotate(Live("live"), tmp_path / "a.mp4")
    seconds = [f.timestamp for f in VideoFile(tmp_path / "a.mp4")]
    assert np.allclose(seconds, np.arange(5) / 10, atol=1e-5)


@pytest.mark.parametrize("size", [(33, 51), (34, 51), (33, 50), (1, 1), (96, 128)])
def test_odd_sizes_are_padded_to_even_by_repeating_the_edge(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image = picture(9, size)
    with AnnotatedVideo(tmp_path / "a.mp4", plain, crf=1) as sink:
        sink.write(one_result([], [], frame=Frame(image, 0, 0.0)))
    got = next(iter(VideoFile(tmp_path / "a.mp4"))).image
    assert got.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    difference = got[-1, : size[1]].astype(int) - got[size[0] - 1, : size[1]]
    assert np.abs(difference).max() <= 16
    assert np.abs(got[0, 0].astype(int) - image[0, 0]).max() <= 24


def test_other_sizes_are_fitted_between_black_bars(tmp_path: Path) -> None:
    white = [np.full((*size, 3), 255, np.uint8) for size in ((60, 80), (60, 40), (30, 80), (7, 9))]
    with AnnotatedVideo(tmp_path / "a.mp4", plain, crf=4) as sink:
        for k, image in enumerate(white):
            sink.write(one_result([], [], frame=Frame(image, k, k / 25)))
    first, tall, wide, small = (f.image for f in VideoFile(tmp_path / "a.mp4"))
    assert first.min() > 245
    assert tall[:, 24:56].min() > 230
    assert max(tall[:, :16].max(), tall[:, 64:].max()) < 12
    assert wide[20:40].min() > 230
    assert max(wide[:10].max(), wide[50:].max()) < 12
    assert small[4:56, 8:72].min() > 230


def test_pixel_shape_is_kept(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert VideoFile(tmp_path / "in.mp4").pixel_aspect == Fraction(16, 11)
    annotate(VideoFile(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert VideoFile(tmp_path / "out.mp4").pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize(
    ("name", "tone"),
    [
        ("in.mp4", Tone("aac", 2.0)),
        ("in.mkv", Tone("libmp3lame", 2.0)),
        ("in.mp4", Tone("libopus", 2.0, 48000)),
        ("in.mkv", Tone("ac3", 2.0)),
    ],
)
def test_sound_is_copied_bit_by_bit_and_in_time(tmp_path: Path, name: str, tone: Tone) -> None:
    source = VideoFile(film(tmp_path / name, 50, tone=tone))
    sink = annotate(source, tmp_path / "out.mp4")
    before, after = packets(tmp_path / name, "audio"), packets(tmp_path / "out.mp4", "audio")
    assert len(before) > 40
    assert [content for _, content in after] == [content for _, content in before]
    assert np.allclose([t for t, _ in after], [t for t, _ in before], atol=0.0011)
    assert sink.notes == []


def test_sound_of_a_transport_stream_stays_in_step_with_its_pictures(tmp_path: Path) -> None:
    ticks = range(500, 550)
    images = [picture(k) for k in range(50)]
    write_video(tmp_path / "in.ts", images, ticks=ticks, tone=Tone("aac", 2.0, begin=20))
    source = VideoFile(tmp_path / "in.ts")
    assert source.start is not None
    assert source.start == pytest.approx(20, abs=0.1)
    annotate(source, tmp_path / "out.mp4")
    assert [f.timestamp for f in VideoFile(tmp_path / "out.mp4")] == pytest.approx(
        [f.timestamp - source.start for f in source], abs=1e-5
    )
    before, after = packets(tmp_path / "in.ts", "audio"), packets(tmp_path / "out.mp4", "audio")
    assert len(before) == len(after)
    shifted = [t - source.start for t, _ in before]
    assert np.allclose([t for t, _ in after], shifted, atol=1e-3)


def test_sound_that_mp4_cannot_hold_becomes_aac(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.avi", 50, "mpeg4", tone=Tone("pcm_s16le", 2.0)))
    sink = annotate(source, tmp_path / "out.mp4")
    assert sink.notes == ["pcm_s16le sound does not fit into mp4, it became AAC"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        sound = [f.to_ndarray() for f in container.decode(audio=0)]
    wave = np.concatenate(sound, axis=1)[0]
    assert wave.size / 44100 == pytest.approx(2.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(wave))
    assert np.argmax(spectrum) * 44100 / wave.size == pytest.approx(440, abs=3)


def test_sound_may_outlast_the_pictures_unless_the_run_ends_early(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.mp4", 50, tone=Tone("aac", 4.0)))
    annotate(source, tmp_path / "whole.mp4")
    annotate(source, tmp_path / "part.mp4", stop_after=25)
    assert packets(tmp_path / "whole.mp4", "audio")[-1][0] == pytest.approx(4, abs=0.1)
    assert packets(tmp_path / "part.mp4", "audio")[-1][0] == pytest.approx(1, abs=0.05)
    assert len(packets(tmp_path / "part.mp4", "video")) == 25


def test_pictures_and_sound_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.mp4", 200, tone=Tone("aac", 8.0)))
    annotate(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = {}
        for kind in ("video", "audio"):
            container.seek(0)
            stream = getattr(container.streams, kind)[0]
            places[kind] = [
                (p.pos, float(p.dts * p.time_base)) for p in container.demux(stream) if p.size
            ]
    merged = sorted(places["video"] + places["audio"])
    seconds = np.array([t for _, t in merged])
    assert np.abs(seconds - np.maximum.accumulate(seconds)).max() < 1.5


def test_a_source_is_never_overwritten_by_its_own_annotation(tmp_path: Path) -> None:
    path = film(tmp_path / "in.mp4", 3)
    before = path.read_bytes()
    with pytest.raises(SinkError, match="is the source itself"):
        AnnotatedVideo(path, plain, VideoFile(path))
    assert path.read_bytes() == before


def test_damaged_sound_is_left_out_and_said(tmp_path: Path) -> None:
    path = film(tmp_path / "in.mkv", 30, tone=Tone("flac", 1.2))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        pieces = [bytes(p) for p in container.demux(audio=0) if p.size > 200]
    for piece in pieces[3:6]:
        place = data.index(piece)
        data[place : place + len(piece)] = bytes(len(piece))
    path.write_bytes(data)
    sink = annotate(VideoFile(path), tmp_path / "out.mp4")
    assert sink.notes == [
        "flac sound does not fit into mp4, it became AAC",
        "3 pieces of the sound are damaged and left out",
    ]
    assert len(list(VideoFile(tmp_path / "out.mp4"))) == 30
    assert len(packets(tmp_path / "out.mp4", "audio")) > 30


# Pictures


def test_a_single_picture_is_written_as_a_picture(tmp_path: Path) -> None:
    result = one_result([], [], frame=Frame(picture(4), 0, 0.0, "a.jpg"))
    write_all(AnnotatedPicture(tmp_path / "out.png", plain), [result])
    got = read_map(tmp_path / "out.png")[:, :, ::-1]
    assert np.array_equal(got, picture(4))
    write_all(AnnotatedPicture(tmp_path / "out.jpg", plain), [result])
    assert (tmp_path / "out.jpg").read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(SinkError, match="holds a single picture, the source has more"):
        write_all(AnnotatedPicture(tmp_path / "two.png", plain), [result, result])


@pytest.mark.parametrize("kind", [AnnotatedVideo, AnnotatedPicture])
def test_without_any_frame_there_is_no_picture_to_make(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / ("a.mp4" if kind is AnnotatedVideo else "a.png")
    with pytest.raises(SinkError, match="there was no frame to write"):
        write_all(kind(path, plain), [])
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_long_for_jpeg_is_refused_in_one_line(tmp_path: Path) -> None:
    long = one_result([], [], frame=Frame(np.zeros((1, 70_000, 3), np.uint8), 0, 0.0))
    with pytest.raises(SinkError, match=r"a\.jpg: 70000 x 1 pixels are too many for JPEG, use PNG"):
        write_all(AnnotatedPicture(tmp_path / "a.jpg", plain), [long])
    write_all(AnnotatedPicture(tmp_path / "a.png", plain), [long])
    assert read_map(tmp_path / "a.png").shape == (1, 70_000, 3)


def test_annotated_pictures_keep_their_names_and_do_not_overwrite_each_other(
    tmp_path: Path,
) -> None:
    names = ["b.jpg", "a.png", "a.webp", "", "a.jpg"]
    run = [
        one_result([], [], frame=Frame(picture(k), k, k / 25, name)) for k, name in enumerate(names)
    ]
    write_all(AnnotatedPictures(tmp_path / "out", plain), run)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "000003.png",
        "a.jpg",
        "a.png",
        "a_000002.png",
        "b.jpg",
    ]
    write_all(LabelMapPngs(tmp_path / "maps"), run)
    assert len(list((tmp_path / "maps").iterdir())) == 5


def test_label_maps_hold_every_id_up_to_the_limit(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[3:5, 7:9] = True
    write_all(LabelMapPngs(tmp_path / "maps"), [one_result([65534], [mask])])
    values = read_map(tmp_path / "maps" / "000000.png")
    assert np.array_equal(values, mask * np.uint16(65535))


# YouTube-VIS


def test_track_scores_categories_and_gaps_follow_the_benchmark(tmp_path: Path) -> None:
    left, right = np.zeros((2, *SIZE), bool)
    left[:, :10], right[:, 20:] = True, True
    run = [
        one_result([7, 2], [left, right], 0, labels=[2, 1], scores=[0.9, 0.25]),
        one_result([2, -1], [right, left], 2, labels=[0, 2], scores=[0.75, 0.5]),
        one_result([7], [left], 3, labels=[2], scores=[0.3]),
    ]
    write_all(YouTubeVISResults(tmp_path / "a.json", video_id=5), run)
    first, second = json.loads((tmp_path / "a.json").read_text())
    assert first["video_id"] == second["video_id"] == 5
    assert first["score"] == pytest.approx(0.6)
    assert second["score"] == 0.5
    assert first["category_id"] == 3
    assert second["category_id"] == 1  # a tie of labels 0 and 1: the smaller
    assert [s is not None for s in first["segmentations"]] == [True, False, False, True]
    assert [s is not None for s in second["segmentations"]] == [True, False, True, False]
    assert np.array_equal(decode(second["segmentations"][2]), right)


def test_several_videos_go_into_one_file(tmp_path: Path) -> None:
    run = random_run(1)
    path = tmp_path / "a.json"
    with YouTubeVISResults(path, 3, category_ids=[10, 20, 30], length=40) as sink:
        for result in run:
            sink.write(result)
        sink.start_video(9)
        sink.start_video(4, length=2)
        sink.write(one_result([0], [np.ones(SIZE, bool)], 0, labels=[2]))
    entries = json.loads(path.read_text())
    tracks = {i for r in run for i in r.track_ids.tolist() if i >= 0}
    assert [e["video_id"] for e in entries] == [3] * len(tracks) + [4]
    assert {len(e["segmentations"]) for e in entries if e["video_id"] == 3} == {40}
    assert len(entries[-1]["segmentations"]) == 2
    assert {e["category_id"] for e in entries} <= {10, 20, 30}
    assert entries[-1]["category_id"] == 30


def test_a_new_video_without_start_video_is_noticed(tmp_path: Path) -> None:
    sink = YouTubeVISResults(tmp_path / "a.json")
    sink.write(one_result([], [], 3))
    with pytest.raises(
        ValueError, match=r"frame 0 comes after frame 3; a new video needs start_video"
    ):
        sink.write(one_result([], [], 0))
    sink.discard()


def test_published_rules_give_the_published_numbers(tmp_path: Path) -> None:
    # Three tracks over four frames, worked out by hand from the published conversion.
    table = [  # frame, id, label, score
        (0, 0, 17, 0.5),
        (0, 1, 3, 0.25),
        (1, 0, 4, 0.25),
        (1, 5, 3, 0.125),
        (2, 0, 17, 0.75),
        (3, 1, 3, 0.75),
        (3, 5, 2, 0.375),
    ]
    masks = {row: np.random.default_rng(k).random(SIZE) < 0.5 for k, row in enumerate(table)}
    run = []
    for frame in range(4):
        rows = [row for row in table if row[0] == frame]
        run.append(
            one_result(
                [row[1] for row in rows],
                [masks[row] for row in rows],
                frame,
                labels=[row[2] for row in rows],
                scores=[row[3] for row in rows],
            )
        )
    write_all(YouTubeVISResults(tmp_path / "a.json"), run)

    def rle(row: tuple[int, int, int, float]) -> dict[str, Any]:
        encoded = coco_mask.encode(np.asfortranarray(masks[row].astype(np.uint8)))
        return {"size": list(SIZE), "counts": encoded["counts"].decode()}

    r = [rle(row) for row in table]
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"video_id": 1, "score": 0.5, "category_id": 18, "segmentations": [r[0], r[2], r[4], None]},
        {"video_id": 1, "score": 0.5, "category_id": 4, "segmentations": [r[1], None, None, r[5]]},
        {"video_id": 1, "score": 0.25, "category_id": 3, "segmentations": [None, r[3], None, r[6]]},
    ]


# Json lines


def test_json_lines_say_everything_about_every_object(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[4:10, 8:20] = True
    frame = Frame(BLANK, 7, 0.28, "seven.jpg")
    result = one_result([3, -1], [mask, mask], labels=[1, 9], scores=[0.9, 0.1], frame=frame)
    write_all(CocoRleLines(tmp_path / "a.ndjson", NAMES), [result])
    line = json.loads((tmp_path / "a.ndjson").read_text())
    objects = line.pop("objects")
    assert line == {"frame": 7, "timestamp": 0.28, "name": "seven.jpg", "size": [24, 32]}
    rle = {"size": [24, 32], "counts": result.detections.masks.rle(0)["counts"]}
    assert objects[0] == {
        "track_id": 3,
        "label": 1,
        "class_name": "dog",
        "score": 0.9,
        "bbox": pytest.approx([8.3, 4.3, 12.0, 6.0]),
        "segmentation": rle,
    }
    assert objects[1]["track_id"] is None
    assert objects[1]["class_name"] == "9"


def test_json_lines_can_be_followed_while_they_grow(tmp_path: Path) -> None:
    sink = CocoRleLines(tmp_path / "a.ndjson")
    for k in range(3):
        sink.write(one_result([], [], k))
        growing = (tmp_path / ".a.ndjson.partial").read_text()
        assert [json.loads(line)["frame"] for line in growing.splitlines()] == list(range(k + 1))
    sink.close()


def test_json_lines_go_to_standard_output_and_leave_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_all(CocoRleLines("-"), random_run(2))
    print("still here")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["frame"] for line in lines[:-1]] == [
        r.frame.index for r in random_run(2)
    ]
    assert lines[-1] == "still here"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_standard_output_that_goes_away_is_left_to_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError), CocoRleLines("-") as sink:
        sink.write(one_result([], []))


# MOTS


def test_mots_gives_a_track_one_class_and_one_id(tmp_path: Path) -> None:
    left, right = np.zeros((2, *SIZE), bool)
    left[:, :10], right[:, 20:] = True, True
    run = [
        one_result([8, 5], [left, right], 0, labels=[1, 0]),
        one_result([8], [left], 1, labels=[0]),
        one_result([8, 6], [left, right], 2, labels=[1, 1]),
    ]
    write_all(MotsText(tmp_path / "a.txt"), run)
    rows = [line.split(" ")[:5] for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert rows == [
        ["1", "2001", "2", "24", "32"],
        ["1", "1001", "1", "24", "32"],
        ["2", "2001", "2", "24", "32"],
        ["3", "2001", "2", "24", "32"],
        ["3", "2002", "2", "24", "32"],
    ]


def test_mots_writes_only_the_classes_it_is_asked_for(tmp_path: Path) -> None:
    mask = np.ones(SIZE, bool)
    run = [one_result([k], [mask], k, labels=[k % 3]) for k in range(6)]
    write_all(MotsText(tmp_path / "a.txt", class_ids={0: 2, 2: 1}, first_frame=0), run)
    rows = [line.split(" ")[:3] for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert rows == [["0", "2001", "2"], ["2", "1001", "1"], ["3", "2002", "2"], ["5", "1002", "1"]]


def test_mots_ids_stay_unique_with_more_than_a_thousand_tracks(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[0, 0] = True
    run = [one_result([k], [mask], k, labels=[k % 2]) for k in range(2100)]
    write_all(MotsText(tmp_path / "a.txt"), run)
    rows = [line.split(" ") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert len({row[1] for row in rows}) == 2100
    assert all(int(row[1]) // 10000 == int(row[2]) for row in rows)


# Tables


def test_the_table_reads_back_to_the_same_numbers(tmp_path: Path) -> None:
    run = random_run(3)
    write_all(TrackTable(tmp_path / "a.csv", NAMES), run)
    write_all(TrackTable(tmp_path / "a.parquet", NAMES), run)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert list(rows[0]) == table.column_names
    wanted = [(r, k) for r in run for k in range(len(r.track_ids)) if r.track_ids[k] >= 0]
    assert len(rows) == table.num_rows == len(wanted)
    for row, stored, (result, k) in zip(rows, table.to_pylist(), wanted, strict=True):
        detections = result.detections
        assert int(row["label"]) == stored["label"] == detections.labels[k]
        assert row["class_name"] == stored["class_name"] == NAMES[detections.labels[k]]
        assert np.float32(row["score"]) == np.float32(stored["score"]) == detections.scores[k]
        box = [np.float32(row[name]) for name in ("x0", "y0", "x1", "y1")]
        assert box == [stored[name] for name in ("x0", "y0", "x1", "y1")]
        assert np.array_equal(box, detections.boxes[k])


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks.table, "ROW_GROUP", 5)
    run = [one_result([1, 2], [np.ones(SIZE, bool)] * 2, k) for k in range(6)]
    write_all(TrackTable(tmp_path / "a.parquet"), run)
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sum(sizes) == 12
    assert len(sizes) >= 2
    assert max(sizes) <= 6


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SinkError, match=r"a\.parquet: Parquet needs pyarrow: pip install pyarrow"):
        TrackTable(tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
