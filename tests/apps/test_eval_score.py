"""``sipvideo eval`` scores and compares: from files of results to figures."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.apps import youtube_vis
from sipvideo.apps.eval import command as eval
from sipvideo.apps.main import main
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from tests.apps.oracle import Json, Oracle, class_names, errors, read, run, saved

NO_RESAMPLES = ("--resamples", "0")


def test_swapping_two_identities_costs(dataset: Path, perfect: list[Json], tmp_path: Path) -> None:
    results = copy.deepcopy(perfect)
    first, second = (r["segmentations"] for r in results[:2])
    assert results[0]["video_id"] == results[1]["video_id"]
    first[2:], second[2:] = second[2:], first[2:]
    assert run(dataset, "--results", saved(tmp_path / "a.json", results), "-o", tmp_path) == 0
    scores = read(tmp_path / "scores.json")
    assert scores["figures"]["ap"] < 1.0
    assert scores["tracking"]["combined"]["ass_a"] < 1.0
    assert scores["run"] is None


def test_results_without_a_folder_are_only_printed(
    dataset: Path,
    perfect: list[Json],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "a.json", perfect)
    assert main(["eval", str(dataset), "--results", str(path)]) == 0
    told = capsys.readouterr().out
    assert [line.split()[-4] for line in told.splitlines() if line.startswith("  AP50")] == [
        "1.000"
    ]
    assert "saved" not in told
    assert list(tmp_path.iterdir()) == [path]


def test_no_results_at_all_score_zero(dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, "--results", saved(tmp_path / "a.json", []), "-o", tmp_path) == 0
    assert read(tmp_path / "scores.json")["figures"]["ap"] == 0.0


def _damaged(results: list[Json], what: str) -> Any:
    results = copy.deepcopy(results)
    second = results[1]
    if what == "short":
        second["segmentations"].pop()
    elif what == "size":
        t = next(t for t, m in enumerate(second["segmentations"]) if m)
        second["segmentations"][t] = CompactMasks.from_dense(np.ones((1, 9, 9))).rle(0)
    elif what == "category":
        second["category_id"] = 1
    elif what == "video":
        second["video_id"] = 1
    elif what == "score":
        del second["score"]
    elif what == "nan":
        second["score"] = float("nan")
    elif what == "object":
        return {"results": results}
    return results


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("short", ["track 2 (video", "expected 4 segmentations", "got 3", "frame 3"]),
        ("size", ["track 2 (video", "frame ", "expected a mask of 72 x 128"]),
        ("category", ["track 2 (video", "there is no category 1"]),
        ("video", ["track 2", "there is no video 1"]),
        ("score", ["track 2", "'score' is missing"]),
        ("nan", ["track 2", "not a finite number"]),
        ("object", ["expected a JSON list"]),
    ],
)
def test_a_damaged_results_file_is_one_line_that_says_what_and_where(
    what: str,
    told: list[str],
    dataset: Path,
    perfect: list[Json],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = saved(tmp_path / "bad.json", _damaged(perfect, what))
    assert run(dataset, "--results", path, "-o", tmp_path / "o") == 2
    (line,) = errors(capsys)
    assert all(word in line for word in ["bad.json", *told]), line
    assert not (tmp_path / "o").exists()
    if what in ("short", "size", "category"):
        assert run(dataset, "--results", path, "--mode", "compat", *NO_RESAMPLES) == 0


def test_files_that_are_cut_or_missing_are_one_line(
    dataset: Path, perfect: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "cut.json", perfect)
    path.write_text(path.read_text()[:-100])
    nothing = saved(
        tmp_path / "nothing.json", {"videos": [{}], "categories": [], "annotations": []}
    )
    other = saved(tmp_path / "other.json", {"info": {}})
    lists = saved(tmp_path / "lists.json", {**read(dataset), "annotations": "none"})
    for arguments in ((dataset, "--results", path), (dataset, "--results", tmp_path / "no.json")):
        assert run(*arguments) == 2
    for broken in (tmp_path / "no.json", nothing, other, path, lists):
        assert main(["eval", str(broken), "-o", str(tmp_path / "o")]) == 2
    told = errors(capsys)
    assert len(told) == 7
    assert "not valid JSON" in told[0]
    assert "key 'id' is missing" in told[3]
    assert "neither videos nor images" in told[4]
    assert f"{lists}: annotations: expected a list of objects" in told[6]


def test_a_damaged_annotation_is_named_with_its_file(
    dataset: Path, perfect: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read(dataset)
    del content["annotations"][1]["video_id"]
    path = saved(tmp_path / "truth.json", content)
    assert run(path, "--results", saved(tmp_path / "a.json", perfect)) == 2
    key = content["annotations"][1]["id"]
    assert f"{path}: annotation {key}: expected a number as video_id" in errors(capsys)[0]


def test_compare_tells_which_differences_are_significant(
    dataset: Path, perfect: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = copy.deepcopy(perfect)
    for result in worse:
        result["segmentations"][:3] = [None] * 3
    a, b = saved(tmp_path / "a.json", perfect), saved(tmp_path / "b.json", worse)
    assert run(dataset, "--compare", a, b, "-o", tmp_path / "o") == 0
    told = capsys.readouterr().out
    content = read(tmp_path / "o" / "comparison.json")
    assert content["b_minus_a"]["ap"]["value"] == pytest.approx(-1.0)
    assert content["b_minus_a"]["ap"]["p_value"] < 0.05
    assert content["a"]["figures"]["ap"] == 1.0
    (row,) = (line for line in told.splitlines() if line.startswith("AP50"))
    assert row.split()[1:4] == ["1.000", "0.000", "-1.000"]
    assert row.endswith("  significant")
    assert run(dataset, "--compare", a, a) == 0
    assert capsys.readouterr().out.count("not significant") == 4
    assert run(dataset, "--compare", a, b, *NO_RESAMPLES) == 0


def test_missing_pictures_cost_the_strips_alone(
    dataset: Path, perfect: list[Json], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone" / "truth.json"
    alone.parent.mkdir()
    alone.write_bytes(dataset.read_bytes())
    results = saved(tmp_path / "a.json", perfect)
    assert run(alone, "--results", results, "-o", tmp_path / "o") == 0
    assert "the report shows no pictures" in capsys.readouterr().err
    assert "data:image" not in (tmp_path / "o" / "report.html").read_text()
    assert run(alone, "--results", results, "-o", tmp_path / "o", "--images", tmp_path) == 2
    assert "AP (IoU 0.50:0.95)" in capsys.readouterr().out
    assert run(alone, "--results", results, "-o", tmp_path / "p", "--no-html") == 0
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["scores.json"]


def _coco(dataset: Path, path: Path) -> Path:
    """Every frame of a dataset of videos as a picture of its own."""
    content = read(dataset)
    images: list[Json] = []
    annotations: list[Json] = []
    for video in content["videos"]:
        for t, name in enumerate(video["file_names"]):
            size = {"height": video["height"], "width": video["width"]}
            images.append({"id": 1000 + 3 * len(images), "file_name": name, **size})
            for a in content["annotations"]:
                if a["video_id"] == video["id"] and a["segmentations"][t]:
                    entry = {
                        "segmentation": a["segmentations"][t],
                        "bbox": a["bboxes"][t],
                        "iscrowd": 0,
                    }
                    ids = {"image_id": images[-1]["id"], "category_id": a["category_id"]}
                    annotations.append({"id": len(annotations) + 1, **ids, **entry})
    return saved(
        path, {"images": images, "annotations": annotations, "categories": content["categories"]}
    )


def test_pictures_get_the_figures_of_boxes_and_masks(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sipvideo.apps.eval.parts.PICTURES_PER_PART", 5)
    path = _coco(dataset, dataset.parent / "pictures.json")
    oracle = Oracle(dataset, class_names(dataset))
    segmenter = VideoSegmenter(oracle, oracle, class_names(dataset))
    assert eval.run(eval.parse([str(path), "-o", str(tmp_path)]), lambda _: segmenter) == 0
    scores = read(tmp_path / "scores.json")
    assert (scores["segm"]["ap"], scores["bbox"]["ap"]) == pytest.approx((1.0, 1.0))
    assert len(list((tmp_path / "parts").iterdir())) == 3
    assert capsys.readouterr().out.splitlines()[0].split() == ["masks", "boxes"]
    assert "Mask AP" in (tmp_path / "report.html").read_text()
    results = read(tmp_path / "results.json")
    results[3]["image_id"] = 5
    assert run(path, "--results", saved(tmp_path / "bad.json", results), names=["disc"]) == 2
    assert "bad.json: result 4: there is no picture 5" in errors(capsys)[0]
    assert run(path, "--compare", tmp_path / "a", tmp_path / "b", names=["disc"]) == 2


def test_masks_of_pictures_are_ranked_as_the_model_judges_them(
    dataset: Path, tmp_path: Path
) -> None:
    path = _coco(dataset, dataset.parent / "ranked.json")
    oracle = Oracle(dataset, class_names(dataset))

    def detect(frame: Frame) -> Detections:
        found = oracle(frame)
        return replace(found, mask_scores=np.linspace(0.1, 0.3, len(found), dtype=np.float32))

    segmenter = VideoSegmenter(detect, oracle, class_names(dataset))
    assert eval.run(eval.parse([str(path), "-o", str(tmp_path)]), lambda _: segmenter) == 0
    results = read(tmp_path / "results.json")
    assert all(result["score"] == pytest.approx(0.9) for result in results)
    assert {0.1, 0.3} <= {round(result["mask_score"], 6) for result in results}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--results", "a.json", "--compare", "a.json", "b.json"],
        ["--results", "a.json", "--weights", "b.pth"],
        ["--results", "a.json", "--zip"],
        ["--resamples", "-1"],
        ["--classes-per-track", "0"],
        ["--mode", "loose"],
    ],
)
def test_wrong_usage_ends_before_anything_is_read(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        eval.parse(["no.json", *arguments])
    assert stopped.value.code == 2


def test_youtube_vis_is_the_same_command() -> None:
    assert youtube_vis.main is eval.main
