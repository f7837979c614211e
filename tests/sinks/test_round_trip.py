"""One run through all data formats: ids, times and masks come back from each."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.sinks import (
    CocoRleLines,
    LabelMapPngs,
    MotsText,
    Sink,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.structures import FrameResult
from tests.sinks.runs import (
    NAMES,
    SIZE,
    assert_same_masks,
    decode,
    expected_masks,
    random_run,
    read_map,
    without_overlaps,
)


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
