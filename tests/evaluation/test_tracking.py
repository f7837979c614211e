"""HOTA, CLEAR and identity figures."""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.evaluation import YTVOS
from sipvideo.evaluation.tracking import TrackingCounts, evaluate_tracking
from tests.evaluation.runs import perfect, stored, swapped, two_objects
from tests.evaluation.sets import random_set


def _report(truth: Any, results: Any, threshold: float = 0.5, **kwargs: Any) -> Any:
    loaded = YTVOS(truth)
    return evaluate_tracking(loaded, loaded.loadRes(results), threshold, **kwargs)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_stored_figures_of_trackeval_are_reproduced(case: int) -> None:
    expected = stored("tracking.json.gz")[case]
    report = _report(expected["truth"], expected["results"], 0.4)
    for which in ("combined", "class_average"):
        got = asdict(getattr(report, which))
        got = {key: got[key] for key in expected[which]}
        assert got == pytest.approx(expected[which], abs=1e-9)
    assert expected["combined"]["id_switches"] > 0


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_trackeval_where_it_is_installed(seed: int) -> None:
    """TrackEval is the reference, but no dependency: it pins old numpy and needs plotting libraries."""
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = pytest.importorskip("trackeval.metrics")
        reference = metrics.HOTA(), metrics.CLEAR(), metrics.Identity()
    truth, results = random_set(seed, damage=False, frames=10, tracks=6, categories=1)
    report = _report(truth, results, 0.2)
    loaded = YTVOS(truth)
    predictions = loaded.loadRes(results)
    found: dict[str, Any] = {}
    for video in loaded.getVidIds():
        data = _trackeval_data(loaded, predictions, video)
        for metric in reference:
            found.setdefault(metric.get_name(), {})[video] = metric.eval_sequence(data)
    with contextlib.redirect_stdout(io.StringIO()):
        hota, clear, identity = (m.combine_sequences(found[m.get_name()]) for m in reference)
    got = report.combined
    for ours, theirs in (
        (got.hota, hota["HOTA"].mean()),
        (got.det_a, hota["DetA"].mean()),
        (got.ass_a, hota["AssA"].mean()),
        (got.loc_a, hota["LocA"].mean()),
        (got.mota, clear["MOTA"]),
        (got.smota, clear["sMOTA"]),
        (got.motp, clear["MOTP"]),
        (got.id_switches, clear["IDSW"]),
        (got.fragmentations, clear["Frag"]),
        (got.idf1, identity["IDF1"]),
        (got.idp, identity["IDP"]),
        (got.idr, identity["IDR"]),
    ):
        assert ours == pytest.approx(theirs, abs=1e-9)


def _trackeval_data(truth: YTVOS, found: YTVOS, video: int) -> dict[str, Any]:
    frames = len(truth.vids[video]["file_names"])
    objects, predictions = (
        [
            [api.annToRLE(a, t) if s else None for t, s in enumerate(a["segmentations"])]
            for a in api.vidToAnns[video]
            if any(a["segmentations"]) and a.get("score", 1) >= 0.2
        ]
        for api in (truth, found)
    )
    ids = [
        [np.array([k for k, m in enumerate(tracks) if m[t]], int) for t in range(frames)]
        for tracks in (objects, predictions)
    ]
    similarity = []
    for t in range(frames):
        a, b = [objects[k][t] for k in ids[0][t]], [predictions[k][t] for k in ids[1][t]]
        iou = coco_mask.iou(a, b, [0] * len(b)) if a and b else np.zeros((len(a), len(b)))
        similarity.append(iou)
    return {
        "num_timesteps": frames,
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": similarity,
        "num_gt_ids": len(objects),
        "num_tracker_ids": len(predictions),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_dets": sum(map(len, ids[1])),
    }


def test_a_perfect_tracker_scores_one_and_a_swap_costs_association_alone() -> None:
    truth = two_objects()
    scores = _report(truth, perfect(truth)).combined
    for name in ("hota", "det_a", "ass_a", "loc_a", "idf1", "mota", "smota", "motp"):
        assert getattr(scores, name) == pytest.approx(1)
    switched = _report(truth, swapped(perfect(truth), 4)).combined
    assert switched.det_a == pytest.approx(1)
    # Each track follows each object for 4 of 8 frames: 4 / (8 + 8 - 4).
    assert switched.ass_a == pytest.approx(1 / 3)
    assert (switched.id_switches, switched.idf1, switched.mota) == (2, 0.5, 14 / 16)


def test_an_object_lost_for_a_while_is_fragmented() -> None:
    truth = two_objects()
    results = perfect(truth)
    results[0]["segmentations"][3:5] = [None] * 2
    scores = _report(truth, results).combined
    assert (scores.fragmentations, scores.false_negatives, scores.id_switches) == (1, 2, 0)


def test_only_tracks_above_the_threshold_count() -> None:
    truth = two_objects()
    results = [*perfect(truth), *perfect(truth, 0.3)]
    assert _report(truth, results).combined.hota == pytest.approx(1)
    assert _report(truth, results, 0.3).combined.false_positives == 16
    assert _report(truth, results, 0.95).combined.false_negatives == 16


def test_boxes_are_tracked_too() -> None:
    truth = two_objects()
    assert _report(truth, perfect(truth), kind="bbox").combined.hota == pytest.approx(1)


def test_nothing_to_track_gives_figures_without_warnings() -> None:
    truth = two_objects()
    assert _report(truth, []).combined.hota == 0
    assert _report({**truth, "annotations": []}, perfect(truth)).combined.false_positives == 16
    nothing = _report({"videos": [], "categories": [], "annotations": []}, [])
    assert (nothing.combined, nothing.classes) == (TrackingCounts.none().scores(), {})
    assert _report(truth, perfect(truth), video_ids=[]).classes == {}


def test_classes_are_scored_apart() -> None:
    truth = two_objects()
    truth["annotations"][1]["category_id"] = 9
    results = perfect(truth)
    results[0]["segmentations"] = [None] * 8
    report = _report(truth, results)
    assert (report.classes[4].hota, report.classes[9].hota) == pytest.approx((0, 1))
    assert report.class_average.hota == pytest.approx(0.5)
    assert report.to_json()["classes"]["9"]["hota"] == pytest.approx(1)
