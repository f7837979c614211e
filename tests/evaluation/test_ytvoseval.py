"""The published figures, quirk by quirk."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import DatasetError
from sipvideo.evaluation import YTVOS, OVISeval, YTVOSeval
from sipvideo.evaluation.cells import Params
from tests.evaluation import plain
from tests.evaluation.runs import SIZE, box, perfect, run, stored, swapped, two_objects
from tests.evaluation.sets import random_set, rle


def test_the_stored_case_of_the_published_evaluator_is_reproduced() -> None:
    case = stored("ytvis.json.gz")
    evaluation = run(case["truth"], case["results"])
    np.testing.assert_allclose(evaluation.stats, case["figures"], rtol=0, atol=1e-12)
    for key, expected in case["ious"].items():
        video, category = map(int, key.split("_"))
        got = np.asarray(evaluation.ious[video, category])
        np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_figures_equal_their_slow_definition(seed: int) -> None:
    truth, results = random_set(seed)
    expected = plain.figures(truth, results)
    np.testing.assert_allclose(run(truth, results).stats, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(25, 33))
def test_figures_without_categories_equal_their_slow_definition(seed: int) -> None:
    truth, results = random_set(seed)

    def pooled(p: Params) -> None:
        p.useCats = 0

    # Pooled tracks come class by class, and ties keep that order.
    results.sort(key=lambda r: r["category_id"])
    truth["annotations"].sort(key=lambda a: a["category_id"])
    expected = plain.figures(truth, results, with_classes=False)
    got = run(truth, results, change=pooled).stats
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_strict_gives_the_same_figures_where_it_gives_any(seed: int) -> None:
    truth, results = random_set(seed, damage=False)
    assert (run(truth, results, mode="strict").stats == run(truth, results).stats).all()


def test_a_perfect_detector_scores_one_and_a_swap_of_identities_lowers_it() -> None:
    truth = two_objects()
    results = perfect(truth)
    assert run(truth, results, mode="strict").stats[0] == pytest.approx(1)
    assert run(truth, swapped(results, 6)).stats[0] < 0.7
    assert run(truth, swapped(results, 4)).stats[0] == 0


def test_nothing_given_is_changed() -> None:
    truth, results = random_set(5)
    before = copy.deepcopy((truth, results))
    run(truth, results)
    assert (truth, results) == before


def test_no_results_score_zero_and_no_truth_scores_minus_one() -> None:
    truth = two_objects()
    assert run(truth, []).stats.tolist() == [0, 0, 0, 0, -1, -1, 0, 0, 0, 0, -1, -1]
    truth["annotations"] = []
    assert (run(truth, perfect(two_objects())).stats == -1).all()
    empty = {"videos": [], "categories": [], "annotations": []}
    assert (run(empty, []).stats == -1).all()


def test_compat_compares_no_further_than_the_shorter_list() -> None:
    truth, results = two_objects(4), perfect(two_objects(4))
    for result in results:
        del result["segmentations"][2:]
    assert run(truth, results).stats[0] == pytest.approx(1)
    with pytest.raises(DatasetError, match=r"track 1 \(video 7\): expected 4 .* got 2; .* frame 2"):
        run(truth, results, mode="strict")


def test_compat_never_finds_annotation_zero() -> None:
    truth = two_objects()
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    assert run(truth, perfect(truth)).stats[8] == 0.5
    with pytest.raises(DatasetError, match=r"annotation 0 \(video 7\): id 0"):
        run(truth, perfect(truth), mode="strict")


def test_strict_refuses_an_annotation_id_used_twice() -> None:
    truth = two_objects()
    truth["annotations"][1]["id"] = 1
    with pytest.raises(DatasetError, match=r"annotation 1 \(video 7\): used twice"):
        run(truth, perfect(truth), mode="strict")


def test_compat_drops_frames_with_masks_of_another_size() -> None:
    truth, results = two_objects(4), perfect(two_objects(4))
    for result in results:
        result["segmentations"][1] = rle(np.ones((3, 5), bool))
    assert run(truth, results).stats[0] == pytest.approx(1)
    with pytest.raises(DatasetError, match=r"track 1 \(video 7\): frame 1: .* 40 x 60 .*\[3, 5\]"):
        run(truth, results, mode="strict")


def test_compat_drops_unknown_categories_and_strict_names_them() -> None:
    truth, results = two_objects(), perfect(two_objects())
    results.append({**results[0], "category_id": 77})
    assert run(truth, results).stats[0] == pytest.approx(1)
    with pytest.raises(DatasetError, match=r"track 3 \(video 7\): there is no category 77"):
        run(truth, results, mode="strict")


def test_compat_ranks_a_score_that_is_no_number_last_and_strict_refuses_it() -> None:
    truth, results = two_objects(), perfect(two_objects())
    results[0]["score"] = float("nan")
    evaluation = run(truth, results)
    assert evaluation.stats[0] == pytest.approx(1)
    assert evaluation.evalVids[0] is not None
    assert evaluation.evalVids[0]["dtIds"] == [2, 1]
    with pytest.raises(DatasetError, match=r"track 1 \(video 7\): the score nan"):
        run(truth, results, mode="strict")


def test_an_area_on_the_edge_counts_as_small_and_medium() -> None:
    truth = two_objects()
    for annotation in truth["annotations"]:
        annotation["areas"] = [128**2] * 8
    assert run(truth, perfect(truth)).stats[[3, 4]].tolist() == pytest.approx([1, 1])


def test_crowds_take_any_number_of_predictions_which_still_use_up_places() -> None:
    truth = two_objects()
    truth["annotations"][0]["iscrowd"] = 1
    crowd, other = perfect(truth)
    stats = run(truth, [crowd, crowd, {**other, "score": 0.1}]).stats
    assert stats[[0, 6, 7]].tolist() == pytest.approx([1, 0, 1])


def test_of_equal_overlaps_the_later_object_wins() -> None:
    truth = two_objects()
    truth["annotations"][1]["segmentations"] = truth["annotations"][0]["segmentations"]
    record = run(truth, perfect(truth)[:1]).evalVids[0]
    assert record is not None
    assert set(record["dtMatches"].ravel().tolist()) == {2}


def test_an_overlap_of_exactly_the_threshold_matches() -> None:
    truth = two_objects(2)
    results = perfect(truth)
    for result in results:
        result["segmentations"][1] = None
    assert run(truth, results).stats[[0, 1]].tolist() == pytest.approx([0.1, 1])


def test_tracks_beyond_the_hundredth_are_gone() -> None:
    truth = two_objects(1)
    wrong = {**perfect(truth)[0], "score": 0.95, "segmentations": [box(45)]}
    results = [dict(wrong) for _ in range(99)] + perfect(truth)
    assert run(truth, results).stats[8] == 0.5


def test_a_longer_video_than_the_compiled_code_takes_at_once_is_scored() -> None:
    truth = two_objects(45)
    for annotation in truth["annotations"]:
        annotation["segmentations"] *= 7
        annotation["areas"] *= 7
    truth["videos"][0]["file_names"] *= 7
    evaluation = run(truth, perfect(truth), mode="strict")
    assert evaluation.stats[0] == pytest.approx(1)
    assert len(evaluation.cocoDt.anns[1]["bboxes"]) == 315


def test_annotations_without_areas_and_crowds_are_filled_in() -> None:
    truth, results = random_set(3, damage=False)
    exact = copy.deepcopy(truth)
    for annotation, bare in zip(exact["annotations"], truth["annotations"], strict=True):
        size = next(
            (v["height"], v["width"]) for v in truth["videos"] if v["id"] == bare["video_id"]
        )
        masks = [plain.dense(s, size) for s in bare["segmentations"]]
        annotation["areas"] = [None if m is None else int(m.sum()) for m in masks]
        annotation["iscrowd"] = 0
        del bare["areas"], bare["iscrowd"]
    assert (run(truth, results).stats == run(exact, results).stats).all()


@pytest.mark.parametrize("mode", ["compat", "strict"])
def test_boxes_of_tracks_are_scored(mode: Any) -> None:
    truth = two_objects()
    results: list[dict[str, Any]] = [
        {"video_id": 7, "category_id": 4, "score": 0.5, "bboxes": list(a["bboxes"])}
        for a in truth["annotations"]
    ]
    assert run(truth, results, "bbox", mode).stats[0] == pytest.approx(1)
    results[0]["bboxes"][:4] = [None] * 4
    evaluation = run(truth, results, "bbox", mode)
    np.testing.assert_allclose(evaluation.ious[7, 4], [[0.5, 0], [0, 1]])
    assert run(truth, perfect(truth), "bbox", mode).stats[0] == pytest.approx(1)


def test_box_tracks_of_rectangles_score_like_their_masks() -> None:
    truth = two_objects()
    results = swapped(perfect(truth), 6)
    boxes = run(truth, results, "bbox")
    np.testing.assert_allclose(boxes.ious[7, 4], run(truth, results).ious[7, 4])


def test_parameters_change_what_is_scored() -> None:
    truth, results = random_set(11, tracks=8, videos=6)

    def change(p: Params) -> None:
        p.vidIds = [12, 2, 12]
        p.catIds = [4]
        p.iouThrs = np.array([0.3, 0.5])
        p.maxDets = [100, 1, 10]

    evaluation = run(truth, results, change=change)
    assert evaluation.eval["precision"].shape == (2, 101, 1, 4, 3)
    assert evaluation.eval["recall"].shape == (2, 1, 4, 3)
    assert set(evaluation.ious) == {(2, 4), (12, 4)}
    kept = {**truth, "videos": [v for v in truth["videos"] if v["id"] in (2, 12)]}
    for key in ("annotations",):
        kept[key] = [a for a in truth[key] if a["video_id"] in (2, 12) and a["category_id"] == 4]
    results = [r for r in results if r["video_id"] in (2, 12) and r["category_id"] == 4]
    assert evaluation.stats[1] == run(kept, results).stats[1]


def test_accumulate_takes_a_part_of_what_was_evaluated() -> None:
    truth, results = random_set(11, tracks=8, videos=6)
    evaluation = run(truth, results)
    full = evaluation.eval["precision"]
    part = copy.deepcopy(evaluation.params)
    part.areaRng, part.maxDets = part.areaRng[:2], part.maxDets[:2]
    evaluation.accumulate(part)
    np.testing.assert_array_equal(evaluation.eval["precision"], full[:, :, :, :2, :2])


def test_calls_in_the_wrong_order_say_so() -> None:
    evaluation = YTVOSeval(YTVOS(two_objects()), YTVOS())
    with pytest.raises(RuntimeError, match="evaluate"):
        evaluation.accumulate()
    with pytest.raises(RuntimeError, match="accumulate"):
        evaluation.summarize()
    with pytest.raises(ValueError, match="iouType"):
        YTVOSeval(iouType="keypoints")
    with pytest.raises(ValueError, match="mode"):
        YTVOSeval(mode="lenient")  # type: ignore[arg-type]


def test_the_summary_is_printed_in_the_published_form(capsys: pytest.CaptureFixture[str]) -> None:
    truth = YTVOS(two_objects())
    evaluation = YTVOSeval(truth, truth.loadRes(perfect(two_objects())))
    evaluation.evaluate()
    evaluation.accumulate()
    assert capsys.readouterr().out == ""
    evaluation.summarize()
    lines = capsys.readouterr().out.splitlines()
    first = " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 1.000"
    assert lines[0] == first
    assert lines[5].endswith("area= large | maxDets=100 ] = -1.000")
    assert len(lines) == 12


def _damaged(results: list[dict[str, Any]], counts: Any) -> list[dict[str, Any]]:
    results[1]["segmentations"][3] = {"size": list(SIZE), "counts": counts}
    return results


@pytest.mark.parametrize("mode", ["compat", "strict"])
@pytest.mark.parametrize(
    "counts",
    [
        box(5)["counts"][:-2],
        box(5)["counts"][:-2] + "~~",
        "P" * 20,
        "p" + "P" * 8 + "0",
        box(5)["counts"] + "5",
        "0",
    ],
)
def test_a_damaged_mask_is_named_instead_of_read(mode: Any, counts: str) -> None:
    results = _damaged(perfect(two_objects()), counts)
    with pytest.raises(DatasetError, match=r"results: track 2 \(video 7\): frame 3: .* mask"):
        run(two_objects(), results, mode=mode)


def test_a_mask_of_another_kind_is_named() -> None:
    for counts in ([1, 2, 3], None, ""):
        with pytest.raises(DatasetError, match=r"track 2 \(video 7\)"):
            run(two_objects(), _damaged(perfect(two_objects()), counts))


def test_a_malformed_annotation_is_named() -> None:
    truth = two_objects()
    truth["annotations"][1]["segmentations"][2] = [[1, 2]]
    with pytest.raises(DatasetError, match=r"annotation 2 \(video 7\): frame 2"):
        run(truth, perfect(two_objects()))
    del truth["annotations"][1]["segmentations"]
    with pytest.raises(DatasetError, match="expected a list of segmentations"):
        run(truth, perfect(two_objects()))


def test_occlusion_divides_the_objects() -> None:
    truth = two_objects(4)
    truth["annotations"][0]["occlusion"] = ["no_occlusion", None, "severe_occlusion", None]
    truth["annotations"][1]["occlusion"] = ["no_occlusion"] * 3 + ["slight_occlusion"]
    evaluation = run(truth, perfect(truth)[1:], api=OVISeval)
    assert evaluation.eval["precision"].shape == (10, 101, 2, 4, 4, 3)
    # Object 1: 0.75; object 2, which is found: 0.125. An object on no edge is in one range.
    assert evaluation.stats[[6, 7, 8]].tolist() == pytest.approx([1, -1, 0])
    assert evaluation.stats[[15, 16, 17]].tolist() == pytest.approx([1, -1, 0])
    plain_stats = run(truth, perfect(truth)[1:]).stats
    np.testing.assert_array_equal(evaluation.stats[[*range(6), *range(9, 15)]], plain_stats)


def test_an_unknown_word_for_occlusion_is_named() -> None:
    truth = two_objects(2)
    truth["annotations"][0]["occlusion"] = ["half"] * 2
    with pytest.raises(DatasetError, match=r"annotation 1 \(video 7\): unknown occlusion 'half'"):
        run(truth, perfect(truth), api=OVISeval)
