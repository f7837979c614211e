"""``apps/reports/mask_gap.py``: what one cause is worth, on a made-up picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sipvideo.apps.reports import mask_causes, mask_gap
from sipvideo.apps.reports.mask_causes import logistic, variants
from sipvideo.boxes import widened
from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks
from tests.networks import lively, picture, segmenter, small_config

GRID = {"unit": "separable", "tower_bias": True, "box_units": 0, "centerness": False} | {
    "basis_source": "pyramid",
    "basis_upsample": 2,
    "mask_units": 1,
    "mask_pyramid": True,
    "alignment": "box_grid",
    "grid_side": 3,
    "grid_hidden": 16,
    "grid_quality": True,
    "shape_maps": True,
}


def _looked_at(count: int = 3) -> mask_causes.Picture:
    """A random network's picture, in which its own largest boxes, as ellipses, are the objects."""
    config = small_config(**GRID)
    segment = segmenter(lively(config), config)
    frame = picture()
    (found,) = segment.detect([frame])
    largest = np.argsort(-(found.boxes[:, 2:] - found.boxes[:, :2]).prod(1), kind="stable")[:count]
    dense = np.zeros((count, *frame.size), np.uint8)
    for one, (x0, y0, x1, y1) in zip(dense, found.boxes[largest].tolist(), strict=True):
        middle = round((x0 + x1) / 2), round((y0 + y1) / 2)
        axes = round((x1 - x0) / 2), round((y1 - y0) / 2)
        cv2.ellipse(one, middle, axes, 0, 0, 360, 1, -1)
    truth = Sample(
        frame.image,
        CompactMasks.from_dense(dense > 0),
        found.labels[largest],
        np.zeros(count, bool),
        np.arange(count),
    )
    return mask_causes.look(segment, truth, frozenset(range(3)))


def test_the_first_row_is_the_application_itself() -> None:
    looked = _looked_at()
    found = looked.engine.detect([picture()])[0]
    name, masks = next(variants(looked))
    assert name == "as it is"
    assert [masks.rle(k) for k in range(len(masks))] == [
        found.masks.rle(k) for k in range(len(found))
    ]


def test_true_masks_and_what_the_box_leaves_of_them() -> None:
    looked = _looked_at()
    rows = dict(variants(looked))
    shown = np.flatnonzero(looked.shown >= 0)
    assert len(shown)
    for k in shown.tolist():
        true = looked.truth.masks.dense(int(looked.shown[k]))
        assert (rows["true mask"].dense(k) == true).all()
        assert not (rows["true mask, cut at the box"].dense(k) & ~true).any()
        ground = rows["no pixel on the ground"].dense(k)
        everybody = np.any([looked.truth.masks.dense(j) for j in range(len(looked.truth))], 0)
        assert not (ground & ~everybody).any()
    for k in np.flatnonzero(looked.shown < 0).tolist():
        assert rows["true mask"].rle(k) == rows["as it is"].rle(k)


def test_the_best_coefficients_overlap_no_less_than_those_that_were_read() -> None:
    looked = _looked_at()
    rows = dict(variants(looked))

    def overlap(name: str) -> float:
        found = [
            (rows[name].dense(k) & looked.truth.masks.dense(s)).sum()
            / (rows[name].dense(k) | looked.truth.masks.dense(s)).sum()
            for k, s in enumerate(looked.shown.tolist())
            if s >= 0
        ]
        return float(np.mean(found))

    assert overlap("best coefficients, cut at the box") > overlap("as it is")
    assert overlap("true mask at stride 4, cut at the true box") > 0.8
    assert overlap("true mask at stride 4, cut at the true box") >= overlap(
        "best coefficients, cut at the true box"
    )


def test_the_regression_finds_weights_that_separate() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 300))
    target = (np.array([2.0, -1.0, 0.5, 0.0]) @ features > 0).astype(float)
    found = logistic(features, target) @ features > 0
    assert (found == (target > 0)).mean() > 0.97


def test_boxes_are_widened_by_a_share_of_their_sides() -> None:
    wide = widened(np.array([[10, 20, 30, 60]], np.float32), 0.1)
    assert wide.tolist() == [[8, 16, 32, 64]]


def test_the_command_prints_one_row_per_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    frame = picture(64, 96)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), frame.image)
    content = {
        "images": [{"id": 4, "file_name": "a.png", "height": 64, "width": 96}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 4,
                "category_id": 1,
                "bbox": [5, 5, 40, 30],
                "segmentation": [[5, 5, 45, 5, 45, 35, 5, 35]],
            }
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    rules = ["--set", "postprocess.score_threshold=0.001"]
    assert mask_gap.main([str(path), *rules]) == 0
    told = capsys.readouterr().out
    assert "1 pictures" in told
    for row in ("boxes", "as it is", "ranked by true IoU", "best coefficients, cut at the box"):
        assert f"\n{row} " in told
