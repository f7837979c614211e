"""Decoding by hardware that is not there: the same frames, and a note; pictures are kept where they lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from sipvideo.apps import flags
from sipvideo.engine import FunctionEngine
from sipvideo.errors import ConfigError
from sipvideo.sources import CHOICES, Decoding, VideoFile, open_source
from sipvideo.sources.colours import ToRGB
from sipvideo.sources.hardware import KINDS, Planes, from_hardware, on_host
from sipvideo.structures import DevicePicture, Frame
from tests.media import film

ELSEWHERE = "/dev/dri/renderD250"


class Kept(DevicePicture):
    """A grey picture whose copies are counted."""

    def __init__(self, planes: Planes) -> None:
        self.size, self.copies = planes.size, 0

    def host(self) -> NDArray[np.uint8]:
        self.copies += 1
        return np.full((*self.size, 3), 7, np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("hardware") / "clip.mp4", 12)


@pytest.mark.parametrize("kind", KINDS)
def test_hardware_that_is_not_there_gives_the_frames_of_software_and_a_note(
    clip: Path, kind: str
) -> None:
    with VideoFile(clip) as plain:
        expected = list(plain)
    with VideoFile(clip, decoding=Decoding(kind, ELSEWHERE if kind != "cuda" else "7")) as source:
        found = list(source)
        assert source.hardware == ""
        assert len(source.notes) == 1
        assert source.notes[0].startswith(f"decoded by software, not by {kind}: ")
        assert source.frame_size == plain.frame_size
    assert [(f.index, f.timestamp) for f in found] == [(f.index, f.timestamp) for f in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    assert plain.notes == []


def test_only_what_is_known_can_be_asked_for() -> None:
    engine = FunctionEngine(lambda frame: pytest.fail("not asked"))
    assert engine.decoding_for("auto") == engine.decoding_for("software") == Decoding()
    assert engine.decoding_for("cuda") == Decoding("cuda")
    assert flags.HARDWARE == CHOICES
    with pytest.raises(ConfigError, match="expected one of auto, software, cuda"):
        engine.decoding_for("gpu")


def test_a_kept_picture_comes_to_the_host_once_and_only_if_it_is_asked_for(clip: Path) -> None:
    kept: list[Kept] = []

    def keep(planes: Planes) -> Kept:
        kept.append(Kept(planes))
        return kept[-1]

    with open_source(str(clip)) as plain, open_source(str(clip), decoding=Decoding(keep=keep)) as s:
        kept.clear()
        for frame, other in zip(s, plain, strict=True):
            assert frame.on_device is kept[-1]
            assert (frame.size, frame.timestamp) == (other.size, other.timestamp)
            assert kept[-1].copies == 0
            if frame.index % 2:
                assert (frame.image == 7).all()
                assert frame.image is frame.image
    assert [one.copies for one in kept] == [0, 1] * (len(kept) // 2)


def test_another_image_is_another_picture(clip: Path) -> None:
    with open_source(str(clip), decoding=Decoding(keep=Kept)) as source:
        frame = next(iter(source))
    moved = frame.in_part(3)
    assert (moved.part, moved.on_device) == (3, frame.on_device)
    covered = replace(frame, image=np.zeros((*frame.size, 3), np.uint8))
    assert covered.on_device is None
    assert not covered.image.any()
    assert Frame(covered.image, 0, 0.0).in_part(1).part == 1
    with pytest.raises(AttributeError, match="nothing"):
        _ = frame.nothing


def test_a_picture_that_is_not_kept_comes_to_the_host(clip: Path) -> None:
    with (
        open_source(str(clip)) as plain,
        open_source(str(clip), decoding=Decoding(keep=lambda picture: None)) as source,
    ):
        for frame, other in zip(source, plain, strict=True):
            assert frame.on_device is None
            np.testing.assert_array_equal(frame.image, other.image)


@pytest.mark.parametrize(("card", "software"), [("nv12", "yuv420p"), ("p010le", "yuv420p10le")])
@pytest.mark.parametrize("full", [False, True])
def test_the_form_of_hardware_gives_the_pixels_of_the_form_of_software(
    card: str, software: str, full: bool
) -> None:
    rng = np.random.default_rng(0)
    bits = 10 if "10" in software else 8
    planes = [rng.integers(16, 235, size).astype(np.uint16) for size in ((48, 64), (24, 32, 2))]
    planes = [(plane << (bits - 8)) + rng.integers(0, 1 << (bits - 8)) for plane in planes]
    of_card = filled(card, [planes[0], planes[1].reshape(24, 64)], 6 if bits == 10 else 0)
    of_software = filled(software, [planes[0], planes[1][..., 0], planes[1][..., 1]], 0)
    shown = []
    for picture in (of_card, of_software):
        picture.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        picture.colorspace = 1
        shown.append(ToRGB(lambda line: None)(picture))
    assert from_hardware(of_card)
    assert not from_hardware(of_software)
    assert on_host(of_software) is of_software
    np.testing.assert_array_equal(shown[0], shown[1])


def filled(form: str, planes: list[NDArray[np.uint16]], shift: int) -> av.VideoFrame:
    """A picture of these samples, 64 x 48."""
    picture = av.VideoFrame(64, 48, form)
    wide = np.uint8 if form in ("nv12", "yuv420p") else np.uint16
    for place, values in zip(picture.planes, planes, strict=True):
        rows = np.ascontiguousarray((values << shift).astype(wide)).view(np.uint8)
        buffer = np.zeros((place.height, place.line_size), np.uint8)
        buffer[: len(rows), : rows.shape[1]] = rows
        place.update(buffer)
    return picture
