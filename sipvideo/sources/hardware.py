"""Videos decoded by hardware, and what becomes of that where there is none: software, the same pictures, and a note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.reformatter import ColorRange

from sipvideo.structures import DevicePicture

KINDS = ("cuda", "vaapi", "qsv", "videotoolbox")
"""FFmpeg's names of the hardware that may be asked for."""

CHOICES = ("auto", "software", *KINDS)
"""What a user may ask for."""

PLANAR = {
    "nv12": "yuv420p",
    "p010le": "yuv420p10le",
    "p016le": "yuv420p16le",
}
"""Forms of pictures from hardware, and those that software decodes to: the same numbers, otherwise arranged."""


@dataclass(frozen=True, eq=False)
class Planes:
    """A decoded picture where it lies.

    Attributes:
        form: FFmpeg's name of its form, "nv12" for instance.
        size: (height, width) in pixels.
        matrix: between RGB and YCbCr, of ITU-T H.273; 2: unmarked.
        full: black is 0 and white is the largest number.
        planes: its planes by DLPack. Their memory is the decoder's: valid while this object lives.
    """

    form: str
    size: tuple[int, int]
    matrix: int
    full: bool
    planes: Sequence[Any]


Keep = Callable[[Planes], "DevicePicture | None"]
"""Takes a decoded picture; None: not a kind that it knows."""


@dataclass(frozen=True)
class Decoding:
    """How videos are decoded.

    Attributes:
        kind: "software", or one of ``KINDS``.
        device: number or path of the device; None: the usual one.
        keep: whoever can use pictures where they lie; None: they come to the host.
    """

    kind: str = "software"
    device: str | None = None
    keep: Keep | None = None

    def problem(self) -> str:
        """Why this hardware cannot be used here, in a few words; empty where it can be."""
        return _problem(self.kind, self.device)

    def acceleration(self) -> HWAccel | None:
        """For :func:`av.open`; None: software. Streams that the hardware does not know are decoded by software."""
        if self.kind == "software":
            return None
        stay = self.kind == "cuda"  # brought to the host by whoever needs them there
        return HWAccel(self.kind, self.device, allow_software_fallback=True, is_hw_owned=stay)


SOFTWARE = Decoding()


@cache
def _problem(kind: str, device: str | None) -> str:
    """Opens the device once. FFmpeg's own words where it refuses."""
    if kind == "software":
        return ""
    if not hasattr(av.VideoFrame, "sw_format"):
        return f"PyAV {av.__version__} does not tell the form of its pictures, 18 does"
    if kind not in hwdevices_available():
        return "this build of FFmpeg does not know it"
    try:
        hwaccel = Decoding(kind, device).acceleration()
        context = av.CodecContext.create("h264", "r", hwaccel=hwaccel)
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        what = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        return f"no such device, or no driver for it ({what})"
    return "" if context.is_hwaccel else "this build of FFmpeg decodes nothing by it"


def from_hardware(picture: av.VideoFrame) -> bool:
    """Whether hardware decoded a picture, by its form: software gives planes."""
    return picture.format.name in (*KINDS, *PLANAR) or _form(picture) != picture.format.name


def planes_of(picture: av.VideoFrame) -> Planes:
    """A picture for whoever can use it where it lies."""
    return Planes(
        _form(picture),
        (picture.height, picture.width),
        int(picture.colorspace),
        picture.color_range == ColorRange.JPEG,
        picture.planes,
    )


def on_host(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture in memory of the host and in planes, as software would have decoded it."""
    form = _form(picture)
    wanted = PLANAR.get(form, form)
    if wanted == picture.format.name:
        return picture
    same = picture.color_range
    return picture.reformat(format=wanted, src_color_range=same, dst_color_range=same)


def _form(picture: av.VideoFrame) -> str:
    """The form of its numbers, also where they lie on a device."""
    there = getattr(picture, "sw_format", None)
    return str((there or picture.format).name)
