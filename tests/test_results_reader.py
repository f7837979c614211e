"""Saved results read back: the same objects in the same frames, or one line that says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import DatasetError
from sipvideo.results import Results
from sipvideo.results_reader import SavedRun
from sipvideo.structures import FrameResult
from tests.scenes import REALISTIC, clock, crowd, film

NAMES = ("person", "dog", "cat")


class Clip:
    path = frame_count = duration = fps = start = time_base = None


def run(embedded: bool = True) -> list[FrameResult]:
    """A crowd that is missed at times, with empty frames at both ends and in the middle."""
    results = []
    for shot in film(crowd(4, 3, seed=3), clock(3, 10), faults=REALISTIC, seed=2):
        found, ids = shot.detections, shot.detection_ids
        rows = (ids >= 0).nonzero()[0] if shot.frame.index % 9 else np.zeros(0, np.int64)
        if shot.frame.index >= 28:
            rows = rows[:0]
        found = found[rows]
        if not embedded:
            found = replace(found, embeddings=np.zeros((len(found), 0), np.float32))
        results.append(FrameResult(shot.frame, found, ids[rows], 1.0))
    return results


def save(folder: Path, kinds: str, results: list[FrameResult]) -> SavedRun:
    clip: Any = Clip()
    with Results(clip, NAMES, folder, kinds.split(",")) as sinks:
        for result in results:
            sinks.write(result)
    return SavedRun(folder)


@pytest.mark.parametrize("kinds", ["lines", "json,csv", "json,parquet", "json"])
def test_what_was_saved_comes_back(tmp_path: Path, kinds: str) -> None:
    results = run()
    results[4] = replace(results[4], filled=np.arange(len(results[4].track_ids)) == 1)
    saved = save(tmp_path, kinds, results)
    back = list(saved.results())
    assert [r.frame.index for r in back] == [r.frame.index for r in results]
    whole = kinds != "json"
    for was, now in zip(results, back, strict=True):
        assert was.frame.size == now.frame.size or not len(now.track_ids)
        assert now.frame.timestamp == pytest.approx(
            was.frame.timestamp if whole else was.frame.index / 25
        )
        if not whole:  # identities have no names there
            assert len(was.track_ids) == len(now.track_ids)
            continue
        assert was.track_ids.tolist() == now.track_ids.tolist()
        assert np.array_equal(was.detections.labels, now.detections.labels)
        assert np.array_equal(was.detections.scores, now.detections.scores)
        np.testing.assert_allclose(was.detections.boxes, now.detections.boxes, atol=1e-4)
        shared = was.detections.masks.iou(now.detections.masks)
        assert (np.diag(shared)[was.detections.masks.areas() > 0] == 1).all()
    marks = [r.frame.index for r in back if r.filled is not None]
    assert marks == ([4] if whole else [])
    assert bool(saved.notes) is not whole
    assert saved.class_names == (NAMES if whole else ("0", "1", "2"))


def test_looks_come_back_second_by_second(tmp_path: Path) -> None:
    results = run()
    saved = save(tmp_path, "lines,appearance", results)
    assert saved.embeddings
    likeness = []
    for was, now in zip(results, saved.results(), strict=True):
        a, b = was.detections.embeddings, now.detections.embeddings
        assert a.shape == b.shape
        likeness += ((a * b).sum(1) / np.linalg.norm(a, axis=1)).tolist()
    assert np.mean(likeness) > 0.75  # of single noisy views with their second's mean
    assert not save(tmp_path / "blind", "lines", results).embeddings
    without = save(tmp_path / "none", "lines,appearance", run(embedded=False))
    assert not without.embeddings


def test_pictures_are_laid_under_results_by_frame_number(tmp_path: Path) -> None:
    results = run()
    saved = save(tmp_path, "lines", results)
    frames = [replace(r.frame, timestamp=r.frame.timestamp + 5) for r in results]
    pictured = list(saved.on(frames[3:20]))
    assert [r.frame.index for r in pictured] == list(range(3, 20))
    assert all(p.frame.image is f.image for p, f in zip(pictured, frames[3:20], strict=True))
    assert pictured[0].frame.timestamp == frames[3].timestamp
    small = replace(frames[0], image=frames[0].image[::2])
    with pytest.raises(DatasetError, match=r"frame 0: the results are of \(120, 160\)"):
        list(saved.on([small]))


def test_folders_that_hold_nothing_to_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: expected the folder of a run's results"):
        SavedRun(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"holds neither results\.jsonl nor results\.json"):
        SavedRun(tmp_path)


def spoil_line(text: str) -> str:
    lines = text.splitlines(keepends=True)
    lines[2] = "{}\n"
    return "".join(lines)


@pytest.mark.parametrize(
    ("kinds", "name", "spoil", "message"),
    [
        ("lines", "results.jsonl", spoil_line, r"line 3: 'size' is missing"),
        ("lines", "results.jsonl", lambda t: t[: len(t) // 2], r"line \d+: not as sipvideo writes"),
        (
            "json,csv",
            "objects.csv",
            lambda t: t[:-1].rpartition("\n")[0] + "\n",
            "does not tell of",
        ),
        (
            "lines",
            "results.jsonl",
            lambda t: t + t,
            r"line \d+: .*frame 0 comes after frame",
        ),
        (
            "lines",
            "results.jsonl",
            lambda t: re.sub(r'(?m)^(\{[^{]*?"size": \[)\d+', r"\g<1>7", t),
            "a mask of",
        ),
        ("json,csv", "objects.csv", lambda t: t.replace(",0,", ",x,"), "not as sipvideo writes it"),
        ("json,csv", "results.json", lambda t: "{}", "not as sipvideo writes it|holds no object"),
        ("json,csv", "results.json", lambda t: t[:-9], "not valid JSON"),
    ],
)
def test_damage_is_told_in_one_line(
    tmp_path: Path, kinds: str, name: str, spoil: Callable[[str], str], message: str
) -> None:
    save(tmp_path, kinds, run())
    path = tmp_path / name
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DatasetError, match=message) as caught:
        list(SavedRun(tmp_path).results())
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "name", "data", "message"),
    [
        ("lines", "results.jsonl", b"\xff\xfe{\x00", r"line 1: not as sipvideo writes it"),
        ("lines", "results.jsonl", b"[" * 100_000, r"line 1: not as sipvideo writes it"),
        ("lines", "results.jsonl", b'{"size": [1e999, 5]}', r"line 1: not as sipvideo writes it"),
        ("json,csv", "objects.csv", b"frame,track_id\n\xe9,1\n", "not as sipvideo writes it"),
    ],
)
def test_bytes_that_are_no_text_are_told_in_one_line(
    tmp_path: Path, kinds: str, name: str, data: bytes, message: str
) -> None:
    save(tmp_path, kinds, run())
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        list(SavedRun(tmp_path).results())


def test_a_damaged_table_of_looks_is_as_good_as_none(tmp_path: Path) -> None:
    save(tmp_path, "lines,appearance", run())
    path = tmp_path / "appearance.npz"
    whole = path.read_bytes()
    for data in (b"PK not really", whole[:200], whole.replace(b"PK\x01\x02", b"PK\x01\x09")):
        path.write_bytes(data)
        assert not SavedRun(tmp_path).embeddings


def test_the_source_is_the_one_of_the_summary(tmp_path: Path) -> None:
    save(tmp_path, "lines", run())
    assert SavedRun(tmp_path).source is None
    (tmp_path / "summary.json").write_text(json.dumps({"input": "street.mp4"}))
    assert SavedRun(tmp_path).source == "street.mp4"
    (tmp_path / "summary.json").write_text("[")
    assert SavedRun(tmp_path).source is None
