"""The sound of the source, handed to the annotated video in step with its pictures."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.stream import Discard

from sipvideo.clock import RisingClock, restarts
from sipvideo.remote import StoredFile, readable


class SoundForm(NamedTuple):
    """How sound is kept in a container.

    Attributes:
        container: FFmpeg's name of it.
        copied: what players expect in it; anything else is encoded.
        codec: as what.
        name: the same for people.
        samples: FFmpeg's format of the samples that the encoder takes.
        rates: samples per second that every player knows of it.
    """

    container: str
    copied: tuple[str, ...]
    codec: str
    name: str
    samples: str
    rates: tuple[int, ...]


AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
IN_MP4 = SoundForm(
    "mp4", ("aac", "mp3", "ac3", "eac3", "alac", "opus"), "aac", "AAC", "fltp", AAC_RATES
)
IN_MOV = SoundForm("mov", ("aac", "mp3", "ac3", "eac3", "alac"), "aac", "AAC", "fltp", AAC_RATES)
IN_WEBM = SoundForm("webm", ("opus", "vorbis"), "libopus", "Opus", "flt", OPUS_RATES)

UNCHANGING = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers that say once, at the front, how their sound is made."""


class AudioTrack:
    """The best audio track of a file on its way into another one.

    Packets are read when their time has come, so that only a few are in memory. Sound never costs a picture: what
    cannot be read, converted or held is left out, and ``notes`` says so. Sound that changes its rate or channels on
    the way is converted to what it began with.

    Args:
        path: the source's file.
        target: open for writing, before its first packet.
        start: timestamp in the file that is second 0 of the target.
        beside: number of the video stream whose programme the sound belongs to; None: of any.
        since: second of the target from which sound is wanted, as what comes before is there already; None: all.
        form: how the target keeps sound.
    """

    def __init__(
        self,
        path: StoredFile,
        target: av.container.OutputContainer,
        start: float,
        beside: int | None = None,
        *,
        since: float | None = None,
        form: SoundForm = IN_MP4,
    ) -> None:
        self.notes: list[str] = []
        self._form = form
        self._target = target
        self._start = start
        self._since = since
        self._handles = contextlib.ExitStack()
        self._reached = 0.0
        self._last_dts: int | None = None
        self._packets = self._kept_apart(self._sound(path, beside))
        self._next = next(self._packets, None)

    @property
    def begin(self) -> float:
        """Second of the target with the next piece of sound; infinite after the last."""
        return math.inf if self._next is None else _begin(self._next)

    def close(self) -> None:
        """Closes the source's file."""
        self._handles.close()

    def copy_until(self, second: float) -> None:
        """Writes what begins up to this second of the target. Raises OSError: disk full and the like."""
        while (packet := self._next) is not None and _begin(packet) <= second:
            if packet.dts is not None and (self._last_dts is None or packet.dts > self._last_dts):
                self._last_dts = packet.dts
                self._reached = _begin(packet)
                try:
                    self._target.mux(packet)
                except av.error.FFmpegError as error:
                    if isinstance(error, OSError):
                        raise
                    self._give_up(error)
                    return
            self._next = next(self._packets, None)

    def _kept_apart(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The packets up to a failure of whatever kind: the libraries tell trouble in many ways."""
        try:
            yield from packets
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.notes.append(f"the sound is left out from {self._reached:.1f} s on: {reason}")
        self._next = None

    def _sound(self, path: StoredFile, beside: int | None) -> Iterator[av.Packet[Any]]:
        source = self._handles.enter_context(_opened(path))
        related = None if beside is None else source.streams[beside]
        stream = source.streams.best("audio", related)
        if not isinstance(stream, av.AudioStream):
            return
        context: av.AudioCodecContext | None = stream.codec_context
        if context is None:
            self.notes.append("no decoder for the sound, it is left out")
            return
        if (count := len(source.streams.audio)) > 1:
            number = source.streams.audio.index(stream) + 1
            self.notes.append(f"of {count} audio tracks number {number} is kept")
        form = self._form
        if obstacle := _obstacle(path, stream, form):
            self.notes.append(f"{obstacle}, it became {form.name}")
            if self._since is None:
                yield from self._encoded(stream, self._target)
            else:
                elsewhere = self._handles.enter_context(
                    av.open(os.devnull, "w", format=form.container)
                )
                yield from self._moved(self._encoded(stream, elsewhere))
        else:
            yield from self._copied(stream)

    def _copied(self, stream: av.AudioStream) -> Iterator[av.Packet[Any]]:
        copy: av.AudioStream | None = None
        rehearsal = self._handles.enter_context(_Rehearsal(stream, self._form))
        times, form = _Times(stream, self._start), _Form(stream)
        # Broadcast AAC has a header on every piece; an mp4 that grows in pieces does not take it off by itself.
        headed = form.codec == "aac" and not form.setup
        bare: BitStreamFilterContext | None = None
        refused = 0
        for packet in _demux(stream):
            if not packet.size:
                continue
            if form.changes_with(packet):
                raise ValueError("its rate or its channels change there")
            pts = packet.pts if packet.pts is not None else packet.dts
            packet.pts = packet.dts = times.of(pts, packet.time_base, packet.duration)
            if form.is_foreign(packet) or not rehearsal.takes(packet):
                refused += 1
                continue
            if not self._wants(packet):
                continue
            if headed and bare is None:  # its first piece tells how all are made
                bare = BitStreamFilterContext("aac_adtstoasc", stream)
            if copy is None:  # not before: an mp4 with an empty track cannot grow in pieces
                copy = self._target.add_stream_from_template(stream)
            for piece in bare.filter(packet) if bare is not None else (packet,):
                piece.stream = copy
                yield piece
        self._note_damage(refused)

    def _wants(self, packet: av.Packet[Any]) -> bool:
        return self._since is None or _begin(packet) >= self._since

    def _moved(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """Packets of an encoder that belongs to another container: what it makes depends on all before."""
        copy: av.AudioStream | None = None
        for packet in packets:
            if self._wants(packet):
                if copy is None:
                    copy = self._target.add_stream_from_template(packet.stream)
                packet.stream = copy
                yield packet

    def _encoded(
        self, stream: av.AudioStream, target: av.container.OutputContainer
    ) -> Iterator[av.Packet[Any]]:
        encoder: Any = None
        resampler = av.AudioResampler()
        form: object = None
        times = _Times(stream, self._start)
        damaged = changes = 0
        _order_channels(stream.codec_context)
        for packet in _demux(stream):
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                damaged += 1
                continue
            for frame in frames:
                if encoder is None:
                    encoder = target.add_stream(self._form.codec, **_near(frame, self._form.rates))
                if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    changes += 1
                    yield from _encode(encoder, resampler.resample(None))
                    resampler = av.AudioResampler(self._form.samples, encoder.layout, encoder.rate)
                base = Fraction(1, frame.sample_rate)
                pts = None if frame.pts is None else round(frame.pts * frame.time_base / base)
                frame.pts, frame.time_base = times.of(pts, base, frame.samples), base
                yield from _encode(encoder, resampler.resample(frame))
        if encoder is not None:
            yield from _encode(encoder, [*resampler.resample(None), None])
        if changes > 1:
            form = f"{encoder.rate} Hz {encoder.layout.name}"
            self.notes.append(f"the sound changes on the way, all of it became {form}")
        self._note_damage(damaged)

    def _note_damage(self, pieces: int) -> None:
        if pieces:
            self.notes.append(f"{pieces} pieces of the sound are damaged and left out")


class _Times:
    """Times of the pieces of sound in the target: they rise, over missing, repeated and restarting ones."""

    def __init__(self, stream: av.AudioStream, start: float) -> None:
        self._start = start
        self._rising = RisingClock(0.02, restarts(stream.container))
        self._length: float | None = None

    def of(self, pts: int | None, base: Fraction, duration: int | None) -> int:
        """The time of the next piece in units of ``base``."""
        seconds = None if pts is None else float(pts * base) - self._start
        time = self._rising(seconds, self._length)
        self._length = float(duration * base) if duration else None
        return round(time / base)


class _Rehearsal:
    """A second container, written to nowhere, that is given every piece of sound first.

    The muxer lets sound wait for pictures, so what it refuses late would be told to a picture, and end the film.
    """

    def __init__(self, stream: av.AudioStream, into: SoundForm) -> None:
        self._target = av.open(os.devnull, "w", format=into.container)
        self._copy = self._target.add_stream_from_template(stream)

    def __enter__(self) -> _Rehearsal:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(av.error.FFmpegError):
            self._target.close()

    def takes(self, packet: av.Packet[Any]) -> bool:
        """Whether it takes the packet after those before."""
        packet.stream = self._copy
        try:
            self._target.mux(packet)
        except (av.error.FFmpegError, ValueError):
            return False
        return True


class _Form:
    """Notices where copied sound changes its rate or its channels, which an mp4 cannot follow."""

    def __init__(self, stream: av.AudioStream) -> None:
        self.codec = stream.codec_context.codec.canonical_name
        self.setup = bytes(stream.codec_context.extradata or b"")
        self._header = b""

    def changes_with(self, packet: av.Packet[Any]) -> bool:
        """Whether the packet is made otherwise than those before."""
        if packet.has_sidedata("new_extradata"):
            setup = bytes(packet.get_sidedata("new_extradata"))
            if setup and self.setup and setup != self.setup:
                return True
        header = _header(self.codec, bytes(memoryview(packet)[:7])) if not self.setup else b""
        changes = bool(self._header and header and header != self._header)
        self._header = header or self._header
        return changes

    def is_foreign(self, packet: av.Packet[Any]) -> bool:
        """Whether the packet lacks the header that every piece of such sound begins with."""
        headed = self.codec in ("aac", "ac3", "eac3") and not self.setup
        return headed and not _header(self.codec, bytes(memoryview(packet)[:7]))


def _header(codec: str, data: bytes) -> bytes:
    """The bits of a piece's own header that tell rate and channels; empty where it has none."""
    if len(data) < 7:
        return b""
    if codec == "aac" and data[0] == 0xFF and data[1] >> 4 == 0xF:
        return bytes((data[2] & 0x3D, data[3] & 0xC0))
    if codec == "mp3" and data[0] == 0xFF and data[1] >> 5 == 7:
        return bytes((data[1] & 0x18, data[2] & 0x0C, data[3] >> 6 == 3))
    if codec in ("ac3", "eac3") and data[:2] == b"\x0b\x77":
        # Enhanced AC-3, told by its number, has its channels elsewhere.
        return bytes((data[4] & 0xC0, data[6] & 0xE0) if data[5] >> 3 <= 10 else (data[4] & 0xCF,))
    return b""


def _obstacle(path: StoredFile, stream: av.AudioStream, into: SoundForm) -> str:
    """Why sound cannot be copied into a container, empty where it can.

    Containers made for broadcasting let it change on the way, so there all of it is looked at, undecoded: that takes
    as long as reading the file, and a chance to hear the rest is not to be had later.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in into.copied:
        return f"{codec} sound does not fit into {into.container}"
    with _opened(path) as source, _Rehearsal(stream, into) as rehearsal:
        single, form = source.streams[stream.index], _Form(stream)
        for other in source.streams:
            if other is not single:
                other.discard = Discard.all
        first = True
        with contextlib.suppress(av.error.FFmpegError, IndexError):
            for packet in source.demux(single):
                if not packet.size:
                    continue
                if first and not rehearsal.takes(packet):
                    return f"{codec} sound of {stream.rate} Hz does not fit into {into.container}"
                first = False
                if source.format.name in UNCHANGING:
                    break
                if form.changes_with(packet):
                    return f"{codec} sound changes its rate or its channels on the way"
    return ""


def _order_channels(context: av.AudioCodecContext) -> None:
    """Gives channels that come in an order of their own a usual one, before the first frame.

    PyAV frees such an order once for every frame, which ends the program. Here what it hands out is the only owner.
    """
    layout = context.layout
    if "+" in layout.name:  # as in "8 channels (FL+FR+...)"
        count = layout.nb_channels
        context.layout = {2: "stereo", 6: "5.1", 8: "7.1"}.get(count, f"{count} channels")


def _near(frame: av.AudioFrame, rates: Sequence[int]) -> dict[str, Any]:
    """Rate, of those there are, and channels that are nearest to decoded sound; more than two channels become two."""
    rate = next((rate for rate in rates if rate >= frame.sample_rate), rates[-1])
    return {"rate": rate, "layout": "mono" if frame.layout.nb_channels == 1 else "stereo"}


def _begin(packet: av.Packet[Any]) -> float:
    return 0.0 if packet.dts is None else float(packet.dts * packet.time_base)


def _demux(stream: av.AudioStream) -> Iterator[Any]:
    container: Any = stream.container
    yield from container.demux(stream)


def _encode(encoder: Any, frames: list[Any]) -> Iterator[av.Packet[Any]]:
    for frame in frames:
        yield from encoder.encode(frame)


def _opened(path: StoredFile) -> av.container.InputContainer:
    return av.open(readable(path), "r", metadata_errors="replace")
