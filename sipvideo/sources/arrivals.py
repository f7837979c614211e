"""When the packets of a live stream came in, and whether whoever reads them keeps up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import av

BEHIND = 0.25
"""Seconds of backlog from which what comes is late; where pictures are rare, as many as three of them last."""

WAITED = 0.3
"""Part of a frame's time for which a packet must be waited for to count as new."""


class Arrivals:
    """Reads packets and knows the moment at which each came in.

    A packet that had to be waited for is new. Those that were there already may have waited, in the buffers
    of the network, for the decoder: how long follows from their timestamps, counted from the last new one, and is no
    longer than the decoder was busy. On a busy machine a packet that was there may seem to have been waited for: so
    what the decoder's work explains is never taken for a clock or a network that has become slower.

    Args:
        step: seconds between frames.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._moments: dict[int | None, float] = {}
        self._delay: float | None = None  # of a packet that is new: the stream's clock to ours
        self._lag = 0.0
        self.last = time.monotonic()
        """When the last packet came in."""

    def watch(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The packets as they come."""
        now = time.monotonic()
        while True:
            given, asked = now, time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now = time.monotonic()
            self._note(packet, now, asked - given, now - asked >= WAITED * self._step)
            yield packet

    def of(self, pts: int | None) -> float:
        """When the picture of that timestamp came in (``time.monotonic``): decoders give it some packets later."""
        return self._moments.get(pts) or time.monotonic()

    @property
    def are_late(self) -> bool:
        """Whether newer packets than the last one have been there for a while: what takes time is behind the stream."""
        return self._lag > self.bearable

    @property
    def bearable(self) -> float:
        """Seconds of backlog that are not worth making up for."""
        return max(BEHIND, 3 * self._step)

    def _note(self, packet: av.Packet[Any], now: float, busy: float, waited: bool) -> None:
        # Packets come in the order of decoding.
        ticks = packet.pts if packet.dts is None else packet.dts
        if ticks is not None and packet.time_base is not None:
            delay = now - float(ticks * packet.time_base)
            late = 0.0 if self._delay is None else delay - self._delay
            self._lag = min(max(late, 0.0), self._lag + busy)
            if waited or self._delay is None:
                self._delay = delay - self._lag
        self.last = self._moments[packet.pts] = now - self._lag
        if len(self._moments) > 64:
            del self._moments[next(iter(self._moments))]
