"""Visitors' own webcams: each has its own tracker, all share one network, fairly.

A visitor's newest picture waits in a single slot. One thread serves the slots in the order in which they were filled,
and a visitor who sends again keeps the place in the line: so nobody is served twice before everybody who waits was
served once, and nobody gets an old picture's result when a newer one was there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sipvideo.errors import SipVideoError, UnforeseenError, show_traceback
from sipvideo.events import EventWatch, Rules
from sipvideo.live import Segmenter
from sipvideo.structures import Frame, FrameResult
from sipvideo.web.wire import decode_picture, encode_objects, pack

FORGOTTEN_AFTER = 60.0
"""Seconds without a sight until an identity's first sight is forgotten."""


class FirstSeen:
    """How long identities have been known."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[float, float]] = {}

    def update(self, result: FrameResult) -> dict[int, float]:
        """Seconds since the first sight of each identity in this frame."""
        now = result.frame.timestamp
        for track_id in result.track_ids.tolist():
            self._spans[track_id] = (self._spans.get(track_id, (now, now))[0], now)
        if len(self._spans) > 4 * len(result.track_ids) + 64:
            self._spans = {
                key: span for key, span in self._spans.items() if now - span[1] < FORGOTTEN_AFTER
            }
        return {key: self._spans[key][1] - self._spans[key][0] for key in result.track_ids.tolist()}


class Visitor:
    """One visitor's webcam: made by :meth:`Visitors.enter`.

    Attributes:
        dropped: pictures that a newer one replaced before their turn.
        watch: counts in the zones that the visitor drew; None: there are none.
    """

    def __init__(self, segmenter: Segmenter, deliver: Callable[[bytes], None]) -> None:
        self._segmenter = segmenter
        self._seen = FirstSeen()
        self._index = self._video = 0
        self._reset = False
        self.deliver = deliver
        self.dropped = 0
        self.watch: EventWatch | None = None

    def draw_zones(self, rules: Rules) -> None:
        """The visitor's zones from now on."""
        if not rules.places:
            self.watch = None
        elif self.watch is None:
            self.watch = EventWatch(rules, self._segmenter.class_names)
        else:
            self.watch.change(rules)

    def reset(self) -> None:
        """Identities start anew with the next picture."""
        self._reset = True

    def process(self, picture: bytes, stamp: Any, arrived: float) -> bytes:
        """The message with the objects of one picture. From the serving thread only.

        Args:
            picture: JPEG or WebP.
            stamp: the visitor's own mark of the picture, sent back as it came.
            arrived: ``time.monotonic()`` when it came.
        """
        if self._reset:
            self._reset = False
            self._segmenter.reset()
            self._seen = FirstSeen()
            self._video += 1
        begun = time.monotonic()
        try:
            frame = Frame(decode_picture(picture), self._index, arrived, part=self._video)
            result = self._segmenter.step(frame)
        except SipVideoError as error:
            return pack({"type": "problem", "captured": stamp, "problem": str(error)})
        self._index += 1
        objects, masks = encode_objects(
            result, self._segmenter.class_names, self._seen.update(result)
        )
        header = {
            "type": "result",
            "index": frame.index,
            "video": self._video,
            "captured": stamp,
            "size": list(frame.size),
            "waited_ms": round((begun - arrived) * 1000, 1),
            "latency_ms": round((time.monotonic() - begun) * 1000, 1),
            "dropped": self.dropped,
            "choice": self._segmenter.choice,
            "carried": result.carried,
            "objects": objects,
        }
        if (watch := self.watch) is not None:
            watch.update(result)
            header["counts"] = watch.counts().record()
        return pack(header, masks)


class Visitors:
    """The thread that serves all visitors' webcams, started by the first one.

    Args:
        segmenter: every visitor gets another tracker on its network.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._wake = threading.Condition()
        self._slots: dict[Visitor, tuple[bytes, Any, float]] = {}
        self._present: set[Visitor] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._present)

    def enter(self, deliver: Callable[[bytes], None]) -> Visitor:
        """A new visitor, whose messages go to ``deliver``, called in the serving thread."""
        visitor = Visitor(self._segmenter.another(), deliver)
        with self._wake:
            self._present.add(visitor)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._serve, name="visitors", daemon=True)
                self._thread.start()
        return visitor

    def leave(self, visitor: Visitor) -> None:
        """Forgets a visitor and what waits of theirs."""
        with self._wake:
            self._present.discard(visitor)
            self._slots.pop(visitor, None)

    def submit(self, visitor: Visitor, picture: bytes, stamp: Any) -> None:
        """Puts a picture into the visitor's slot; one that waits there is dropped, its place in the line stays."""
        with self._wake:
            if visitor not in self._present:
                return
            if visitor in self._slots:
                visitor.dropped += 1
            self._slots[visitor] = (picture, stamp, time.monotonic())
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread after the picture that it is at."""
        with self._wake:
            self._closed = True
            self._slots.clear()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(2.0)

    def _serve(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._slots or self._closed)
                if self._closed:
                    return
                visitor = next(iter(self._slots))
                picture, stamp, arrived = self._slots.pop(visitor)
            try:
                message = visitor.process(picture, stamp, arrived)
            except Exception as error:  # one visitor's picture must not end everybody's service
                show_traceback(error)
                problem = UnforeseenError("webcam", error).brief
                message = pack({"type": "problem", "captured": stamp, "problem": problem})
            visitor.deliver(message)
