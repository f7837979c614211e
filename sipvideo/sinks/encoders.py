"""Who encodes an annotated video: the card that decoded its source, where it has an encoder, else x264."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import av

BY_CARD = {"cuda": {"libx264": "h264_nvenc"}}
"""Encoders by what decodes the source, and by the encoder of software that they stand for."""


def encoder_of(software: str, hardware: str) -> tuple[str, str]:
    """FFmpeg's name of the encoder, and a note where it is not the one that hardware would have.

    Args:
        software: the encoder that works everywhere.
        hardware: what decodes the source, see :class:`sipvideo.sources.Source`; empty: software.
    """
    wanted = BY_CARD.get(hardware, {}).get(software)
    if wanted is None:
        return software, ""
    if reason := _problem(wanted):
        return software, f"encoded by {software}, not by {wanted}: {reason}"
    return wanted, ""


def quality(codec: str, crf: int, preset: str, *, at_once: bool) -> dict[str, str]:
    """Options of an encoder for a constant quality.

    Args:
        codec: its name.
        crf: quality as x264 counts it; NVENC's scale is about the same.
        preset: x264's trade of speed for size; NVENC has one of its own.
        at_once: no picture is held back.
    """
    if codec == "h264_nvenc":
        held = {"bf": "0", "delay": "0", "zerolatency": "1"} if at_once else {"bf": "2"}
        return {"preset": "p4", "rc": "vbr", "cq": str(crf), "forced-idr": "1", **held}
    options = {"crf": str(crf), "preset": preset}
    return {**options, "tune": "zerolatency"} if at_once else options


@cache
def _problem(codec: str) -> str:
    """Opens an encoder once; FFmpeg's own words where it refuses, empty where it works."""
    try:
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 25)
        context.open()
    except (av.error.FFmpegError, ValueError, OSError) as error:
        what = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        return f"the card has no encoder, or there is none ({what})"
    return ""
