"""One video stream of an open container, decoded in presentation order by PyAV (FFmpeg)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from errno import EIO
from fractions import Fraction
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sipvideo.clock import restarts
from sipvideo.errors import SourceError
from sipvideo.remote import RemoteError, StoredFile, readable
from sipvideo.sources.choice import choose, tagged_seconds
from sipvideo.sources.colours import ToRGB
from sipvideo.sources.damage import Damage
from sipvideo.sources.endings import is_cut
from sipvideo.sources.hardware import SOFTWARE, Decoding, from_hardware
from sipvideo.sources.source import Capture, Place
from sipvideo.sources.times import PictureTimes
from sipvideo.structures import DevicePicture

COMPLETE = 0.95
"""Share of the declared length from which a file counts as whole, where its container promises no bytes."""

GUESSES = 0x1
"""FFmpeg's switch for guesses at missing times, AVFMT_FLAG_GENPTS, which PyAV turns on."""

NO_TIMES = 0x80
"""FFmpeg's mark of elementary streams, AVFMT_NOTIMESTAMPS."""


INDEXED = ("mov,", "matroska")
"""Beginnings of the names of formats in which a time can be sought and found."""

LEAD = 3.0
"""Seconds before a place from which is decoded: times of decoding are sought, and damage has come to light by then."""


LIVE_THREADS = min(4, os.cpu_count() or 1)
"""Threads that decode a live stream, at most."""


class Missed(Exception):  # noqa: N818 - nobody is told
    """A place cannot be gone to at once; whoever reads from the beginning comes to it."""


class Decoder:
    """The film in an open container.

    Args:
        where: a file, or the address of a stream.
        name: for people.
        timeout: seconds to wait for the connection, and later for each packet; None: for ever.
        live: frames come when they happen.
        options: of FFmpeg.
        decoding: by which hardware; by software where that does not work.
        note: takes lines for people about what was chosen, changed or lost.

    Raises:
        SourceError: it cannot be opened, or has no video.
    """

    def __init__(
        self,
        where: str | StoredFile,
        name: str,
        timeout: float | None,
        live: bool,
        *,
        options: Mapping[str, str] | None = None,
        decoding: Decoding = SOFTWARE,
        note: Callable[[str], None],
    ) -> None:
        opening = dict(options or {})
        if isinstance(where, str) and where.startswith("rtsp"):
            opening["rtsp_transport"] = "tcp"
        self.name = name
        self.timeout = timeout
        self._note = note
        self._path = None if isinstance(where, str) else where
        if reason := decoding.problem():
            note(f"decoded by software, not by {decoding.kind}: {reason}")
            decoding = SOFTWARE
        self._rgb = ToRGB(note, decoding.keep)
        begun = time.monotonic()
        try:
            self.container = av.open(
                where if isinstance(where, str) else readable(where),
                "r",
                options=opening,
                timeout=timeout,
                metadata_errors="replace",
                hwaccel=decoding.acceleration(),
            )
        except (av.error.FFmpegError, RemoteError) as error:
            late = timeout is not None and time.monotonic() - begun >= timeout
            reason = f"no answer for {timeout:g} s" if late else _refusal(self._path, error)
            raise SourceError(f"{name}: {reason}") from error
        # FFmpeg's guesses at missing times take decoding for presentation: see PictureTimes.
        self.container.flags &= ~GUESSES
        stream, about = choose(self.container)
        if stream is None or stream.codec_context is None:
            self.container.close()
            raise SourceError(f"{name}: no {'decoder for its video' if stream else 'video in it'}")
        if about:
            note(about)
        self.stream = stream
        context = stream.codec_context
        self.hardware = decoding.kind if context.is_hwaccel else ""
        if decoding.kind != "software" and not self.hardware:
            note(f"decoded by software, not by {decoding.kind}: it does not know {context.name}")
        self.stream.codec_context.options = dict(options or {})
        self.live = live
        self._before = 0

    @property
    def live(self) -> bool:
        """Frames come when they happen. May be changed until the first one is decoded."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live = live
        # Frame threads are fastest but hold back one frame per thread, which a live picture cannot afford.
        self.stream.thread_type = "SLICE" if live else "AUTO"
        # Pictures of cameras come in few slices, and cameras by the dozen: 0 lets FFmpeg take a thread per core.
        self.stream.codec_context.thread_count = LIVE_THREADS if live else 0
        if self.hardware:
            self.stream.codec_context.thread_count = 1  # hardware has an order of its own

    @property
    def fps(self) -> float | None:
        """Frames per second. AVI and the like count places that may be empty, elementary streams know no count."""
        stream = self.stream
        rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
        if self.container.format.flags & NO_TIMES and stream.guessed_rate:
            rates = [stream.guessed_rate]
        return float(min(rates)) if rates else None

    @property
    def frame_count(self) -> int | None:
        """Frames as declared; None where that counts empty places too."""
        stream, fps = self.stream, self.fps
        empty = fps and stream.average_rate and float(stream.average_rate) > 1.2 * fps
        return None if empty else stream.frames or None

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of an upright picture's pixel divided by its height, once a picture was made."""
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        return 1 / aspect if self._rgb.turned else aspect

    @property
    def start(self) -> Fraction | None:
        """Second 0 of everything in the container, on its own clock; None: it does not say."""
        rounded: Any = self.container.start_time
        if not isinstance(rounded, int):
            return None
        start = Fraction(rounded, av.time_base)
        # The container's is rounded to microseconds, a stream's is not.
        for stream in self.container.streams:
            if stream.start_time is not None and stream.time_base is not None:
                exact = stream.start_time * stream.time_base
                if abs(exact - start) < Fraction(2, av.time_base):
                    return exact
        return start

    @property
    def duration(self) -> float | None:
        """Declared seconds from second 0 to the end of the last frame, where that is told of the pictures."""
        stream, base, start = self.stream, self.stream.time_base, float(self.start or 0)
        kind = self.container.format.name
        if kind == "avi" and stream.frames and stream.average_rate:
            # The demuxer derives an AVI's duration from the bytes that are left; the header's count stays.
            return float(stream.frames / stream.average_rate)
        if kind == "asf" and self.container.streams.audio:
            return None  # one length for all that is in it
        if stream.duration is not None and base is not None:
            return float((stream.duration + (stream.start_time or 0)) * base) - start
        end = tagged_seconds(stream)
        if end is None and self.container.duration and not self.container.streams.audio:
            end = self.container.duration / av.time_base
        # Some writers mean the end on the container's clock, some the time that passes.
        return end - start if end and end > start else end or None

    def captures_from(self, place: Place, lead: float = LEAD) -> Generator[Capture, None, None]:
        """The same as :meth:`captures` gives from a place on, without decoding all before.

        Args:
            place: where.
            lead: seconds before it that are decoded at least.

        Raises:
            Missed: before the first one, where that is not certain to be the same.
        """
        base, start = self.stream.time_base, self.start
        known = self.container.format.name.startswith(INDEXED) and not restarts(self.container)
        if not known or base is None or start is None or place.timestamp < lead:
            raise Missed
        try:
            second = Fraction(place.timestamp - lead) + start
            self.container.seek(int(second / base), stream=self.stream)
        except av.error.FFmpegError as error:
            raise Missed from error
        captures = self.captures()
        try:
            found = _found(captures, place)
        except SourceError as error:
            raise Missed from error
        # What was not decoded counts too, where the end is told and judged.
        self._before = place.index - found.index
        yield replace(found, index=place.index)
        for capture in captures:
            yield replace(capture, index=capture.index + self._before)

    def captures(self) -> Generator[Capture, None, None]:
        """Upright RGB frames; an undecodable packet leaves a gap in the index, as a player would skip it."""
        index = shown = 0
        times, damage = self.picture_times(), Damage()
        try:
            for packet in self.packets():
                pictures = self.decoded(packet, times)
                if packet is None or not packet.size:
                    self._damaged_last |= any(picture.is_corrupt for picture in pictures or ())
                if pictures is None:
                    index, damage.lost = index + 1, damage.lost + 1
                    continue
                for picture in pictures:
                    if self.live and picture.is_corrupt:
                        index += 1
                        continue
                    damage.shown += picture.is_corrupt
                    yield Capture(index, times.of(picture), self.rgb(picture))
                    index, shown = index + 1, shown + 1
            damage.ended = True
        finally:
            # Whoever only looks at the first picture is not told of what he did not see.
            if not self.live and (damage.ended or shown > 1) and (line := str(damage)):
                self._note(line)
        self.check_end(shown + self._before, times.end)

    def rgb(self, picture: av.VideoFrame) -> Callable[[], NDArray[np.uint8] | DevicePicture]:
        """Makes the upright picture."""
        if self.hardware and not from_hardware(picture):
            self._note(
                f"decoded by software, not by {self.hardware}: it does not take this form of "
                f"{self.stream.codec_context.name} ({picture.format.name})"
            )
            self.hardware = ""
        return partial(self._rgb, picture)

    @property
    def step(self) -> float:
        """Seconds from one picture to the next, as declared."""
        return 1 / (self.fps or 25.0)

    def picture_times(self) -> PictureTimes:
        """When its pictures are shown."""
        # Whoever watches live compares streams by their own clocks.
        start = Fraction(0) if self.live else self.start
        base = self.stream.time_base or Fraction(1, 90_000)
        can_restart = restarts(self.container)
        return PictureTimes(start, base, self.step, restarts=can_restart, trusted=self.live)

    def packets(
        self, watch: Callable[[Iterator[av.Packet[Any]]], Iterator[av.Packet[Any]]] = iter
    ) -> Iterator[av.Packet[Any] | None]:
        """Packet after packet, and None at whatever end: the decoder gives what it still holds then."""
        self._broken: av.error.FFmpegError | RemoteError | None = None
        self._damaged_last = False
        packets = watch(self.container.demux(self.stream))
        try:
            for packet in packets:
                if packet.size:
                    self._damaged_last = packet.is_corrupt
                yield packet
        except (av.error.FFmpegError, RemoteError) as error:
            # Its traceback knows this frame, and so the decoder: that would keep each other, and threads, alive.
            self._broken = error.with_traceback(None)
        except IndexError:
            pass  # PyAV's way to end where streams came up that it did not know
        yield None

    def decoded(
        self, packet: av.Packet[Any] | None, times: PictureTimes
    ) -> list[av.VideoFrame] | None:
        """The pictures that come of a packet, or at the end; None: it cannot be decoded."""
        try:
            if packet is None:
                return self.stream.decode(None)
            times.sent(packet)
            return packet.decode()
        except EOFError:
            return []
        except av.error.FFmpegError:
            if packet is None:
                return []
            times.lost(packet)
            return None

    def check_end(self, shown: int, end: float) -> None:
        """Raises SourceError where the end is not that of the video."""
        if (error := self._broken) is not None and not self._closed_by_server(error):
            late = isinstance(error, (av.error.ExitError, av.error.TimeoutError))
            reason = f"no answer for {self.timeout:g} s" if late else error.strerror
            raise SourceError(
                f"{self.name}: reading stopped after {shown} frames ({end:.2f} s): {reason}"
            ) from error
        if shown == 0:
            codec = self.stream.codec_context.name
            raise SourceError(f"{self.name}: not one frame can be decoded ({codec})")
        if self._is_cut_off(shown, end):
            of = "" if self.duration is None else f" of {self.duration:.2f} s"
            raise SourceError(
                f"{self.name}: damaged or cut off: ends after {shown} frames, at {end:.2f} s{of}"
            )

    def _closed_by_server(self, error: av.error.FFmpegError | RemoteError) -> bool:
        """Whether a connection that was to be closed at the end, as no length was told, has been."""
        if not self.name.startswith("http") or self.container.size > 0 or error.errno != EIO:
            return False
        self._note("no length was told: the end of the connection is taken for that of the video")
        return True

    def _is_cut_off(self, shown: int, end: float) -> bool:
        kind = self.container.format.name
        cut = is_cut(self._path, kind, self.stream) if self._path is not None else None
        if cut and kind == "avi" and 0 < self.stream.frames <= shown:
            cut = False  # only the index behind the frames is missing
        if cut is None and self._path is not None and self._damaged_last:
            return True
        if cut is not None:
            return cut
        if self.duration is None or end >= COMPLETE * self.duration or restarts(self.container):
            return False
        # Declared frames may exceed the shown ones (edit lists), and the last frame may be held for long:
        # only when both measures miss something the file is damaged.
        return not self.stream.frames or shown < COMPLETE * self.stream.frames

    def close(self) -> None:
        """Frees the file or connection."""
        self.container.close()


def _found(captures: Iterator[Capture], place: Place) -> Capture:
    """The picture of a place, if it comes and nothing is lost on the way. Raises Missed, SourceError."""
    for count, capture in enumerate(captures):
        if capture.index != count or capture.timestamp > place.timestamp:
            break
        if capture.timestamp == place.timestamp:
            return capture
    raise Missed


def _refusal(path: StoredFile | None, error: av.error.FFmpegError | RemoteError) -> str:
    if not isinstance(error, av.error.InvalidDataError):
        return f"cannot be opened: {error.strerror}"
    if path is not None and _begins_like_mp4(path):
        return "damaged or cut off: the index (moov) of the video is missing"
    return "not a video"


def _begins_like_mp4(path: StoredFile) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"
