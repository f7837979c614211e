"""The annotated video: H.264 in mp4, with the source's own clock and sound."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from sipvideo.errors import SinkError
from sipvideo.machine import usable_cores
from sipvideo.sinks.audio import AudioTrack
from sipvideo.sinks.sink import Kept, Sink, replacing
from sipvideo.structures import FrameResult

PIECES = {
    "movflags": "+delay_moov+default_base_moof",
    "frag_duration": "500000",
    "flush_packets": "1",
    "max_interleave_delta": "500000",
}
"""Options of an mp4 whose beginnings all play: pieces of half a second, handed to the operating system at once; no
picture waits longer than that for sound."""

LATE = 10.0
"""Seconds until the first sound above which a video is not written in pieces: the first piece waits for all tracks."""

THREADS, B_FRAMES = 16, 3
"""Threads of the encoder, at most: each holds back a frame, and so do the frames between which it looks to and fro."""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

FINEST_TICK = Fraction(1, 90_000)
BT709 = 1


class Clip(Protocol):
    """What an annotated video wants to know of its source; every Source fits."""

    @property
    def path(self) -> Path | None:
        """The file with the sound, None where there is none."""

    @property
    def stream(self) -> int | None:
        """Number of the video in that file."""

    @property
    def clock_start(self) -> float:
        """Second 0 of the timestamps on that file's own clock."""

    @property
    def frame_count(self) -> int | None:
        """Number of frames as declared."""

    @property
    def duration(self) -> float | None:
        """Seconds."""

    @property
    def fps(self) -> float | None:
        """Average frames per second."""

    @property
    def start(self) -> float | None:
        """Timestamp of second 0; None: the first frame's."""

    @property
    def time_base(self) -> Fraction | None:
        """Unit of the timestamps."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height."""

    @property
    def is_live(self) -> bool:
        """Frames come when they happen."""


class AnnotatedVideo(Sink):
    """An mp4 that plays everywhere (H.264, yuv420p, index at the front).

    While running, the hidden file is an mp4 in pieces of half a second, so that a run that is killed loses no more
    than that and what the encoder holds back: at most another second of a file, nothing of a live source.
    Every frame keeps its presentation time, also at a variable frame rate. The first audio track of the source's
    file is copied in step, without re-encoding where mp4 allows it, up to the last frame if the run ends early;
    memory does not grow with the length.
    Odd sizes are padded by a repeated row or column; pictures of other sizes than the first are fitted into it
    with black bars.

    Args:
        path: an ``.mp4`` file.
        draw: result -> uint8 [H, W, 3], RGB.
        source: where the frames come from: gives clock, pixel shape and sound; None: timestamps from 0, no sound.
        crf: quality, 0 (lossless) to 51; 18 is hard to tell from the original.
        preset: x264's trade of speed for size.
    """

    def __init__(
        self,
        path: str | Path,
        draw: Callable[[FrameResult], NDArray[np.uint8]],
        source: Clip | None = None,
        *,
        crf: int = 20,
        preset: str = "superfast",
    ) -> None:
        if Path(path).suffix.lower() != ".mp4":
            raise SinkError(f"{path}: expected a name ending in .mp4")
        if source is not None and source.path is not None and _same_file(source.path, Path(path)):
            raise SinkError(f"{path}: is the source itself and must not be overwritten")
        super().__init__(path)
        self._draw = draw
        self._clip = source
        self._quality = {"crf": str(crf), "preset": preset}
        self._tick = (source and source.time_base) or FINEST_TICK
        self._start = source.start if source is not None else 0.0
        fps = min(
            max((source and source.fps) or 25.0, 0.01), 1000.0
        )  # broken files declare anything
        self._fps = Fraction(fps).limit_denominator(1001)
        self._last_tick = -1
        self._next_index = 0
        self._size, self._others = (0, 0), 0
        self._video: av.VideoStream | None = None
        self._audio: AudioTrack | None = None
        self._convert = _ToYuv()

    def _write(self, result: FrameResult) -> None:
        picture = self._draw(result)
        if self._video is None:
            self._begin(picture, result.frame.timestamp)
        assert self._video is not None
        self._others += picture.shape[:2] != self._size
        fitted = _fitted(picture, (self._video.height, self._video.width))
        frame = self._convert(fitted)
        tick = round((result.frame.timestamp - (self._start or 0.0)) / self._tick)
        # Two frames in one tick cannot be told apart: the later one moves on by one.
        frame.pts = self._last_tick = max(tick, self._last_tick + 1)
        frame.time_base = self._tick
        self._next_index = result.frame.index + 1
        self._mux(self._video.encode(frame))

    def _begin(self, picture: NDArray[np.uint8], timestamp: float) -> None:
        """Opens the file: its size is the first picture's, made even, as yuv420p demands."""
        self._size = picture.shape[:2]
        if self._start is None:
            self._start = timestamp
        # The unit of the first frame's delay; by default it is a coarse millisecond.
        options = {**PIECES, "movie_timescale": str(self._tick.denominator)}
        self._target = av.open(str(self._partial), "w", format="mp4", options=options)
        self._handles.callback(self._release)  # called last
        self._handles.callback(self._target.close)
        self._video = video = self._target.add_stream("libx264", self._fps, self._encoder())
        video.height, video.width = (side + side % 2 for side in picture.shape[:2])
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.time_base = self._tick
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        if self._clip is not None:
            context.sample_aspect_ratio = self._clip.pixel_aspect
            if self._clip.path is not None:
                self._audio = AudioTrack(
                    self._clip.path,
                    self._target,
                    self._start + self._clip.clock_start,
                    self._clip.stream,
                )
                self._handles.callback(self._audio.close)
                if LATE < self._audio.begin < math.inf:
                    self._target.options.pop("frag_duration")
                    self._target.options["movflags"] = "+faststart"

    def _encoder(self) -> dict[str, str]:
        """Options of x264: it may hold back a second, and nothing of what cannot be filmed again."""
        threads = min(THREADS, math.ceil(1.5 * usable_cores()))
        options = {**self._quality, "threads": str(threads)}
        if (self._clip is not None and self._clip.is_live) or threads + B_FRAMES > self._fps:
            options["tune"] = "zerolatency"
        return options

    def _release(self) -> None:
        """The encoder's threads end now: whoever draws may know this sink, and both wait for the garbage collector."""
        self._video = self._audio = None
        del self._target

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            if self._audio is not None and packet.dts is not None:
                self._audio.copy_until(float(packet.dts * packet.time_base))
            self._target.mux(packet)

    def _finish(self) -> None:
        if self._video is None:
            raise SinkError(f"{self.path}: there was no frame to write")
        if self._others:
            height, width = self._size
            self.notes.append(
                f"{self._others} pictures of another size are fitted into that of the first, {width} x {height}"
            )
        self._mux(self._video.encode(None))
        if self._audio is not None:
            end = float(self._last_tick * self._tick + 1 / self._fps)
            self._audio.copy_until(math.inf if self._is_whole(end) else end)
            self.notes += self._audio.notes

    @classmethod
    def assemble(cls, partial: Path, path: Path) -> Kept:
        """See :meth:`Sink.assemble`. Where there is no room for a copy, the pieces themselves become the video."""
        _cut_to_whole_pieces(partial)
        if not partial.stat().st_size:
            partial.unlink()
            return Kept(0)
        try:
            with replacing(path) as new:
                kept = _joined(partial, new)
            partial.unlink()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            kept = _joined(partial, Path(os.devnull))
            os.replace(partial, path)
        return kept

    def _is_whole(self, end: float) -> bool:
        """Whether the source was shown to its last frame, which sound may outlast; ``end`` in seconds."""
        clip = self._clip
        if clip is None or (clip.frame_count is not None and self._next_index >= clip.frame_count):
            return True
        return clip.duration is not None and end + 0.1 >= clip.duration


class _ToYuv:
    """RGB to yuv420p, BT.709 in the range of video, straight into the encoder's frame.

    A third of the time of FFmpeg's conversion, which averages colours only along rows. All pictures have one size.
    """

    def __init__(self) -> None:
        weights = np.array((0.2126, 0.7152, 0.0722))
        red, blue = np.eye(3)[[0, 2]]
        rows = (
            weights * 219,
            (blue - weights) * 112 / (1 - weights[2]),
            (red - weights) * 112 / (1 - weights[0]),
        )
        offsets = ((16.0,), (128.0,), (128.0,))
        self._matrix = np.hstack((np.stack(rows) / 255, offsets)).astype(np.float32)
        self._full: NDArray[Any] | None = None  # kept: fresh memory costs more than the arithmetic
        self._half: NDArray[Any] | None = None

    def __call__(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        height, width = picture.shape[:2]
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.color_range = ColorRange.MPEG
        planes: Any = frame.planes
        y, u, v = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in planes
        )
        self._full = cv2.transform(picture, self._matrix, self._full)
        size = (width // 2, height // 2)
        self._half = cv2.resize(self._full, size, self._half, interpolation=cv2.INTER_AREA)
        cv2.extractChannel(self._full, 0, y)
        cv2.mixChannels([self._half], [u, v], [1, 0, 2, 1])
        return frame


def _cut_to_whole_pieces(path: Path) -> None:
    """Cuts off what was being written when a video in pieces ended; needs no room. Without any piece it is empty."""
    size = path.stat().st_size
    whole = position = pieces = 0
    with path.open("r+b") as file:
        while position + 16 <= size:
            file.seek(position)
            length, kind, long = struct.unpack(">I4sQ", file.read(16))
            length = long if length == 1 else length
            if length < 8 or position + length > size:
                break
            position += length
            if kind != b"moof":  # the index of a piece, of no use without the piece
                whole = position
            pieces += kind == b"mdat"
        if whole < size or not pieces:
            file.truncate(whole if pieces else 0)


def _joined(pieces: Path, path: Path) -> Kept:
    """Writes a video in pieces as one with the index at the front; packets and times stay as they are."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(av.open(f"file:{pieces}"))
        video = source.streams.video[0]
        assert video.time_base is not None
        options = {"movflags": "+faststart", "movie_timescale": str(video.time_base.denominator)}
        if path == Path(os.devnull):
            del options["movflags"]
        target = stack.enter_context(av.open(str(path), "w", format="mp4", options=options))
        copies = {s.index: target.add_stream_from_template(s) for s in source.streams}
        first, last, frames = math.inf, -math.inf, 0
        for packet in source.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.stream is video:
                first, last, frames = min(first, packet.pts), max(last, packet.pts), frames + 1
            packet.stream = copies[packet.stream.index]
            target.mux(packet)
    return Kept(frames, float((last - first) * video.time_base) if frames else 0.0)


def _fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture on a canvas of (height, width): as it is, padded to even, or resized between black bars."""
    (height, width), (h, w) = size, picture.shape[:2]
    if (height, width) == (h, w):
        return picture
    if (height, width) == (h + h % 2, w + w % 2):
        padded = cv2.copyMakeBorder(picture, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE)
        return np.asarray(padded, np.uint8)
    scale = min(height / h, width / w)
    h, w = max(1, round(h * scale)), max(1, round(w * scale))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=how)
    return canvas


def _same_file(a: Path, b: Path) -> bool:
    return b.exists() and a.exists() and a.samefile(b)
