"""Video files and network streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from sipvideo.errors import SourceError
from sipvideo.pictures import file_kind
from sipvideo.remote import RemoteError, RemoteFile, StoredFile, shown
from sipvideo.sources.decoder import Decoder, Missed
from sipvideo.sources.fetch import fetched
from sipvideo.sources.hardware import SOFTWARE, Decoding
from sipvideo.sources.newest import NewestPictures
from sipvideo.sources.source import Capture, Passed, Place, Source, converted
from sipvideo.structures import Frame

PLAYLIST = b"#EXTM3U"
PLAYLIST_TIMEOUT = 10.0
"""Seconds without a packet after which a play list of the disk has no more."""
SHORT_LEAD = 0.5
"""Seconds before a single frame from which is decoded."""
LIVE_SCHEMES = ("rtsp", "rtsps", "rtp", "udp", "tcp", "srt", "rtmp", "rtmps")


class VideoFile(Source):
    """A video file of any format that FFmpeg reads; timestamps are its presentation times, from the file's start on.

    Opening decodes the first frame, so that a file without pictures is refused at once. A file that is cut
    off gives its frames first and raises then.

    Args:
        path: of the file, on the disk or in a bucket.
        options: of FFmpeg, for files that are not trusted (``format_whitelist``, ``max_pixels``).
        decoding: by which hardware.

    Raises:
        SourceError: no such file, not a video, no video stream, cut off.
    """

    repeatable = True

    def __init__(
        self,
        path: str | StoredFile,
        options: Mapping[str, str] | None = None,
        decoding: Decoding = SOFTWARE,
    ) -> None:
        self._decoding = decoding
        self.path: StoredFile = Path(path) if isinstance(path, str) else path
        self._options = options
        super().__init__(str(self.path))
        if isinstance(self.path, Path) and not os.path.isfile(self.path):
            what = "a folder, not a video file" if os.path.isdir(self.path) else "no such file"
            raise SourceError(f"{self.path}: {what}")
        if (kind := file_kind(self.path)) in ("HEIC", "AVIF"):
            # FFmpeg takes it for a film and shows one of the parts that it is made of.
            raise SourceError(f"{self.path}: a picture ({kind}), not a video")
        with (
            contextlib.closing(self._decoder()) as decoder,
            contextlib.closing(decoder.captures()) as captures,
        ):
            first = next(captures).frame()
            self.frame_size = first.size
            self.fps, self.duration = decoder.fps, decoder.duration
            self.frame_count = decoder.frame_count
            self.clock_start = float(decoder.start or 0)
            self.stream = decoder.stream.index
            self.time_base = decoder.stream.time_base
            self.pixel_aspect, self.hardware = decoder.pixel_aspect, decoder.hardware

    def _decoder(self) -> Decoder:
        options, timeout = dict(self._options or {}), None
        with self._opened_file() as file:
            if file.read(len(PLAYLIST)) == PLAYLIST:
                if isinstance(self.path, RemoteFile):
                    raise SourceError(
                        f"{self.path}: a play list, of which FFmpeg cannot get the pieces from there"
                    )
                # Without an end mark FFmpeg takes a play list for a live one: it would leave out all but the last
                # pieces, and wait for more that nobody adds.
                options = {"live_start_index": "0", "m3u8_hold_counters": "3"} | options
                timeout = PLAYLIST_TIMEOUT
        return Decoder(
            self.path,
            self.name,
            timeout,
            False,
            options=options,
            decoding=self._decoding,
            note=self.note,
        )

    def _opened_file(self) -> IO[bytes]:
        try:
            return self.path.open("rb")
        except RemoteError as error:
            raise SourceError(f"{self.path}: {error}") from error

    def _captures(self) -> Generator[Capture, None, None]:
        with contextlib.closing(self._decoder()) as decoder:
            yield from decoder.captures()
        self._check()

    def _captures_from(self, place: Place) -> Generator[Capture, None, None]:
        try:
            with contextlib.closing(self._decoder()) as decoder:
                captures = decoder.captures_from(place)
                first = next(captures)
                if not place.is_at(first.frame()):
                    raise Missed
                yield first
                yield from captures
            self._check()
            return
        except Missed:
            pass
        yield from super()._captures_from(place)

    def _captures_at(self, place: Place) -> Generator[Capture, None, None]:
        try:
            with contextlib.closing(self._decoder()) as decoder:
                yield from decoder.captures_from(place, lead=SHORT_LEAD)
            return
        except Missed:
            pass
        yield from super()._captures_at(place)

    def _check(self) -> None:
        """Raises SourceError where a file in a bucket was replaced while it was read."""
        if isinstance(self.path, RemoteFile):
            try:
                self.path.check()
            except RemoteError as error:
                raise SourceError(f"{self.path}: {error}") from error

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._captures())


class NetworkStream(Source):
    """A network address that FFmpeg opens (rtsp, http, udp, tcp, srt, rtmp, ...). It can be read once.

    Args:
        address: the address; a password in it is used but never shown.
        timeout: seconds to wait for the connection, and later for each packet.
        decoding: by which hardware.

    Raises:
        SourceError: no answer, no video in it, silence for longer than the timeout.
    """

    def __init__(self, address: str, timeout: float = 10.0, decoding: Decoding = SOFTWARE) -> None:
        try:
            parts = urlsplit(address)
        except ValueError as error:
            raise SourceError(f"{address.partition('://')[0]}: not an address") from error
        super().__init__(shown(address))
        self._address, self._timeout, self._decoding = address, timeout, decoding
        live = parts.scheme in LIVE_SCHEMES
        self._decoder = decoder = Decoder(
            address, self.name, timeout, live, decoding=decoding, note=self.note
        )
        self._opened.callback(decoder.close)
        self._read = False
        self.fps, self.hardware = decoder.fps, decoder.hardware
        self.duration = None if live else decoder.duration
        self.is_live = self.buffers = decoder.live = live or self.duration is None
        self.start = None if self.is_live else 0.0
        self.time_base = decoder.stream.time_base
        context = decoder.stream.codec_context
        self.frame_size = (context.height, context.width) if context.height else None

    def _captures(self) -> Generator[Capture, None, None]:
        self._begin()
        empty = True
        try:
            for capture in self._decoder.captures():
                empty = False
                yield capture
        except SourceError:
            # The index of an mp4 may lie behind its frames, and not every server lets one read backwards.
            indexed = self._decoder.container.format.name.startswith("mov,")
            if not (empty and indexed and self._address.startswith("http")):
                raise
            path = self._opened.enter_context(fetched(self._address, self.name, self._timeout))
            decoder = Decoder(path, self.name, None, False, decoding=self._decoding, note=self.note)
            self._opened.callback(decoder.close)
            self.note("its index lies at its end and the server cannot seek: it was fetched first")
            yield from decoder.captures()

    def _newest(self, wanted: Callable[[], bool]) -> Generator[Capture | Passed, None, None]:
        if not self.is_live:
            yield from self._captures()
            return
        self._begin()
        yield from NewestPictures(self._decoder, wanted).captures()

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._captures())

    def _begin(self) -> None:
        if self._read:
            raise SourceError(f"{self.name}: a network stream can be read only once")
        self._read = True
