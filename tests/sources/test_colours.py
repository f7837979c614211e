"""High dynamic range and wide gamuts become colours that a usual screen shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.sources import VideoFile
from sipvideo.sources.colours import ToRGB
from tests.sources.frames import quarters

BT709, BT2020, PQ, HLG, MATRIX_2020 = 1, 9, 16, 18, 9


def pq(light: float) -> float:
    """ST 2084, cd/m2 to 0..1."""
    power = (light / 10_000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def hlg(scene: float) -> float:
    """BT.2100, scene light 0..1 to 0..1."""
    if scene <= 1 / 12:
        return float(np.sqrt(3 * scene))
    return float(0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073)


def write_wide(path: Path, colours: list[tuple[float, float, float]], transfer: int) -> Path:
    """Four quarters of coded RGB 0..1, as 10-bit BT.2020 with its marks, lossless."""
    size = 32
    coded = np.zeros((2 * size, 2 * size, 3))
    for k, colour in enumerate(colours):
        coded[k // 2 * size :, k % 2 * size :] = colour
    y = coded @ (0.2627, 0.6780, 0.0593)
    u, v = (coded[..., 2] - y) / 1.8814, (coded[..., 0] - y) / 1.4746
    planes = [64 + 876 * y, 512 + 896 * u[::2, ::2], 512 + 896 * v[::2, ::2]]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height = stream.width = 2 * size
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries = MATRIX_2020, BT2020
        context.color_trc, context.color_range = transfer, 1
        frame: Any = av.VideoFrame(2 * size, 2 * size, "yuv420p10le")
        frame.colorspace, frame.color_primaries = MATRIX_2020, BT2020
        frame.color_trc, frame.color_range = transfer, 1
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
            rows[:, : plane.width] = np.round(values)
            plane.update(rows.tobytes())
        for index in range(2):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path: Path) -> tuple[NDArray[np.int64], list[str]]:
    source = VideoFile(path)
    images = [frame.image for frame in source]
    assert images[0].dtype == np.uint8
    assert images[0].shape == (64, 64, 3)
    return np.array(quarters(images[1])), source.notes


def test_pq_greys_keep_their_order_and_white_is_light(tmp_path: Path) -> None:
    levels = [pq(light) for light in (5, 26, 203, 1000)]
    found, notes = shown(write_wide(tmp_path / "a.mkv", [(x, x, x) for x in levels], PQ))
    assert np.ptp(found, axis=1).max() <= 2  # grey stays grey
    dark, middle, white, brightest = found[:, 0].tolist()
    assert 45 <= dark <= 62
    assert middle == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=4)
    assert 215 <= white <= 240
    assert brightest >= 252
    assert notes == ["HDR pictures (PQ) are tone-mapped to SDR"]


def test_hlg_greys_keep_their_order_and_white_is_light(tmp_path: Path) -> None:
    levels = [hlg(scene) for scene in (0.01, 0.05, 0.265, 1.0)]  # 0.265: a white sheet, 203 cd/m2
    found, notes = shown(write_wide(tmp_path / "a.mkv", [(x, x, x) for x in levels], HLG))
    assert np.ptp(found, axis=1).max() <= 2
    assert (np.diff(found[:, 0]) > 20).all()
    assert 210 <= found[2, 0] <= 240
    assert found[3, 0] >= 252
    assert notes == ["HDR pictures (HLG) are tone-mapped to SDR"]


def test_hues_of_hdr_stay(tmp_path: Path) -> None:
    high, low = pq(150), pq(10)
    colours = [(high, low, low), (low, high, low), (low, low, high), (high, high, low)]
    found, _ = shown(write_wide(tmp_path / "a.mkv", colours, PQ))
    bright = found > found.mean(axis=1, keepdims=True)
    assert bright.tolist() == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
        [True, True, False],
    ]
    assert (found[bright] > 180).all()


def test_wide_colours_of_usual_brightness_become_those_of_the_screen(tmp_path: Path) -> None:
    grey = (0.5, 0.5, 0.5)
    # BT.709's full red, as BT.2020 codes it.
    red = tuple(np.array((0.6274, 0.0691, 0.0164)) ** (1 / 2.4))
    found, notes = shown(write_wide(tmp_path / "a.mkv", [grey, red, red, grey], 14))
    assert np.abs(found[0] - 127).max() <= 2
    assert np.abs(found[1] - (255, 0, 0)).max() <= 20  # coded as 210, 84, 46
    assert notes == ["colours of BT.2020 became those of BT.709"]


@pytest.mark.parametrize(("matrix", "name"), [(3, "matrix 3"), (8, "YCgCo"), (14, "ICtCp")])
def test_colours_coded_in_a_way_that_is_not_read_are_told_and_shown(matrix: int, name: str) -> None:
    grey = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv444p")
    frame.colorspace = matrix
    notes: list[str] = []
    shown = ToRGB(notes.append)(frame)
    assert np.abs(shown.astype(int) - grey).max() <= 2
    assert notes == [f"colours coded by {name} are taken for the usual ones, and are off"]
