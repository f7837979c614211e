"""A picture or a short clip of what happened, beside the log of events.

Drawn pictures of the last seconds are kept as JPEG, small and few: so a clip can begin before its event, and memory has
a bound. What is drawn has been through the veil before, as everything has that a sink sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.events.event import Event
from sipvideo.events.rules import Rules
from sipvideo.sinks.clip import RATE, Shot, write_clip
from sipvideo.structures import FrameResult

Draw = Callable[[FrameResult], NDArray[np.uint8]]

SIDE = 960
"""Pixels of the longer side of a picture at most."""
ROOM = 48 << 20
"""Bytes of pictures that are kept at most, whatever length was asked for."""
PICTURES, CLIPS = 60, 6
"""Per minute of the source at most."""
MARGIN = 0.5
"""Seconds of a clip that have to follow an event which shares it."""


@dataclass(frozen=True)
class Wanted:
    """What is kept of every event, where a zone or line does not say otherwise.

    Attributes:
        picture: a picture of the moment.
        clip: seconds of a clip, half of them before the event; None: no clip.
        address: of the folder, for receivers elsewhere; empty: they are told names alone.
    """

    picture: bool = False
    clip: float | None = None
    address: str = ""

    def of(self, rules: Rules, place: str) -> tuple[bool, float]:
        """Whether there is to be a picture, and how long a clip (0: none), of an event of a place; "": of none."""
        picture, clip = rules.picture or self.picture, rules.clip or self.clip
        if (asked := rules.places.get(place)) is not None:
            picture = picture if asked.picture is None else asked.picture
            clip = clip if asked.clip is None else asked.clip
        return picture, clip or 0.0

    def longest(self, rules: Rules) -> tuple[bool, float]:
        """The same over all places."""
        pictures, clips = zip(
            *(self.of(rules, place) for place in ("", *rules.places)), strict=True
        )
        return any(pictures), max(clips)


@dataclass
class _Clip:
    """A clip whose end has not come yet."""

    path: Path
    end: float
    shots: list[Shot] = field(default_factory=list)


class _Allowance:
    """So many in a minute, all at once if need be."""

    def __init__(self, per_minute: int) -> None:
        self._most = self._left = float(per_minute)
        self._last: float | None = None
        self.refused = 0

    def take(self, second: float) -> bool:
        passed = 0.0 if self._last is None else max(second - self._last, 0.0)
        self._left = min(self._most, self._left + passed * self._most / 60)
        self._last = second
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True


class Snapshots:
    """Pictures and clips of one run's events.

    Args:
        draw: a result as a picture for people.
        wanted: of which events, where the rules do not say.

    Attributes:
        folder: where they go; set before the first event.
    """

    def __init__(self, draw: Draw, wanted: Wanted) -> None:
        self.folder = Path()
        self._draw = draw
        self._wanted = wanted
        self._shots: deque[Shot] = deque()
        self._bytes = 0
        self._clips: list[_Clip] = []
        self._allowed = _Allowance(PICTURES), _Allowance(CLIPS)
        self._worker = ThreadPoolExecutor(1, "clips of events")
        self._encoded: list[Future[None]] = []
        self._problem = ""

    def see(self, result: FrameResult, rules: Rules) -> None:
        """The next result, after the watch has seen it; drawn only where somebody asked for pictures."""
        picture, clip = self._wanted.longest(rules)
        now = result.frame.timestamp
        if not (picture or clip):
            return
        if self._shots and 0 <= now - self._shots[-1].second < 0.95 / RATE:
            return
        shot = Shot(now, _jpeg(self._draw(result)))
        self._shots.append(shot)
        self._bytes += len(shot.jpeg)
        # An event is told only when it has settled.
        told_late = max(rules.settle, rules.lasting, rules.gone_after) + 1.0
        oldest = now - clip / 2 - told_late
        while len(self._shots) > 1 and (self._shots[0].second < oldest or self._bytes > ROOM):
            self._bytes -= len(self._shots.popleft().jpeg)
        for pending in list(self._clips):
            if now > pending.end:
                self._finish(pending)
            else:
                pending.shots.append(shot)

    def files(self, event: Event, rules: Rules, stem: str) -> dict[str, str]:
        """What is kept of an event, as keys for its line: names of files, and addresses where there are any."""
        picture, clip = self._wanted.of(rules, event.place)
        names = {}
        if picture and self._shots and self._allowed[0].take(self._shots[-1].second):
            names["picture"] = self._picture(event, stem)
        if clip and self._shots and (name := self._clip(event, clip, stem)):
            names["clip"] = name
        if self._wanted.address:
            names |= {f"{key}_url": self._wanted.address + name for key, name in names.items()}
        return names

    def _picture(self, event: Event, stem: str) -> str:
        nearest = min(self._shots, key=lambda shot: abs(shot.second - event.timestamp))
        path = self.folder / f"{stem}.jpg"
        path.write_bytes(nearest.jpeg)
        return path.name

    def _clip(self, event: Event, seconds: float, stem: str) -> str:
        for pending in self._clips:
            if event.timestamp + MARGIN <= pending.end:
                return pending.path.name
        if not self._allowed[1].take(self._shots[-1].second):
            return ""
        pending = _Clip(self.folder / f"{stem}.mp4", event.timestamp + seconds / 2)
        begin = event.timestamp - seconds / 2
        pending.shots = [shot for shot in self._shots if shot.second >= begin]
        self._clips.append(pending)
        return pending.path.name

    def _finish(self, clip: _Clip) -> None:
        self._clips.remove(clip)
        self._encoded = [future for future in self._encoded if not self._is_over(future)]
        self._encoded.append(self._worker.submit(write_clip, clip.path, clip.shots))

    def _is_over(self, future: Future[None]) -> bool:
        if future.done() and (error := future.exception()) is not None:
            self._problem = self._problem or f"clips: {getattr(error, 'strerror', None) or error}"
        return future.done()

    def close(self) -> list[str]:
        """Completes all clips, those of the last events as far as they came; what could not be kept."""
        for pending in list(self._clips):
            self._finish(pending)
        self._worker.shutdown()
        self._encoded = [future for future in self._encoded if not self._is_over(future)]
        notes = [self._problem] if self._problem else []
        for allowance, kind, most in zip(
            self._allowed, ("picture", "clip"), (PICTURES, CLIPS), strict=True
        ):
            if allowance.refused:
                notes.append(f"{allowance.refused} events have no {kind}: at most {most} a minute")
        return notes


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture, small, as JPEG."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    if scale < 1:
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()
