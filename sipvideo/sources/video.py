"""Video files and network streams, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from sipvideo.errors import SourceError
from sipvideo.sources.arrivals import Arrivals
from sipvideo.sources.source import Capture, Source, converted
from sipvideo.structures import Frame

LIVE_SCHEMES = ("rtsp", "rtsps", "rtp", "udp", "tcp", "srt", "rtmp", "rtmps")
COMPLETE = 0.95  # share of the declared duration from which a file counts as whole


class _Decoder:
    """The video stream of an open container, decoded in presentation order."""

    def __init__(
        self,
        address: str,
        name: str,
        timeout: float | None,
        live: bool,
        *,
        options: Mapping[str, str] | None = None,
    ) -> None:
        opening = dict(options or {})
        if address.startswith("rtsp"):
            opening["rtsp_transport"] = "tcp"
        self.name = name
        self.timeout = timeout
        self._converter = VideoReformatter()  # kept: setting one up costs more than a conversion
        begun = time.monotonic()
        try:
            self.container = av.open(address, options=opening, timeout=timeout)
        except av.error.FFmpegError as error:
            late = timeout is not None and time.monotonic() - begun >= timeout
            reason = f"no answer for {timeout:g} s" if late else _refusal(address, error)
            raise SourceError(f"{name}: {reason}") from error
        videos = [
            # A song's cover is a video stream of one picture.
            stream
            for stream in self.container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not videos or videos[0].codec_context is None:
            self.container.close()
            raise SourceError(f"{name}: no {'decoder for its video' if videos else 'video in it'}")
        self.stream = videos[0]
        self.stream.codec_context.options = dict(options or {})
        self.live = live

    @property
    def live(self) -> bool:
        """Frames come when they happen. May be changed until the first one is decoded."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live = live
        # Frame threads are fastest but hold back one frame per thread, which a live picture cannot afford.
        self.stream.thread_type = "SLICE" if live else "AUTO"

    @property
    def fps(self) -> float | None:
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def start(self) -> float:
        """Timestamp of second 0: broadcast formats count from an arbitrary moment, all others from 0."""
        if self.container.format.name not in ("mpegts", "mpeg"):
            return 0.0
        return (self.container.start_time or 0) / av.time_base

    @property
    def duration(self) -> float | None:
        """Declared seconds from second 0 to the end of the last frame."""
        stream, base = self.stream, self.stream.time_base
        if self.container.format.name == "avi" and stream.frames and stream.average_rate:
            # The demuxer derives an AVI's duration from the bytes that are left; the header's count stays.
            return float(stream.frames / stream.average_rate)
        if stream.duration is not None and base is not None:
            return float((stream.duration + (stream.start_time or 0)) * base) - self.start
        if tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        if self.container.duration is not None and not self.container.streams.audio:
            return self.container.duration / av.time_base
        return None

    def captures(self, skip: bool = False) -> Generator[Capture, None, None]:
        """Upright RGB frames; an undecodable packet leaves a gap in the index, as a player would skip it.

        Args:
            skip: where decoding takes longer than the stream, leave out what would be late.
        """
        index = shown = skipped = 0
        last: float | None = None
        end = 0.0
        step = 1 / (self.fps or 25.0)
        arrivals = Arrivals(step)
        try:
            for packet in arrivals.watch(self.container.demux(self.stream)):
                if skip and arrivals.skips(packet):
                    index, skipped = index + 1, skipped + 1
                    continue
                try:
                    pictures = packet.decode()
                except av.error.FFmpegError:
                    index += 1
                    continue
                for picture in pictures:
                    if self.live and picture.is_corrupt:
                        index += 1
                        continue
                    timestamp = _timestamp(picture, last, step)
                    end = timestamp + _seconds(picture, step) - self.start
                    arrived = arrivals.of(picture.pts) if self.live else None
                    rgb = partial(self._upright_rgb, picture)
                    yield Capture(index, timestamp, rgb, arrived=arrived, skipped=skipped)
                    last, index, shown, skipped = timestamp, index + 1, shown + 1, 0
        except av.error.FFmpegError as error:
            late = isinstance(error, (av.error.ExitError, av.error.TimeoutError))
            reason = f"no answer for {self.timeout:g} s" if late else error.strerror
            raise SourceError(
                f"{self.name}: reading stopped after {shown} frames ({end:.2f} s): {reason}"
            ) from error
        if shown == 0:
            codec = self.stream.codec_context.name
            raise SourceError(f"{self.name}: not one frame can be decoded ({codec})")
        if self._is_cut_off(shown, end):
            raise SourceError(
                f"{self.name}: damaged or cut off: ends after {shown} frames,"
                f" at {end:.2f} s of {self.duration:.2f} s"
            )

    def _is_cut_off(self, shown: int, end: float) -> bool:
        if self.duration is None or end >= COMPLETE * self.duration:
            return False
        # Declared frames may exceed the shown ones (edit lists), and the last frame may be held for long:
        # only when both measures miss something the file is damaged.
        return not self.stream.frames or shown < COMPLETE * self.stream.frames

    def _upright_rgb(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        """RGB as it shall be seen: the display matrix (phones held upright, mirrored fronts) is applied."""
        # Older PyAV only looks at the file's colour marks where source and target are told apart.
        rgb: NDArray[Any] = self._converter.reformat(
            picture,
            format="rgb24",
            dst_colorspace=Colorspace.ITU601,
            src_color_range=picture.color_range,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
        # Not picture.side_data: picture and container would refer to each other, and every picture's memory would
        # wait for the garbage collector, which with PyTorch loaded may come after gigabytes.
        matrix: Any = SideDataContainer(picture).get("DISPLAYMATRIX")  # type: ignore[call-arg]
        if matrix is not None:
            # 16.16 fixed point: x' = a x + c y, y' = b x + d y. Only quarter turns and flips exist in practice,
            # so the larger pair decides.
            a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
            if abs(a) + abs(d) < abs(b) + abs(c):
                rgb, a, d = rgb.transpose(1, 0, 2), c, b
            rgb = rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(rgb, np.uint8)

    def close(self) -> None:
        self.container.close()


class VideoFile(Source):
    """A video file of any format that FFmpeg reads; timestamps are the file's own presentation times.

    Opening decodes the first frame, so that a file without pictures is refused at once. A file that is cut
    off gives its frames first and raises then.

    Args:
        path: of the file.
        options: of FFmpeg, for files that are not trusted (``format_whitelist``, ``max_pixels``).

    Raises:
        SourceError: no such file, not a video, no video stream, cut off.
    """

    def __init__(self, path: str | Path, options: Mapping[str, str] | None = None) -> None:
        self.path: Path = Path(path)
        self._options = options
        super().__init__(str(self.path))
        if not self.path.is_file():
            what = "a folder, not a video file" if self.path.is_dir() else "no such file"
            raise SourceError(f"{self.path}: {what}")
        with (
            contextlib.closing(self._decoder()) as decoder,
            contextlib.closing(decoder.captures()) as captures,
        ):
            self.frame_size = next(captures).frame().size
            self.fps, self.start, self.duration = decoder.fps, decoder.start, decoder.duration
            self.frame_count = decoder.stream.frames or None
            self.time_base = decoder.stream.time_base
            self.pixel_aspect = decoder.stream.sample_aspect_ratio or Fraction(1)

    def _decoder(self) -> _Decoder:
        return _Decoder(f"file:{self.path}", self.name, None, live=False, options=self._options)

    def _captures(self) -> Generator[Capture, None, None]:
        with contextlib.closing(self._decoder()) as decoder:
            yield from decoder.captures()

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._captures())


class NetworkStream(Source):
    """A network address that FFmpeg opens (rtsp, http, udp, tcp, srt, rtmp, ...). It can be read once.

    Args:
        address: the address; a password in it is used but never shown.
        timeout: seconds to wait for the connection, and later for each packet.

    Raises:
        SourceError: no answer, no video in it, silence for longer than the timeout.
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        try:
            parts = urlsplit(address)
        except ValueError as error:
            raise SourceError(f"{address.partition('://')[0]}: not an address") from error
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]) if parts.password else parts
        super().__init__(shown.geturl())
        live = parts.scheme in LIVE_SCHEMES
        self._decoder = decoder = _Decoder(address, self.name, timeout, live)
        self._opened.callback(decoder.close)
        self._read = False
        self.fps = decoder.fps
        self.duration = None if live else decoder.duration
        self.is_live = self.buffers = decoder.live = live or self.duration is None
        self.start = None if self.is_live else 0.0
        self.time_base = decoder.stream.time_base
        context = decoder.stream.codec_context
        self.frame_size = (context.height, context.width) if context.height else None

    def _captures(self) -> Generator[Capture, None, None]:
        return self._read_once(skip=self.is_live)

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._read_once(skip=False))

    def _read_once(self, skip: bool) -> Generator[Capture, None, None]:
        if self._read:
            raise SourceError(f"{self.name}: a network stream can be read only once")
        self._read = True
        return self._decoder.captures(skip)


def _seconds(picture: av.VideoFrame, step: float) -> float:
    duration, base = picture.duration, picture.time_base
    return float(duration * base) if duration and base is not None else step


def _timestamp(picture: av.VideoFrame, last: float | None, step: float) -> float:
    """Presentation time in seconds; where it is missing or does not rise, one frame after the last."""
    if picture.pts is not None and picture.time_base is not None:
        timestamp = float(picture.pts * picture.time_base)
        if last is None or timestamp > last:
            return timestamp
    return 0.0 if last is None else last + step


def _refusal(address: str, error: av.error.FFmpegError) -> str:
    if not isinstance(error, av.error.InvalidDataError):
        return f"cannot be opened: {error.strerror}"
    if address.startswith("file:") and _begins_like_mp4(Path(address[5:])):
        return "damaged or cut off: the index (moov) of the video is missing"
    return "not a video"


def _begins_like_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"
