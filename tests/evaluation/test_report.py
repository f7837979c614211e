"""The report of a run: mistakes, confidence, lengths, and the comparison of two runs."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import DatasetError
from sipvideo.evaluation import YTVOS, compare, score
from sipvideo.evaluation.confidence import VideoMatches, precision_intervals, resampled
from sipvideo.evaluation.mistakes import Mistakes, find_mistakes
from tests.evaluation.runs import box, perfect, run, swapped, two_objects
from tests.evaluation.sets import random_set


def _mistakes(truth: Any, results: Any) -> Mistakes:
    loaded = YTVOS(truth)
    return find_mistakes(loaded, loaded.loadRes(results), run(truth, results).params)


def _counts(mistakes: Mistakes) -> dict[str, int]:
    return {str(kind): m.count for kind, m in mistakes.kinds.items() if m.count}


@pytest.mark.parametrize("seed", range(8))
def test_mistakes_begin_from_the_published_figure_and_mending_never_costs(seed: int) -> None:
    truth, results = random_set(seed, damage=False, tracks=6, frames=8)
    mistakes = _mistakes(truth, results)
    assert mistakes.ap50 == pytest.approx(run(truth, results).stats[1], abs=1e-12)
    assert all(mistake.gain >= -1e-12 for mistake in mistakes.kinds.values())
    by_class = [sum(c[kind] for c in mistakes.classes.values()) for kind in mistakes.kinds]
    assert by_class == [mistake.count for mistake in mistakes.kinds.values()]


def test_a_perfect_run_has_no_mistakes() -> None:
    mistakes = _mistakes(two_objects(), perfect(two_objects()))
    assert (_counts(mistakes), mistakes.ap50) == ({}, pytest.approx(1))
    assert mistakes.warnings() == []


def test_each_kind_of_mistake_is_recognised() -> None:
    truth = two_objects()
    first, second = perfect(truth)
    part = {**second, "segmentations": [None] * 5 + second["segmentations"][5:]}
    shifted = {**second, "segmentations": [box(5 + t, 30) for t in range(8)]}
    nowhere = {**second, "segmentations": [box(45, 5)] * 8}
    for results, expected in (
        ([first, first, second], {"duplicate": 1}),
        ([first, {**second, "category_id": 9}], {"class": 1}),
        ([first, part], {"fragmentation": 1}),
        ([first, shifted], {"localisation": 1}),
        ([first, {**shifted, "category_id": 9}], {"class_and_localisation": 1, "missed": 1}),
        ([first, second, nowhere], {"background": 1}),
        ([first], {"missed": 1}),
        (swapped([first, second], 4), {"identity_switch": 2}),
    ):
        assert _counts(_mistakes(truth, results)) == expected


def test_mending_the_only_mistake_gives_everything_back() -> None:
    truth = two_objects()
    first, second = perfect(truth)
    for results, kind in (
        ([first, {**second, "category_id": 9}], "class"),
        ([first], "missed"),
        (swapped([first, second], 4), "identity_switch"),
        ([{**first, "score": 1.0, "segmentations": [box(45)] * 8}, first, second], "background"),
    ):
        mistakes = _mistakes(truth, results)
        gains = {str(key): mistake.gain for key, mistake in mistakes.kinds.items()}
        assert mistakes.ap50 + gains[kind] == pytest.approx(1)


def test_predictions_that_figures_hide_are_reported() -> None:
    truth = two_objects()
    truth["annotations"][0]["iscrowd"] = 1
    first, second = perfect(truth)
    empty = {**second, "segmentations": [None] * 8}
    mistakes = _mistakes(truth, [first, second, empty, {**first, "category_id": 9}])
    assert (mistakes.on_crowds, mistakes.empty, mistakes.without_truth) == (1, 1, 1)
    assert len(mistakes.warnings()) == 3


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_scores_like_the_videos_copied(seed: int) -> None:
    truth, results = random_set(seed, damage=False, tracks=6)
    rng = np.random.default_rng(seed)
    for result in results:
        result["score"] = float(rng.random())  # Copies of tied predictions come in another order.
    matches = VideoMatches.of(run(truth, results))
    weights = resampled(len(matches.videos), 1, seed)
    copies: Any = {**truth, "videos": [], "annotations": []}
    copied = []
    for video, weight in zip(truth["videos"], weights[0].astype(int).tolist(), strict=True):
        for n in range(weight):
            key = 100 * video["id"] + n
            copies["videos"].append({**video, "id": key})
            for source, target in (
                (truth["annotations"], copies["annotations"]),
                (results, copied),
            ):
                target += [{**t, "video_id": key} for t in source if t["video_id"] == video["id"]]
    for n, annotation in enumerate(copies["annotations"], 1):
        annotation["id"] = n
    got = matches.average_precision(weights)
    expected = run(copies, copied).stats
    assert got.mean() == pytest.approx(expected[0], abs=1e-12)
    assert got[0, 0] == pytest.approx(expected[1], abs=1e-12)


def test_a_video_alone_scores_as_if_it_were_the_dataset() -> None:
    truth, results = random_set(9, damage=False, tracks=6)
    for video in score(truth, results, resamples=0).videos:
        alone = {
            **truth,
            "videos": [v for v in truth["videos"] if v["id"] == video.video_id],
            "annotations": [a for a in truth["annotations"] if a["video_id"] == video.video_id],
        }
        stats = run(alone, [r for r in results if r["video_id"] == video.video_id]).stats
        assert (video.ap, video.ap50) == pytest.approx(tuple(stats[:2]))


def test_intervals_hold_the_figure_and_repeat_with_their_seed() -> None:
    truth, results = random_set(4, damage=False, videos=12, tracks=6)
    evaluation = run(truth, results)
    matches = VideoMatches.of(evaluation)
    intervals = precision_intervals(matches, 200)
    assert intervals == precision_intervals(matches, 200)
    assert intervals != precision_intervals(matches, 200, seed=1)
    for name, figure in (("ap", 0), ("ap50", 1), ("ap75", 2)):
        interval = intervals[name]
        assert interval.value == pytest.approx(evaluation.stats[figure], abs=1e-12)
        assert interval.low < interval.high


def _worse(truth: Any) -> list[dict[str, Any]]:
    results = perfect(truth)
    for result in results:
        if result["video_id"] % 4 != 2:
            result["segmentations"] = [None] * len(result["segmentations"])
    return results


def _many_videos() -> Any:
    truth = two_objects(2)
    (video,), annotations = truth["videos"], truth["annotations"]
    truth["videos"] = [{**video, "id": v} for v in range(1, 13)]
    truth["annotations"] = [
        {**a, "id": 2 * v + n, "video_id": v}
        for v in range(1, 13)
        for n, a in enumerate(annotations)
    ]
    return truth


def test_two_runs_are_compared_with_significance() -> None:
    truth = _many_videos()
    good, bad = score(truth, perfect(truth)), score(truth, _worse(truth))
    differences = compare(bad, good)
    for name in ("ap", "ap50", "ap75", "hota"):
        assert differences[name].value > 0
        assert differences[name].low > 0
        assert differences[name].p_value < 0.01
    for same in compare(good, good, 50).values():
        assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    other = {**truth, "videos": truth["videos"][:6], "annotations": truth["annotations"][:12]}
    with pytest.raises(DatasetError, match="same videos"):
        compare(good, score(other, perfect(other)))


def test_the_report_holds_every_figure_as_plain_values() -> None:
    truth, results = random_set(6, damage=False, tracks=6, frames=30)
    for annotation in truth["annotations"]:
        del annotation["occlusion"]
    before = copy.deepcopy((truth, results))
    report = score(truth, results, resamples=20)
    assert (truth, results) == before
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    stats = run(truth, results).stats
    assert list(content["figures"].values()) == stats.tolist()
    assert list(content["figures"])[6:9] == ["ar_1", "ar_10", "ar_100"]
    assert content["intervals"].keys() == {"ap", "ap50", "ap75", "hota"}
    scored = [c["ap"] for c in content["classes"] if c["ap"] > -1]
    assert np.mean(scored) == pytest.approx(stats[0])
    assert sum(v["objects"] for v in content["videos"]) == len(truth["annotations"])
    assert content["tracking"]["score_threshold"] == 0.5
    assert sum(n["objects"] for n in content["lengths"].values()) <= len(truth["annotations"])


def test_occlusion_is_scored_where_all_annotations_carry_it() -> None:
    truth, results = random_set(6, damage=False)
    figures = score(truth, results, resamples=0).figures
    assert len(figures) == 18
    assert list(figures)[6] == "ap_occlusion_light"
    assert list(figures)[15] == "ar_occlusion_light"


def test_lengths_divide_the_objects() -> None:
    truth = two_objects(30)
    truth["annotations"][0]["segmentations"][10:] = [None] * 20
    report = score(truth, perfect(truth)[:1], resamples=0)
    lengths = {name: (s.objects, round(s.ap, 9)) for name, s in report.lengths.items()}
    assert lengths == {"short": (1, 1), "medium": (0, -1), "long": (1, 0)}


def test_nothing_to_score_still_gives_a_report() -> None:
    truth = two_objects()
    assert score(truth, [], resamples=10).figures["ap"] == 0
    empty = score({"videos": [], "categories": [], "annotations": []}, [])
    assert set(empty.figures.values()) == {-1}
    assert (empty.intervals, empty.classes, empty.videos) == ({}, (), ())
    json.dumps(empty.to_json(), allow_nan=False)


def test_compat_reports_unknown_categories_that_strict_refuses() -> None:
    truth = two_objects()
    results = [*perfect(truth), {**perfect(truth)[0], "category_id": 77}]
    assert "unknown categories" in score(truth, results, mode="compat", resamples=0).warnings[0]
    with pytest.raises(DatasetError, match="category 77"):
        score(truth, results)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_boxes_are_reported_too(kind: Any) -> None:
    truth = two_objects()
    report = score(truth, perfect(truth), kind=kind, resamples=0)
    assert report.figures["ap"] == pytest.approx(1)
    assert report.tracking.combined.hota == pytest.approx(1)
