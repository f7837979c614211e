"""When the packets of a live stream came in, and whether decoding keeps up with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import av

BEHIND = 1.0
"""Seconds of backlog, for as many seconds, after which packets are skipped until it is gone."""

WAITED = 0.3
"""Part of a frame's time for which a packet must be waited for to count as new."""


class Arrivals:
    """Reads packets and knows the moment at which each came in.

    A packet that had to be waited for is new. Those that were there already may have waited, in the buffers
    of the network, for the decoder: how long follows from their timestamps, counted from the last new one.

    Args:
        step: seconds between frames.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._moments: dict[int | None, float] = {}
        self._newest_delay: float | None = None
        self._lag = 0.0
        self._late_since: float | None = None
        self._skipping = False

    def watch(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The packets as they come."""
        while True:
            asked = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now = time.monotonic()
            self._note(packet, now, now - asked >= WAITED * self._step)
            yield packet

    def of(self, pts: int | None) -> float:
        """When the picture of that timestamp came in (``time.monotonic``): decoders give it some packets later."""
        return self._moments.get(pts) or time.monotonic()

    def skips(self, packet: av.Packet[Any]) -> bool:
        """Whether to leave the packet undecoded, because decoding all of them takes longer than they last.

        Reading on without decoding is quick; from the first key frame that is not late the stream goes on.
        """
        if self._skipping and packet.is_keyframe and self._late_since is None:
            self._skipping = False
        return self._skipping

    def _note(self, packet: av.Packet[Any], now: float, waited: bool) -> None:
        if packet.pts is not None and packet.time_base is not None:
            delay = now - float(packet.pts * packet.time_base)
            if waited or self._newest_delay is None:
                self._newest_delay = delay
            self._lag = max(delay - self._newest_delay, 0.0)
        self._moments[packet.pts] = now - self._lag
        if len(self._moments) > 64:
            del self._moments[next(iter(self._moments))]
        if self._lag < BEHIND and (waited or not self._skipping):
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since > BEHIND:
            self._skipping = True
