"""Rules of the published models that no reference numbers cover, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sipvideo.config import Config, config_from_values
from sipvideo.model.head import MaskScoring
from sipvideo.postprocess import DenseOutputs, ObjectHead, Postprocess
from sipvideo.postprocess.assembly import assemble
from sipvideo.postprocess.objects import weight_shapes
from sipvideo.structures import FloatArray
from sipvideo.transforms import FrameTransform, Geometry

CLASSES = 3


def config(**postprocess: object) -> Config:
    values = {
        "name": "test",
        "classes": ("a", "b", "c"),
        "input": {"size": (96, 64)},
        "neck": {"channels": 8},
        "head": {
            "norm": "none",
            "embedding": 0,
            "alignment": "none",
            "bases": 4,
            "basis_channels": 8,
        },
        "postprocess": {"max_detections": 40, "candidates_per_level": 30, **postprocess},
    }
    return config_from_values(values, "test")


def outputs(seed: int = 0) -> DenseOutputs:
    """Random raw outputs of a 64 x 96 input on five levels, boxes of 10 to 40 pixels."""
    rng = np.random.default_rng(seed)
    sizes = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]

    def maps(channels: int, scale: float, shift: float) -> list[FloatArray]:
        drawn = [rng.standard_normal((1, channels, h, w), np.float32) for h, w in sizes]
        return [m * np.float32(scale) + np.float32(shift) for m in drawn]

    distances = [np.abs(m) * 8 + 5 for m in maps(4, 1, 0)]
    basis = rng.random((1, 4, 32, 48), np.float32)
    return DenseOutputs(maps(CLASSES, 2, -2), maps(1, 1, 1), distances, maps(8, 1, 0), basis, [])


def setup(config: Config, seed: int = 0) -> tuple[Postprocess, DenseOutputs, Geometry]:
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(config).items()
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes}
    geometry = FrameTransform(config.input).geometry((128, 192))
    return Postprocess(config, ObjectHead(config, weights)), outputs(seed), geometry


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def closed_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    both = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return both / (sum(areas) - both)


def pairs_by_definition(
    post: Postprocess, raw: DenseOutputs, geometry: Geometry
) -> list[tuple[float, float, int, list[float]]]:
    """(score, class probability, label, box in input pixels) of every cell and class of every level."""
    height, width = geometry.resized_size
    result = []
    for level, stride in enumerate(post.objects.strides):
        _, _, h, w = raw.class_logits[level].shape
        level_pairs = []
        for i in range(h):
            for j in range(w):
                sides = raw.box_distances[level][0, :, i, j].tolist()
                x, y = j * stride + stride // 2, i * stride + stride // 2
                box = [x - sides[0], y - sides[1], x + sides[2], y + sides[3]]
                box = [min(max(v, 0), (width, height)[k % 2] - 1) for k, v in enumerate(box)]
                centre = sigmoid(raw.centerness_logits[level][0, 0, i, j])
                for label in range(CLASSES):
                    p = sigmoid(raw.class_logits[level][0, label, i, j])
                    level_pairs.append((p * centre, p, label, box))
        result.append(level_pairs)
    return result  # type: ignore[return-value]


def greedy(
    pairs: list[tuple[float, float, int, list[float]]], iou: float
) -> list[tuple[float, int, list[float]]]:
    """Ordinary suppression with closed pixel boxes, class by class."""
    kept: list[tuple[float, int, list[float]]] = []
    for score, _, label, box in sorted(pairs, key=lambda pair: -pair[0]):
        if all(other != label or closed_iou(box, b) <= iou for _, other, b in kept):
            kept.append((score, label, box))
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_the_fcos_trees_rule_takes_pairs_and_the_root_of_the_product(seed: int) -> None:
    post, raw, geometry = setup(
        config(
            candidate_rule="location_and_class",
            score="sqrt_product",
            threshold_on="class",
            score_threshold=0.2,
            nms="classwise",
            nms_iou=0.6,
            nms_pixel=1,
        ),
        seed,
    )
    chosen = []
    for level in pairs_by_definition(post, raw, geometry):
        above = sorted((p for p in level if p[1] > 0.2), key=lambda pair: -pair[0])  # type: ignore[index]
        chosen += above[:30]
    expected = greedy(chosen, 0.6)[:40]  # type: ignore[arg-type]
    found = post(raw, geometry)
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(found.scores, [s**0.5 for s, _, _ in expected], atol=1e-5)
    assert found.labels.tolist() == [label for _, label, _ in expected]
    boxes = np.array([box for _, _, box in expected]) / geometry.scale[0]
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_accurate_image_models_threshold_the_class_alone(seed: int) -> None:
    post, raw, geometry = setup(
        config(
            threshold_on="class",
            score_threshold=0.3,
            nms="classwise",
            nms_pixel=1,
            candidates_per_level=10**6,
        ),
        seed,
    )
    pairs = [p for level in pairs_by_definition(post, raw, geometry) for p in level]  # type: ignore[attr-defined]
    # This tree suppresses in frame pixels, where one pixel more is less of a box.
    in_frame = [
        (s, p, label, [v / geometry.scale[0] for v in box]) for s, p, label, box in pairs if p > 0.3
    ]
    expected = greedy(in_frame, 0.5)[:40]
    found = post(raw, geometry)
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(found.scores, [s for s, _, _ in expected], atol=1e-5)
    assert found.labels.tolist() == [label for _, label, _ in expected]


def test_rescoring_reads_the_whole_low_resolution_mask_of_the_own_class() -> None:
    torch.manual_seed(0)
    scoring = MaskScoring(CLASSES).eval()
    rescored = config().with_overrides(["head.rescoring=true", "input.size=[544, 544]"])
    post, _, _ = setup(rescored)
    weights = {f"mask_scoring.{name}": w.numpy() for name, w in scoring.state_dict().items()}
    post.objects = ObjectHead(rescored, post.objects.weights | weights)
    rng = np.random.default_rng(0)
    basis = rng.random((4, 160, 140), np.float32)
    coefficients = rng.standard_normal((3, 16), np.float32)
    boxes = np.array([[3, 5, 60, 90], [10, 0, 140, 160], [9, 9, 9, 9]], np.float32)
    masks = assemble(basis, coefficients, boxes, 2)
    labels = np.array([2, 0, 1])
    scores = post._rescored(masks, labels)
    assert (scores > 0).any()
    for k, ((x0, y0, x1, y1), one) in enumerate(zip(masks.windows, masks.split(), strict=True)):
        full = torch.zeros(1, 1, 160, 140)
        full[0, 0, y0:y1, x0:x1] = torch.from_numpy(one)
        with torch.inference_mode():
            expected = scoring(full)[0, labels[k]]
        assert scores[k] == pytest.approx(float(expected), abs=1e-6)


def test_thresholds_are_strict() -> None:
    post, raw, geometry = setup(config(score_threshold=0.0))
    before = post(raw, geometry)
    worst = float(before.scores[-1])
    post.config = post.config.model_copy(update={"score_threshold": worst, "max_detections": 500})
    after = post(raw, geometry)
    assert len(after) == len(before) - 1
    assert (after.scores > worst).all()


def test_inverted_boxes_survive_with_an_empty_mask() -> None:
    post, raw, geometry = setup(config())
    raw.box_distances[0][:] = np.reshape([-20.0, 5.0, 3.0, 5.0], (1, 4, 1, 1))
    raw.class_logits[0][:, 1] = 4.0
    found = post(raw, geometry)
    inverted = found.boxes[:, 0] > found.boxes[:, 2]
    assert inverted.any()
    assert not found.masks.areas()[inverted].any()
