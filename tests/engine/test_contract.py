"""What every engine promises: a function as one, and the host engine's pictures, batches and grey pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import sipvideo
from sipvideo.build import DEFAULT_MODEL
from sipvideo.config import InputConfig
from sipvideo.engine import Engine, FunctionEngine
from sipvideo.errors import CheckpointError
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import SMALL_SIDE, FrameTransform, grey_picture
from tests.media import picture
from tests.networks import lively, segmenter, small_config


def empty(frame: Frame) -> Detections:
    return replace(Detections.empty(frame.size), grey=frame.image[..., 0].copy())


def frames_of(*sizes: tuple[int, int]) -> list[Frame]:
    return [Frame(np.full((*size, 3), k, np.uint8), k, k / 25) for k, size in enumerate(sizes)]


def test_a_function_is_an_engine_of_which_nothing_more_is_known() -> None:
    engine = FunctionEngine(empty)
    frames = frames_of((4, 6), (4, 6), (8, 3))
    found = engine.detect(frames)
    assert [one.masks.frame_size for one in found] == [(4, 6), (4, 6), (8, 3)]
    assert (engine.largest_batch, engine.callers, engine.resizable) == (1, 1, False)
    assert engine.for_files() is engine
    with pytest.raises(NotImplementedError, match="FunctionEngine has one input size"):
        engine.resized((64, 64))


def test_the_default_model_says_what_it_is() -> None:
    engine = sipvideo.load(device="cpu").engine
    assert engine.model == f"sipmask_{DEFAULT_MODEL}"
    assert engine.device == "cpu"
    assert engine.resizable
    assert engine.input_size is not None
    assert engine.largest_batch == 1
    assert engine.about


def test_frames_of_mixed_sizes_get_their_own_objects_in_their_order() -> None:
    engine: Engine = sipvideo.load(device="cpu").engine
    pictures = [picture(k) for k in range(3)]
    frames = [Frame(image, k, k / 25) for k, image in enumerate(pictures)]
    frames.insert(1, Frame(np.ascontiguousarray(pictures[0][:, :50]), 9, 0.5))
    together = engine.detect(frames)
    for frame, found in zip(frames, together, strict=True):
        alone = engine.detect([frame])[0]
        assert found.masks.frame_size == frame.size
        assert found.labels.tolist() == alone.labels.tolist()
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=0.01)
        assert found.grey is not None
        assert alone.grey is not None
        assert np.array_equal(found.grey, alone.grey)
    assert engine.detect([]) == []


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (100, 60), (1, 900)])
def test_the_grey_picture_shows_the_whole_frame_small(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
    image = np.asarray(image, np.uint8).reshape(*size, 3)
    transform = FrameTransform(InputConfig(size=(640, 360)))
    geometry = transform.geometry(size)
    out = np.zeros((*geometry.padded_size, 3), np.float32)
    scaled = transform.write(Frame(image, 0, 0.0), geometry, out)
    grey = grey_picture(scaled)
    assert min(SMALL_SIDE / 2, max(scaled.shape)) <= max(grey.shape) <= SMALL_SIDE
    direct = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), grey.shape[::-1], interpolation=cv2.INTER_AREA
    )
    assert np.abs(grey.astype(int) - direct.astype(int)).mean() < 4


def test_selecting_objects_keeps_the_grey_picture() -> None:
    found = empty(frames_of((4, 6))[0])
    assert found[np.zeros(0, np.int64)].grey is found.grey


def test_a_network_whose_numbers_overflow_is_told_and_never_taken_for_one_that_sees_nothing() -> (
    None
):
    config = small_config()
    model = lively(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e12)
    with pytest.raises(
        CheckpointError, match="small: the network gives numbers that are not finite"
    ):
        segmenter(model, config).detect(frames_of((120, 160)))
