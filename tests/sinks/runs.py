"""Results to write, and the slow definitions of what must come back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.masks import CompactMasks
from sipvideo.sinks import (
    AnnotatedPicture,
    AnnotatedPictures,
    AnnotatedVideo,
    AppearanceTable,
    CocoRleLines,
    LabelMapPngs,
    MotsText,
    Sink,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.structures import Detections, Frame, FrameResult

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


def read_map(path: Path) -> NDArray[Any]:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert values is not None
    return values


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
        AppearanceTable(folder / "a.npz"),
    ]


def assert_whole(path: Path) -> None:
    """The output can be read from beginning to end."""
    if path.is_dir():
        for file in path.iterdir():
            assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED) is not None
    elif path.suffix == ".mp4":
        with av.open(str(path)) as container:
            assert list(container.decode(video=0))
    elif path.suffix == ".png":
        assert cv2.imread(str(path)) is not None
    elif path.suffix == ".json":
        assert json.loads(path.read_text())
    elif path.suffix == ".parquet":
        assert pyarrow.parquet.read_table(path).num_rows
    elif path.suffix == ".npz":
        assert len(np.load(path)["track_id"])
    else:
        text = path.read_text()
        assert text.endswith("\n")
        if path.suffix == ".ndjson":
            assert all(map(json.loads, text.splitlines()))
