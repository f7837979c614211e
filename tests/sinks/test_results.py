"""YouTube-VIS json, json lines and MOTS text."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.sinks import (
    CocoRleLines,
    MotsText,
    TrackTable,
    YouTubeVISResults,
)
from sipvideo.structures import Frame
from tests.sinks.runs import (
    BLANK,
    NAMES,
    SIZE,
    decode,
    one_result,
    random_run,
    write_all,
)

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


def test_json_lines_and_tables_mark_what_was_filled_in(tmp_path: Path) -> None:
    result = one_result([3, -1, 5], [np.ones(SIZE, bool)] * 3)
    result = replace(result, filled=np.array([False, False, True]))
    write_all(CocoRleLines(tmp_path / "a.ndjson", NAMES), [result])
    objects = json.loads((tmp_path / "a.ndjson").read_text())["objects"]
    assert [o.get("filled", False) for o in objects] == [False, False, True]
    write_all(TrackTable(tmp_path / "a.csv"), [result])
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [(row["track_id"], row["filled"]) for row in rows] == [("3", "0"), ("5", "1")]


def test_json_lines_and_tables_mark_who_came_back(tmp_path: Path) -> None:
    result = one_result([3, -1, 5], [np.ones(SIZE, bool)] * 3)
    result = replace(result, returned=np.array([0, 0, 7.25], np.float32))
    write_all(CocoRleLines(tmp_path / "a.ndjson", NAMES), [result])
    objects = json.loads((tmp_path / "a.ndjson").read_text())["objects"]
    assert [o.get("returned") for o in objects] == [None, None, 7.25]
    write_all(TrackTable(tmp_path / "a.csv"), [result])
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [(row["track_id"], float(row["returned"])) for row in rows] == [("3", 0), ("5", 7.25)]


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
