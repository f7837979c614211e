"""When decoded pictures are shown, also where the container does not say it or says it wrongly."""

from __future__ import annotations

import heapq
from fractions import Fraction
from typing import Any

import av
from av.video.frame import PictureType

from sipvideo.clock import RisingClock

IN_WORK = 64
"""Packets whose picture may still come; decoders hold back fewer."""


class PictureTimes:
    """Seconds since the start for picture after picture; they rise.

    Some containers (AVI, ASF, Matroska's Video-for-Windows mode) know only when a picture is decoded, and some writers
    give that as the time of presentation. With pictures that are decoded ahead of their turn both are wrong, but as a
    whole the times are right: the k-th picture that comes is shown at the k-th of them. So as long as no packet is to
    be shown before the one ahead of it, times are handed out in order. Elementary streams have no times at all: there
    each picture lasts as long as the stream says.

    Args:
        start: second 0 on the container's clock; None: the first picture's time.
        base: unit of the times of packets and pictures.
        step: seconds between pictures where nothing else tells.
        restarts: whether the container's clock may start anew.
        trusted: a live source, whose times are right but whose packets may be lost, which would upset the order.
    """

    def __init__(
        self,
        start: Fraction | None,
        base: Fraction,
        step: float,
        *,
        restarts: bool,
        trusted: bool = False,
    ) -> None:
        self._base = base
        self._zero = (
            None if start is None else start / base
        )  # in units of ``base``, not always whole
        self._step = step
        self._rising = RisingClock(step, restarts)
        self._in_order = not trusted
        self._moved = False  # a picture came that was decoded ahead of its turn, or after it
        self._last_pts: int | None = None
        self._waiting: list[int] = []
        self._length: float | None = None
        self.end = 0.0
        """Seconds at which the last picture's time is over."""

    def sent(self, packet: av.Packet[Any]) -> None:
        """Notes a packet before it is decoded."""
        pts = packet.pts
        if not self._in_order or not packet.size or (pts is None and packet.dts is None):
            return
        if pts is not None:
            if self._last_pts is not None and pts < self._last_pts:
                self._in_order = False
                return
            self._last_pts = pts
        heapq.heappush(self._waiting, _told(packet))
        if len(self._waiting) > IN_WORK:
            heapq.heappop(self._waiting)

    def lost(self, packet: av.Packet[Any]) -> None:
        """Notes that no picture will come of a packet."""
        if (ticks := _told(packet)) in self._waiting:
            self._waiting.remove(ticks)
            heapq.heapify(self._waiting)

    def of(self, picture: av.VideoFrame, since: float | None = None) -> float:
        """The time of the next picture.

        Args:
            picture: decoded.
            since: seconds since the last one, where others in between were not decoded.
        """
        ticks = picture.pts
        if self._in_order and self._waiting:
            self._moved = self._moved or picture.pict_type == PictureType.B
            if ticks is None or self._moved:
                ticks = heapq.heappop(self._waiting)
            while ticks is not None and self._waiting and self._waiting[0] <= ticks:
                heapq.heappop(self._waiting)
        time = self._rising(self._seconds(ticks), since or self._length)
        length = (picture.duration or 0) * self._base.numerator / self._base.denominator
        # Some writers let every picture last for one tick.
        self._length = length if length > self._step / 20 else None
        self.end = time + (self._length or self._step)
        return time

    def _seconds(self, ticks: int | None) -> float | None:
        """Seconds from the start, rounded once; in whole numbers, which cost a tenth of fractions."""
        if ticks is None:
            return None
        if self._zero is None:
            self._zero = Fraction(ticks)
        over = (ticks * self._zero.denominator - self._zero.numerator) * self._base.numerator
        return over / (self._zero.denominator * self._base.denominator)


def _told(packet: av.Packet[Any]) -> int:
    return packet.pts if packet.pts is not None else packet.dts or 0
