"""Decoded pictures on a device: FFmpeg's colours within two levels, and the same objects without a copy on the host.

The same code on the CPU, which is a device of PyTorch, too.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.engine.tensors.pictures import CardPicture
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sources import Decoding, open_source
from sipvideo.sources.colours import ToRGB
from sipvideo.sources.hardware import planes_of
from sipvideo.tracker import Tracker
from tests.engine.test_cuda import pair
from tests.sources.test_hardware import filled

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
FORMS = {"nv12": (8, "yuv420p"), "p010le": (10, "yuv420p10le"), "yuv420p": (8, "yuv420p")}


def arranged(form: str, y: NDArray[np.uint16], uv: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    """Samples [48, 64] and [24, 32, 2] as the planes of a form."""
    return [y, uv[..., 0], uv[..., 1]] if "420" in form else [y, uv.reshape(24, 64)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("matrix", "full"), list(itertools.product((1, 2, 4, 5, 6, 7, 9), (0, 1))))
def test_colours_are_those_of_software_within_two_levels(form: str, matrix: int, full: int) -> None:
    bits, software = FORMS[form]
    rng = np.random.default_rng(matrix)
    top = 1 << bits
    y = rng.integers(0, top, (48, 64)).astype(np.uint16)
    uv = rng.integers(0, top, (24, 32, 2)).astype(np.uint16)
    shift = 6 if form == "p010le" else 0
    on_card = filled(form, arranged(form, y, uv), shift)
    reference = filled(software, arranged(software, y, uv), 0)
    for picture in (on_card, reference):
        picture.colorspace = matrix
        picture.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    kept = CardPicture.of(planes_of(on_card))
    assert kept is not None
    assert kept.size == (48, 64)
    expected = ToRGB(lambda line: None)(reference)
    assert isinstance(expected, np.ndarray)
    off = np.abs(kept.host().astype(int) - expected)
    assert off.max() <= 2
    assert off.mean() < 0.7


@pytest.mark.parametrize("matrix", [0, 8, 10, 14])
def test_colours_that_only_the_host_knows_are_left_to_it(matrix: int) -> None:
    picture = av.VideoFrame(64, 48, "nv12")
    picture.colorspace = matrix
    assert CardPicture.of(planes_of(picture)) is None


def test_forms_and_sizes_that_only_the_host_knows_are_left_to_it() -> None:
    assert CardPicture.of(planes_of(av.VideoFrame(64, 48, "yuv444p"))) is None
    assert CardPicture.of(planes_of(av.VideoFrame(63, 48, "yuv420p"))) is None
    assert CardPicture.of(planes_of(av.VideoFrame(64, 47, "nv12"))) is None


def test_objects_of_pictures_on_the_device_are_those_of_the_host() -> None:
    engine, _ = pair()
    engine.largest_batch = 2
    decoding = Decoding(keep=CardPicture.of)
    with open_source(str(CLIP), decoding=decoding) as kept, open_source(str(CLIP)) as plain:
        on_device = list(itertools.islice(kept, 3))
        on_host = list(itertools.islice(plain, 3))
    copies = [frame.in_part(0) for frame in on_device]
    for frame, other in zip(copies, on_host, strict=True):
        assert np.abs(frame.image.astype(int) - other.image).max() <= 2
    found = engine.detect(on_device)
    assert all("image" not in vars(frame) for frame in on_device)
    from_host = engine.detect([type(f)(f.image, f.index, f.timestamp) for f in copies])
    for one, same in zip(found, from_host, strict=True):
        np.testing.assert_array_equal(one.boxes, same.boxes)
        np.testing.assert_array_equal(one.scores, same.scores)
        np.testing.assert_array_equal(one.grey, same.grey)


def test_a_whole_run_makes_no_copy_that_nobody_asks_for() -> None:
    engine, _ = pair()
    segmenter = VideoSegmenter(engine, Tracker(TrackerConfig()), [str(k) for k in range(80)])
    with open_source(str(CLIP), decoding=Decoding(keep=CardPicture.of)) as source:
        results = list(itertools.islice(segmenter.run(source, batch=2, ahead=1), 6))
    assert len(results) == 6
    assert all("image" not in vars(result.frame) for result in results)
    assert all(torch.is_tensor(result.frame.on_device.pixels) for result in results)  # type: ignore[union-attr]
