"""Equality with the reference implementation, at the tolerances that hold under other rounding.

Ids, labels and counts exact; boxes 5e-3 px; scores 5e-5; mask IoU 0.999; dense tensors 1e-3.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.engine import HostEngine
from sipvideo.masks import from_rles
from sipvideo.model import winograd
from sipvideo.pipeline import VideoSegmenter
from sipvideo.postprocess import DenseOutputs, Postprocess
from sipvideo.runtime.pytorch import TorchRuntime, as_arrays
from sipvideo.sinks import YouTubeVISResults
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.tracker.paper import PaperTracker
from tests.parity.conftest import FIXTURES, MORE, arrays

DENSE = {"rtol": 1e-3, "atol": 1e-3}


def reference_frames() -> Iterator[tuple[str, dict[str, Any], Frame]]:
    """Key prefix, stored facts and picture of each of the twenty reference frames."""
    for facts in json.loads((FIXTURES / "vis.json").read_text()):
        video, index = facts["video"], facts["frame"]
        picture = cv2.imread(str(FIXTURES / "videos" / f"v{video}" / f"{index:05d}.png"))
        frame = Frame(np.ascontiguousarray(picture[..., ::-1]), index, index / 6)
        yield f"v{video}_f{index}__", facts, frame


_MAPS: dict[tuple[str, int, bytes], tuple[dict[str, Any], DenseOutputs]] = {}


def dense_maps(
    segmenter: HostEngine, image: NDArray[np.float32]
) -> tuple[dict[str, Any], DenseOutputs]:
    """All dense tensors under their names in the fixtures; computed once for each picture and way."""
    key = (segmenter.model, winograd.LEAST_CELLS, image.tobytes())
    if key not in _MAPS:
        _MAPS[key] = _dense_maps(segmenter, image)
    maps, outputs = _MAPS[key]
    return dict(maps), outputs


@torch.inference_mode()
def _dense_maps(
    segmenter: HostEngine, image: NDArray[np.float32]
) -> tuple[dict[str, Any], DenseOutputs]:
    assert isinstance(segmenter.runtime, TorchRuntime)
    model = segmenter.runtime.model
    pyramid, stem = model.pyramid(torch.from_numpy(image)[None])
    head = model.head
    outputs = head(pyramid, stem)
    maps = {"basis": outputs.basis_masks}
    if outputs.embedding_features:
        maps["track"] = head.embedding_map(outputs.embedding_features)
    per_level = {
        "P": pyramid,
        "cls": outputs.class_logits,
        "bbox": outputs.box_distances,
        "ctr": outputs.centerness_logits,
        "cof": head.coefficient_maps(outputs),
    }
    for name, tensors in per_level.items():
        maps |= {f"{name}{level}": tensor for level, tensor in enumerate(tensors, 3)}
    return {name: tensor.numpy() for name, tensor in maps.items()}, as_arrays(outputs)


def step(name: str) -> tuple[int, int, int, int]:
    """Sub-sampling of the stored dense tensors along batch, channels, rows and columns."""
    if name == "img":
        return 1, 1, 8, 8
    return (1, 1, 4, 4) if name.startswith(("bbox", "ctr")) else (1, 8, 4, 4)


def digest(array: NDArray[Any]) -> list[float]:
    exact = array.astype(np.float64)
    return [exact.mean(), exact.std(), np.abs(exact).max(), np.abs(exact).sum()]


@pytest.mark.parametrize("least_cells", [winograd.LEAST_CELLS, 1])
def test_every_dense_tensor_of_the_video_model_equals_the_reference(
    vis: HostEngine, monkeypatch: pytest.MonkeyPatch, least_cells: int
) -> None:
    # The pictures are small; with 1 every map takes the way that large ones take.
    monkeypatch.setattr(winograd, "LEAST_CELLS", least_cells)
    stored = arrays(FIXTURES / "vis.npz")
    digests = samples = 0
    for key, _, frame in reference_frames():
        image, _ = vis.transform(frame)
        maps, _ = dense_maps(vis, image)
        maps["img"] = image[None]
        for name, array in maps.items():
            if f"{key}{name}_digest" in stored:
                np.testing.assert_allclose(
                    digest(array), stored[f"{key}{name}_digest"], rtol=1e-3, atol=1e-5
                )
                digests += 1
            if key + name in stored:
                expected = stored[key + name]
                thin = array[tuple(slice(None, None, n) for n in step(name))]
                if name == "img":
                    np.testing.assert_array_equal(thin, expected)
                else:
                    np.testing.assert_allclose(thin, expected, **DENSE)
                samples += 1
    assert (digests, samples) == (20 * 27, 20 + 3 * 10)


@pytest.mark.parametrize("least_cells", [winograd.LEAST_CELLS, 1])
def test_candidates_boxes_masks_and_embeddings_equal_the_reference(
    vis: HostEngine, monkeypatch: pytest.MonkeyPatch, least_cells: int
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CELLS", least_cells)
    stored = arrays(FIXTURES / "vis.npz")
    frames = detections = 0
    for key, facts, frame in reference_frames():
        image, geometry = vis.transform(frame)
        assert list(geometry.resized_size) == facts["meta"]["img_shape"][:2]
        assert list(geometry.padded_size) == facts["meta"]["pad_shape"][:2]
        _, outputs = dense_maps(vis, image)
        found = vis.postprocess(outputs, geometry)
        if key + "nms_in_boxes" in stored:
            # With the threshold, candidates are left out that can be no detections.
            everything = Postprocess(vis.config, vis.objects)
            everything.config = everything.config.model_copy(update={"score_threshold": 0.0})
            boxes = everything.candidates(outputs, geometry).boxes / geometry.box_scale()
            # Candidates of nearly equal rank may change places: each must be there, anywhere.
            distances = np.abs(boxes[:, None] - stored[key + "nms_in_boxes"][None]).max(2)
            assert max(distances.min(0).max(), distances.min(1).max()) < 5e-3
        frames += 1
        detections += len(found)
        assert len(found) == facts["n_det"]
        if not len(found):
            continue
        np.testing.assert_allclose(found.boxes, stored[key + "det_boxes"][:, :4], atol=5e-3)
        np.testing.assert_allclose(found.scores, stored[key + "det_boxes"][:, 4], atol=5e-5)
        np.testing.assert_array_equal(found.labels, stored[key + "det_labels"])
        if key + "det_feats" in stored:
            np.testing.assert_allclose(found.embeddings, stored[key + "det_feats"], **DENSE)
        assert np.abs(found.masks.areas() - stored[key + "mask_area"]).max() <= 10
    assert (frames, detections) == (20, 200)


def tracked(
    vis_remembered: HostEngine, tracker: PaperTracker
) -> Iterator[tuple[str, dict[str, Any], Detections]]:
    for key, facts, frame in reference_frames():
        if facts["frame"] == 0:
            tracker.reset()
        found = vis_remembered.detect([frame])[0]
        result = FrameResult(frame, found, tracker.update(found, frame.timestamp), 0.0)
        yield key, facts | {"result": result}, found


def test_ids_and_comparison_scores_of_the_whole_chain_equal_the_reference(
    vis_remembered: HostEngine,
) -> None:
    stored = arrays(FIXTURES / "vis.npz")
    tracker = PaperTracker(TrackerConfig(preset="paper"))
    compared = objects = differing = 0
    for key, facts, found in tracked(vis_remembered, tracker):
        if len(found):
            np.testing.assert_array_equal(tracker.last_claims, stored[key + "det_obj_ids"])
        if key + "comp_scores" in stored:
            np.testing.assert_allclose(tracker.last_scores, stored[key + "comp_scores"], atol=1e-3)
            compared += 1
        result: FrameResult = facts["result"].tracked()
        expected = {entry["id"]: entry for entry in facts["objects"]}
        assert sorted(expected) == sorted(result.track_ids.tolist())
        for k, track_id in enumerate(result.track_ids.tolist()):
            entry = expected[track_id]
            assert result.detections.labels[k] == entry["label"]
            reference = from_rles([entry["rle"]], found.masks.frame_size)
            ours = result.detections.masks[[k]]
            pixels = np.count_nonzero(ours.dense(0) != reference.dense(0))
            assert pixels <= 10 or ours.iou(reference)[0, 0] >= 0.999
            differing += pixels
            objects += 1
    assert compared >= 14
    assert objects >= 150
    assert differing <= 20


@pytest.mark.parametrize(("name", "survives"), [("vis_thr", True), ("vis_thr_reset", False)])
def test_memory_over_empty_first_frames_follows_the_switch(
    vis_remembered: HostEngine, name: str, survives: bool
) -> None:
    stored = arrays(FIXTURES / f"{name}.npz")
    config = vis_remembered.postprocess.config
    vis_remembered.postprocess.config = config.model_copy(update={"score_threshold": 0.2})
    try:
        tracker = PaperTracker(
            TrackerConfig(preset="paper", memory_survives_empty_first_frame=survives)
        )
        compared = 0
        for key, _, found in tracked(vis_remembered, tracker):
            assert len(found) == len(stored[key + "det_boxes"])
            if key + "det_obj_ids" in stored:
                np.testing.assert_array_equal(tracker.last_claims, stored[key + "det_obj_ids"])
                compared += 1
        assert compared >= 10
    finally:
        vis_remembered.postprocess.config = config


@pytest.mark.parametrize(("name", "threshold"), [("results_mini", 0.03), ("results_mini_thr", 0.2)])
def test_the_result_file_of_five_videos_equals_the_reference(
    vis_remembered: HostEngine, tmp_path: Path, name: str, threshold: float
) -> None:
    config = vis_remembered.postprocess.config
    vis_remembered.postprocess.config = config.model_copy(update={"score_threshold": threshold})
    tracker = PaperTracker(TrackerConfig(preset="paper", memory_survives_empty_first_frame=True))
    segmenter = VideoSegmenter(vis_remembered, tracker, vis_remembered.config.class_names)
    lengths = Counter(facts["video"] for _, facts, _ in reference_frames())
    with YouTubeVISResults(tmp_path / "results.json", 1, length=lengths[1]) as sink:
        for _, facts, frame in reference_frames():
            if frame.index == 0:
                segmenter.reset()
                if facts["video"] > 1:
                    sink.start_video(facts["video"], lengths[facts["video"]])
            sink.write(segmenter.step(frame))
    vis_remembered.postprocess.config = config
    ours = json.loads((tmp_path / "results.json").read_text())
    reference = json.loads((FIXTURES / f"{name}.json").read_text())
    assert len(ours) == len(reference) > 10
    masks = 0
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine.keys() == theirs.keys()
        assert (mine["video_id"], mine["category_id"]) == (
            theirs["video_id"],
            theirs["category_id"],
        )
        assert mine["score"] == pytest.approx(theirs["score"], abs=5e-5)
        for a, b in zip(mine["segmentations"], theirs["segmentations"], strict=True):
            assert (a is None) == (b is None)
            if a is not None and a != b:
                size = tuple(a["size"])
                pair = from_rles([a, b], (size[0], size[1]))
                assert np.count_nonzero(pair.dense(0) != pair.dense(1)) <= 10
            masks += a is not None
    assert masks >= 17


def test_a_wrong_coefficient_would_be_noticed(vis_remembered: HostEngine) -> None:
    """Negative control: ids alone do not notice a wrong label weight, comparison scores do."""
    stored = arrays(FIXTURES / "vis.npz")
    tracker = PaperTracker(TrackerConfig(preset="paper", label_weight=9.0))
    worst = 0.0
    for key, _, _ in tracked(vis_remembered, tracker):
        expected = stored.get(key + "comp_scores")
        if expected is not None and expected.shape == tracker.last_scores.shape:
            worst = max(worst, float(np.abs(tracker.last_scores - expected).max()))
    assert worst > 0.5


def test_the_image_model_equals_the_reference(coco: HostEngine) -> None:
    if not (MORE / "coco_image.png").is_file():
        pytest.skip(f"{MORE / 'coco_image.png'} is a COCO picture and not part of the project")
    stored = arrays(MORE / "coco_r50_ssd_6x.npz")
    facts = json.loads((MORE / "coco_r50_ssd_6x.json").read_text())
    picture = cv2.imread(str(MORE / "coco_image.png"))
    frame = Frame(np.ascontiguousarray(picture[..., ::-1]), 0, 0.0)
    image, geometry = coco.transform(frame)
    np.testing.assert_array_equal(image[None], stored["img"])
    maps, outputs = dense_maps(coco, image)
    compared = 0
    for name, array in maps.items():
        step = array.shape[1] // stored[name].shape[1]
        np.testing.assert_allclose(array[:, ::step], stored[name], **DENSE)
        compared += 1
    assert compared == 26
    found = coco.postprocess(outputs, geometry)
    np.testing.assert_allclose(found.boxes, stored["det_boxes"][:, :4], atol=5e-3)
    np.testing.assert_allclose(found.scores, stored["det_boxes"][:, 4], atol=5e-5)
    np.testing.assert_array_equal(found.labels, stored["det_labels"])
    masks = 0
    for label, entry in facts["per_class"].items():
        mine = np.flatnonzero(found.labels == int(label))
        reference = from_rles(entry["rles"], frame.size)
        for ours, k in zip(mine, range(len(reference)), strict=True):
            pair = found.masks[[int(ours)]].iou(reference[[k]])[0, 0]
            pixels = np.count_nonzero(found.masks.dense(int(ours)) != reference.dense(k))
            assert pixels <= 10 or pair >= 0.999
            masks += 1
    assert masks == 100
