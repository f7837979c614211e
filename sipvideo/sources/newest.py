"""The newest pictures of a live stream, of which only those that are wanted are decoded.

A compressed picture needs others, back to the last key frame. So while nobody wants pictures the packets since the
last key frame are kept, which costs next to nothing, and when somebody does they are decoded at once, without those
that no other picture needs. While pictures are wanted each is decoded as it comes, unless that takes longer than the
stream: then packets are kept until the newest is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import av

from sipvideo.sources.arrivals import Arrivals
from sipvideo.sources.decoder import Decoder
from sipvideo.sources.source import Capture, Passed

MOST_PACKETS, MOST_BYTES = 300, 16 << 20
"""Packets that are kept of a stream: more are decoded, whether or not anybody wants to see them."""

SPARE = 2
"""Pictures at the end that are all decoded, beyond those that a decoder holds back: no other may need the newest."""


class _Kept:
    """Packets since the last key frame that the decoder has not seen.

    Attributes:
        cut: packets before them are missing: the decoder must forget what it knows.
    """

    def __init__(self) -> None:
        self._packets: list[av.Packet[Any]] = []
        self._bytes = 0
        self.cut = False

    def add(self, packet: av.Packet[Any]) -> None:
        """One more; a key frame makes all before it needless."""
        if packet.is_keyframe and self._packets:
            self.drop()
        self._packets.append(packet)
        self._bytes += packet.size

    def drop(self) -> None:
        """They will never be decoded."""
        self._packets, self._bytes, self.cut = [], 0, True

    def take(self) -> list[av.Packet[Any]]:
        """All of them, to be decoded."""
        packets, self._packets, self._bytes, self.cut = self._packets, [], 0, False
        return packets

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def is_full(self) -> bool:
        return len(self._packets) >= MOST_PACKETS or self._bytes >= MOST_BYTES


class _Count:
    """What became of the pictures that came. One is not settled while it may still be shown."""

    def __init__(self) -> None:
        self.came = self.settled = self.undecodable = 0
        self._missing: Counter[str] = Counter()

    def leave_out(self, cause: str, count: int = 1) -> None:
        """So many are not shown."""
        self._missing[cause] += count
        self.settled += count

    def pass_over(self, held: int, cause: str) -> None:
        """All are too old by now to be shown, except those that the decoder holds back."""
        if (surplus := self.came - self.settled - held) > 0:
            self.leave_out(cause, surplus)

    def take_missing(self) -> dict[str, int]:
        """Those that were left out since the last call."""
        missing, self._missing = dict(self._missing), Counter()
        self.undecodable += missing.get("undecodable", 0)
        return missing


class NewestPictures:
    """Reads a live stream.

    Args:
        decoder: of the stream, not read yet.
        wanted: whether pictures are wanted now.
    """

    def __init__(self, decoder: Decoder, wanted: Callable[[], bool]) -> None:
        self._decoder = decoder
        self._context: Any = decoder.stream.codec_context
        self._wanted = wanted
        self._arrivals = Arrivals(decoder.step)
        self._times = decoder.picture_times()
        self._kept = _Kept()
        self._count = _Count()
        self._last: float | None = None
        self._over = False

    def captures(self) -> Generator[Capture | Passed, None, None]:
        """A picture, or word that one came, for each packet. Raises SourceError at the end where it is none."""
        for packet in self._decoder.packets(self._arrivals.watch):
            if packet is not None and packet.size:
                self._count.came += 1
                self._kept.add(packet)
            else:
                self._over = True
            yield self._next()
        count = self._count
        self._decoder.check_end(count.came - count.undecodable, self._times.end)

    def _next(self) -> Capture | Passed:
        if not (self._over or self._kept.is_full):
            if not self._wanted():
                return self._passed("unwanted")
            if self._arrivals.are_late:
                return self._passed("skipped")
        count, begun = len(self._kept), time.monotonic()
        picture = self._decoded()
        took = time.monotonic() - begun
        if picture is None:
            return self._passed("unwanted")
        # What came meanwhile is decoded much sooner, and is not that old.
        if not self._over and self._arrivals.bearable < took < count * self._decoder.step / 2:
            return self._passed("skipped")
        return self._capture(picture)

    @property
    def _held(self) -> int:
        """Pictures that the decoder holds back, as one that comes later may have to be shown before."""
        return 0 if self._over else int(self._context.reorder_depth)

    def _decoded(self) -> av.VideoFrame | None:
        """Decodes what is kept and gives the newest picture of it, if there is one."""
        if self._kept.cut:
            self._context.flush_buffers()
        packets: list[av.Packet[Any] | None] = [*self._kept.take()]
        needed = len(packets) - self._held - SPARE
        newest = None
        for number, packet in enumerate(packets + [None] * self._over):
            self._context.skip_frame = "NONREF" if number < needed else "DEFAULT"
            pictures = self._decoder.decoded(packet, self._times)
            if pictures is None:
                self._count.leave_out("undecodable")
            for picture in pictures or ():
                if picture.is_corrupt:
                    self._count.leave_out("undecodable")
                else:
                    newest = picture
        return newest

    def _capture(self, picture: av.VideoFrame) -> Capture:
        arrived = self._arrivals.of(picture.pts)
        since = None if self._last is None else arrived - self._last
        self._last = arrived
        self._count.settled += 1
        self._count.pass_over(self._held, "unwanted")
        missing = self._count.take_missing()
        timestamp = self._times.of(picture, since if missing else None)
        rgb = self._decoder.rgb(picture)
        return Capture(self._count.settled - 1, timestamp, rgb, arrived=arrived, missing=missing)

    def _passed(self, cause: str) -> Passed:
        self._count.pass_over(self._held, cause)
        return Passed(self._count.settled, self._count.take_missing(), self._arrivals.last)
