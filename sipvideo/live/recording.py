"""Recordings of live results: saved in a thread of their own, so that a slow disk never delays what is shown."""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sipvideo.errors import SinkError, SipVideoError, contained
from sipvideo.events import EventWatch
from sipvideo.results import Results
from sipvideo.showing import Showing
from sipvideo.structures import FrameResult
from sipvideo.summary import Summary

DEFAULT_KINDS = ("video", "lines", "csv")
"""What a recording saves: kinds that need no memory for what is already written."""
WAITING_FRAMES = 16
WAITING_BYTES = 128 << 20
"""At most so many results, and so many bytes of their pictures, wait to be written."""


@dataclass(frozen=True)
class LiveClip:
    """A live source as an annotated video sees it: no file, no sound, no end, its clock starts with the first frame."""

    fps: float | None = None
    path: Path | None = None
    stream: int | None = None
    clock_start: float = 0.0
    frame_count: int | None = None
    duration: float | None = None
    start: float | None = None
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    is_live: bool = True
    hardware: str = ""


class Recording:
    """Saves the results of one live source from now on until :meth:`stop`.

    Frames keep their times, so that gaps (dropped frames, a pause, a source that was away) last as long as they
    did. A result that cannot be taken because the disk or the encoder is behind is counted, never waited for.

    Args:
        name: of the source; becomes part of the folder's name.
        class_names: names in label order.
        folder: where recordings go; this one gets a folder of its own in it.
        kinds: what to save, keys of ``sipvideo.results.FILES``.
        fps: frames per second of the source, where known.
        showing: how results look, and what is watched in them; None: masks and tags.
        watch: goes on with what it knows and counts, until the recording ends; None: one that begins.

    Raises:
        SinkError: the folder cannot be made. Later troubles stop the recording, see ``problem``.

    Attributes:
        folder: of this recording.
        dropped: results that were not taken.
        problem: why nothing more is saved, else None.
        notes: what was chosen, changed or left out; complete after :meth:`stop`.
        summary: as saved at the end.
        event_watch: counts what it saved so far in zones and lines; None: nothing is watched.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        folder: str | Path,
        kinds: Sequence[str] = DEFAULT_KINDS,
        *,
        fps: float | None = None,
        showing: Showing | None = None,
        watch: EventWatch | None = None,
    ) -> None:
        self.name = name
        self.folder = _new_folder(Path(folder), name)
        self.dropped = 0
        self.problem: SipVideoError | None = None
        self.notes: list[str] = []
        self.summary = Summary(input=name)
        self._first: float | None = None
        # Bounded by write(): so the end mark always finds room.
        self._queue: queue.SimpleQueue[FrameResult | None] = queue.SimpleQueue()
        clip = LiveClip(fps)
        results = Results(
            clip,
            class_names,
            self.folder,
            kinds,
            summary=self.summary,
            showing=showing,
            watch=watch,
        )
        self.event_watch = results.event_watch
        self._begun = time.perf_counter()
        self._thread = threading.Thread(
            target=self._save, args=(results,), name=f"recording {name}"
        )
        self._thread.start()

    @property
    def frames(self) -> int:
        """Number of results saved so far."""
        return self.summary.frames

    @property
    def seconds(self) -> float:
        """From the first to the last result saved so far, on the source's clock."""
        return self.summary.duration

    def write(self, result: FrameResult) -> bool:
        """Hands over the next result, without waiting; False: it is not saved. From one thread only."""
        if not self._thread.is_alive():
            return False
        room = min(
            WAITING_FRAMES, max(2, WAITING_BYTES // max(1, 3 * math.prod(result.frame.size)))
        )
        if self._queue.qsize() >= room:
            self.dropped += 1
            return False
        self._queue.put(result)
        return True

    def stop(self) -> None:
        """Saves what was handed over and completes the files. May be called twice."""
        self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _save(self, results: Results) -> None:
        summary = self.summary
        identities: set[int] = set()
        try:
            with contained(self.name), results:
                for result in iter(self._queue.get, None):
                    results.write(result)
                    ids = result.track_ids[result.track_ids >= 0].tolist()
                    identities.update(ids)
                    summary.count(len(ids), len(identities))
                    now = result.frame.timestamp
                    self._first = now if self._first is None else self._first
                    summary.duration = round(now - self._first, 3)
        except SipVideoError as error:
            self.problem = error
        self.notes = results.notes
        summary.state = "complete" if self.problem is None else "failed"
        summary.problem, summary.notes = str(self.problem or ""), self.notes
        summary.dropped = self.dropped
        summary.seconds = round(time.perf_counter() - self._begun, 3)
        try:
            results.finish()
        except SipVideoError as error:
            self.problem = self.problem or error
        if not summary.frames:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def file_name(name: str) -> str:
    """A source's name fit for a file name: ``rtsp://camera.local/door?x=1`` gives ``rtsp_camera.local_door_x_1``."""
    stem = Path(name).stem if "://" not in name else name
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:80] or "source"


def _new_folder(folder: Path, name: str) -> Path:
    """Makes a folder named after source and time."""
    stem = f"{file_name(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = folder / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if folder.is_dir():
                continue
            raise SinkError(f"{folder}: is a file, expected a folder for recordings") from None
        except OSError as error:
            raise SinkError(f"{path}: cannot be made: {error.strerror}") from error
        return path
    raise AssertionError
