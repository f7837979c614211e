"""Decoded pictures to RGB as it shall be seen: matrix, range, high dynamic range, and which way up."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from sipvideo.sources.hardware import Keep, on_host, planes_of
from sipvideo.structures import DevicePicture

HDR: dict[int, str] = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
"""Transfer functions of pictures whose highlights are brighter than white."""

MATRICES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m"}
"""Names for FFmpeg of the matrices between RGB and YCbCr; wide-gamut pictures without a mark have BT.2020's."""

FOREIGN = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Names of matrices (ITU-T H.273) that FFmpeg does not convert from."""

UNMARKED = 2

NARROWED = "colours of BT.2020 became those of BT.709"

WHITE = 203.0
"""Brightness in cd/m2 of a white sheet in HDR (ITU-R BT.2408), and of the brightest white here."""
PEAK = 1000.0
"""Brightness that still differs from what is brighter, cd/m2."""
GRID = 33
"""Points per axis of the table of colours; between them it is interpolated."""


class ToRGB:
    """Makes upright 8-bit RGB of decoded pictures, by the marks that each picture carries.

    HDR is tone-mapped: up to about 90 cd/m2 brightness is kept, above it is rolled off so that ``PEAK`` becomes white
    (the curve of ITU-R BT.2390 on the largest of the three channels, so that hues stay). BT.2020's colours become
    BT.709's, those outside are clipped. Pictures without such marks pay nothing for it. Calls may come from any
    thread.

    Args:
        note: told once what was changed.
        keep: takes pictures where they lie, see :class:`sipvideo.sources.hardware.Decoding`; those that are of high
            dynamic range, wide or not upright come to the host all the same.
    """

    def __init__(self, note: Callable[[str], None], keep: Keep | None = None) -> None:
        self._note, self._keep = note, keep
        self._converter = VideoReformatter()  # kept: setting one up costs more than a conversion
        self._lock = threading.Lock()
        self.turned = False
        """Whether the last picture was turned by a quarter."""
        self._wide: tuple[object, _WideToNarrow] | None = None

    def __call__(self, picture: av.VideoFrame) -> NDArray[np.uint8] | DevicePicture:
        """uint8 [H, W, 3], upright; or the picture on its device, where it is kept."""
        wide = picture.color_trc in HDR or picture.color_primaries == ColorPrimaries.BT2020
        matrix = _display_matrix(picture)
        if self._keep is not None and not wide and matrix is None:
            kept = self._keep(planes_of(picture))
            if kept is not None:
                return kept
        picture = on_host(picture)
        rgb = self._narrowed(picture) if wide else None
        if rgb is None:
            rgb = self._plain(picture)
        return self._upright(rgb, matrix)

    def _upright(self, rgb: NDArray[Any], matrix: bytes | None) -> NDArray[np.uint8]:
        """Applies the display matrix (phones held upright, mirrored fronts)."""
        self.turned = False
        if matrix is not None:
            # 16.16 fixed point: x' = a x + c y, y' = b x + d y. Only quarter turns and flips exist in practice,
            # so the larger pair decides.
            a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
            self.turned = abs(a) + abs(d) < abs(b) + abs(c)
            if self.turned:
                rgb, a, d = rgb.transpose(1, 0, 2), c, b
            rgb = rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(rgb, np.uint8)

    def _plain(self, picture: av.VideoFrame) -> NDArray[Any]:
        try:
            return self._converted(picture)
        except av.error.FFmpegError:
            matrix = picture.colorspace
            if matrix == UNMARKED:
                raise
            picture.colorspace = UNMARKED
            rgb = self._converted(picture)
            name = FOREIGN.get(matrix, f"matrix {int(matrix)}")
            self._note(f"colours coded by {name} are taken for the usual ones, and are off")
            return rgb

    def _converted(self, picture: av.VideoFrame) -> NDArray[Any]:
        # Older PyAV only looks at the file's colour marks where source and target are told apart.
        return self._converter.reformat(
            picture,
            format="rgb24",
            dst_colorspace=Colorspace.ITU601,
            src_color_range=picture.color_range,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()

    def _narrowed(self, picture: av.VideoFrame) -> NDArray[Any] | None:
        """HDR or wide colours as the screen has them; None: FFmpeg or the disk for its table refuses."""
        marks = (picture.color_trc, picture.colorspace, picture.color_range)
        form = (*marks, picture.width, picture.height, picture.format.name)
        kind = HDR.get(picture.color_trc)
        try:
            with self._lock:
                if self._wide is None or self._wide[0] != form:
                    self._wide = form, _WideToNarrow(picture)
                rgb = self._wide[1](picture)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._note(f"{kind or 'BT.2020'} pictures stay as they are coded, too pale: {error}")
            return None
        self._note(f"HDR pictures ({kind}) are tone-mapped to SDR" if kind else NARROWED)
        return rgb


def _display_matrix(picture: av.VideoFrame) -> bytes | None:
    """How a picture is to be turned, as FFmpeg tells it; None: it is upright."""
    # Not picture.side_data: picture and container would refer to each other, and every picture's memory would
    # wait for the garbage collector, which with PyTorch loaded may come after gigabytes.
    matrix: Any = None
    with contextlib.suppress(ValueError):  # PyAV does not know every kind: EXIF of FFmpeg 8
        matrix = SideDataContainer(picture).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    return None if matrix is None else bytes(matrix)


class _WideToNarrow:
    """FFmpeg's filters for pictures of one form: scale to planar RGB of 16 bits, a table of colours, 8 bits."""

    def __init__(self, picture: av.VideoFrame) -> None:
        matrix = MATRICES.get(picture.colorspace, "bt2020")
        full = picture.color_range == ColorRange.JPEG
        self._graph = graph = av.filter.Graph()
        size, form = f"{picture.width}x{picture.height}", picture.format.name
        parts = [
            graph.add("buffer", video_size=size, pix_fmt=form, time_base="1/1"),
            graph.add("scale", in_color_matrix=matrix, in_range="pc" if full else "tv"),
            graph.add("format", pix_fmts="gbrp16le"),
        ]
        handle, path = tempfile.mkstemp(".cube", "sipvideo-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(f"LUT_3D_SIZE {GRID}\n")
                np.savetxt(file, _table(picture.color_trc), fmt="%.5f")
            parts += [
                graph.add("lut3d", file=path, interp="tetrahedral"),
                graph.add("format", pix_fmts="rgb24"),
                graph.add("buffersink"),
            ]
            for one, following in pairwise(parts):
                one.link_to(following)
            graph.configure()
        finally:
            os.unlink(path)

    def __call__(self, picture: av.VideoFrame) -> NDArray[Any]:
        self._graph.push(picture)
        frame: Any = self._graph.pull()
        return np.asarray(frame.to_ndarray())


def _table(transfer: int) -> NDArray[np.float64]:
    """BT.709 RGB for display, 0..1, of every grid point of coded BT.2020 RGB; red runs fastest."""
    axis = np.linspace(0.0, 1.0, GRID)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    coded = np.stack((red, green, blue), axis=-1).reshape(-1, 3)
    if transfer == ColorTrc.SMPTE2084:
        light = _tone_mapped(_from_pq(coded))
    elif transfer == ColorTrc.ARIB_STD_B67:
        light = _tone_mapped(_from_hlg(coded))
    else:
        light = coded**2.4
    # Primaries of BT.2020 in those of BT.709, in linear light (ITU-R BT.2087).
    narrow = light @ np.array(
        [[1.6605, -0.1246, -0.0182], [-0.5876, 1.1329, -0.1006], [-0.0728, -0.0083, 1.1187]]
    )
    return np.asarray(np.clip(narrow, 0.0, 1.0) ** (1 / 2.4))


def _tone_mapped(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """cd/m2 to 0..1, by BT.2390 on the largest channel."""
    largest = np.maximum(light.max(axis=1, keepdims=True), 1e-6)
    top = _to_pq(np.array(PEAK))
    white = _to_pq(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    level = np.minimum(_to_pq(largest) / top, 1.0)
    t = np.maximum(level - knee, 0.0) / (1 - knee)
    rolled = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * white
    )
    mapped = _from_pq(np.where(level < knee, level, rolled) * top)
    return np.asarray(light * mapped / largest / WHITE)


def _from_pq(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: 0..1 to cd/m2."""
    power = coded ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0.0) / (18.8515625 - 18.6875 * power)
    return np.asarray(10_000.0 * ratio ** (1 / 0.1593017578125))


def _to_pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    power = (light / 10_000.0) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def _from_hlg(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100 HLG on a display of ``PEAK``: 0..1 to cd/m2."""
    scene = np.where(
        coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )
    luminance = scene @ np.array([[0.2627], [0.6780], [0.0593]])
    return np.asarray(PEAK * np.maximum(luminance, 1e-9) ** 0.2 * scene)
