"""Annotated videos to put over something else: VP9 in WebM for browsers, ProRes 4444 in MOV for editing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from sipvideo.machine import usable_cores
from sipvideo.sinks.audio import IN_MOV, IN_WEBM
from sipvideo.sinks.video import AT_ONCE, THREADS, AnnotatedVideo, VideoForm
from sipvideo.sinks.yuv import ToYuv

CRF = "24"


class TransparentVideo(AnnotatedVideo):
    """A WebM with transparency as browsers show it: VP9, twice, for colours and opacity; sound becomes Opus.

    Takes pictures uint8 [H, W, 4], RGB and opacity. Colours are written where nothing is seen, too: whoever draws the
    pictures leaves nothing there. Times are whole milliseconds. Otherwise as an annotated video.
    """

    form: ClassVar[VideoForm] = VideoForm(".webm", "libvpx-vp9", "VP9", "yuva420p", IN_WEBM)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._convert = ToYuv(opacity=True)

    def _options(self, *, goes_on: bool) -> dict[str, str]:
        """See :meth:`AnnotatedVideo._options`."""
        return {"cluster_time_limit": "500", **AT_ONCE}

    def _encoder(self, size: tuple[int, int]) -> dict[str, str]:
        """Options of libvpx: nothing is held back, and every picture of one encoder has its fellow of the other."""
        speed = {"deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
        threads = str(min(THREADS, usable_cores()))
        together = {"lag-in-frames": "0", "auto-alt-ref": "0"}
        return {"crf": CRF, "b": "0", "threads": threads, **speed, **together}

    @classmethod
    def _cut(cls, file: Path) -> None:
        """A WebM may end anywhere: it is read to its last whole picture."""
        try:
            with av.open(f"file:{file}") as pieces:
                next(packet for packet in pieces.demux(video=0) if packet.size)
        except (av.error.FFmpegError, StopIteration, IndexError):
            file.write_bytes(b"")


class ProResVideo(AnnotatedVideo):
    """A MOV for editing: ProRes 4444, every picture by itself, with transparency where pictures have it.

    Takes pictures uint8 [H, W, 3 or 4], RGB, opacity. Large. Otherwise as an annotated video.
    """

    form: ClassVar[VideoForm] = VideoForm(".mov", "prores_ks", "ProRes", "yuva444p10le", IN_MOV)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._convert = _to_ten_bits

    def _encoder(self, size: tuple[int, int]) -> dict[str, str]:
        """Options of FFmpeg's ProRes: the parts of a picture are coded at once, none waits for another."""
        threads = str(min(THREADS, math.ceil(1.5 * usable_cores())))
        kind = {"profile": "4444", "alpha_bits": "8", "vendor": "apl0"}
        return {**kind, "threads": threads, "thread_type": "slice"}


def _to_ten_bits(picture: NDArray[np.uint8]) -> av.VideoFrame:
    """A picture as ProRes takes it, opaque where it has no fourth channel."""
    form = "rgba" if picture.shape[2] == 4 else "rgb24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), form)
    return frame.reformat(
        format=ProResVideo.form.pixels,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
