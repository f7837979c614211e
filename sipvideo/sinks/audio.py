"""The sound of the source, handed to the annotated video in step with its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus")
"""What players expect in an mp4; anything else becomes AAC."""


class AudioTrack:
    """The best audio track of a file on its way into another container.

    Packets are read when their time has come, so that only a few are in memory. A source whose sound is damaged
    gives what can be read; ``notes`` says what is missing.

    Args:
        path: the source's file.
        target: container open for writing, before its first packet.
        start: timestamp in the file that is second 0 of the target.
    """

    def __init__(self, path: Path, target: av.container.OutputContainer, start: float) -> None:
        self.notes: list[str] = []
        self._target = target
        self._source = av.open(f"file:{path}")
        self._stream = self._source.streams.best("audio")
        self._packets: Iterator[av.Packet[Any]] = iter(())
        if isinstance(self._stream, av.AudioStream) and self._stream.codec_context is not None:
            shift = round(start / self._stream.time_base) if self._stream.time_base else 0
            if self._stream.codec_context.codec.canonical_name in COPIED:
                self._packets = self._read(self._copied(self._stream, shift))
            else:
                self._packets = self._read(self._encoded(self._stream, shift))
        elif self._stream is not None:
            self.notes.append(f"{path}: no decoder for the sound, it is left out")
        self._next = next(self._packets, None)
        self._last_dts: int | None = None

    def close(self) -> None:
        """Closes the source's file."""
        self._source.close()

    def copy_until(self, second: float) -> None:
        """Writes what begins up to this second of the target. Raises av.error.FFmpegError."""
        while (packet := self._next) is not None and _begin(packet) <= second:
            # Broken files repeat times, which no container accepts.
            if packet.dts is not None and (self._last_dts is None or packet.dts > self._last_dts):
                self._last_dts = packet.dts
                self._target.mux(packet)
            self._next = next(self._packets, None)

    def _read(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        try:
            yield from packets
        except av.error.FFmpegError as error:
            self.notes.append(f"the sound could not be read to its end: {error.strerror}")

    def _copied(self, stream: av.AudioStream, shift: int) -> Iterator[av.Packet[Any]]:
        copy = self._target.add_stream_from_template(stream)
        for packet in self._source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
            packet.stream = copy
            yield packet

    def _encoded(self, stream: av.AudioStream, shift: int) -> Iterator[av.Packet[Any]]:
        self.notes.append(
            f"{stream.codec_context.codec.canonical_name} sound does not fit into mp4, it became AAC"
        )
        layout = "mono" if stream.channels == 1 else "stereo"
        encoder: Any = self._target.add_stream("aac", rate=stream.rate, layout=layout)
        resampler = av.AudioResampler("fltp", layout, stream.rate)
        damaged = 0
        for packet in self._source.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                if frame.pts is not None:
                    frame.pts -= shift
                for part in resampler.resample(frame):
                    yield from encoder.encode(part)
        yield from encoder.encode(None)
        if damaged:
            self.notes.append(f"{damaged} pieces of the sound are damaged and left out")


def _begin(packet: av.Packet[Any]) -> float:
    return float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
