"""What ``sipvideo webcam`` shows of its sources: pictures, captions, recordings, screenshots."""

from __future__ import annotations

import contextlib
import queue
import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sipvideo.apps import command
from sipvideo.draw import Picture, Trails
from sipvideo.errors import SinkError, SipVideoError
from sipvideo.live import overlay
from sipvideo.live.controls import COMMANDS, Controls
from sipvideo.live.recording import Recording, file_name
from sipvideo.showing import Showing

if TYPE_CHECKING:
    from sipvideo.live import LiveResult, LiveSession
    from sipvideo.sources import SourceStatus

NOTE_SECONDS = 4.0
POLL = 0.05
SILENT = 2.0
"""Seconds without a picture after which the last one is no longer shown as live."""


class Tile:
    """One source on the screen.

    Attributes:
        live: its last result, None before the first.
        shown: number of results shown.
        recording: where its results go, None: nowhere.
        watch: counts what happens in zones, on the screen and in recordings alike; None: nothing is watched.
    """

    def __init__(self, key: str, class_names: Sequence[str], showing: Showing) -> None:
        self.key = key
        self.class_names = class_names
        self._showing = showing
        self.watch = showing.watch(class_names) if showing.watches else None
        self.live: LiveResult | None = None
        self.shown = 0
        self.recording: Recording | None = None
        self._trails = showing.trails() or Trails()
        self._ages: deque[float] = deque(maxlen=15)

    def take(self, live: LiveResult) -> None:
        """The next result: it is shown from now on, and recorded."""
        self.live = live
        self._trails.add(self._showing.shown(live.result))
        if self.recording is not None and self.recording.problem is None:
            self.recording.write(live.result)  # and the watch sees it there
        elif self.watch is not None:
            self.watch.update(live.result)

    def displayed(self) -> None:
        """The last result is on the screen now."""
        assert self.live is not None
        self.shown += 1
        self._ages.append(self.live.shown())

    def forget(self) -> None:
        """Identities start anew."""
        self._trails.clear()
        if self.watch is not None:
            self.watch.forget()

    def picture(self, size: tuple[int, int], controls: Controls, about: overlay.Caption) -> Picture:
        """The last result drawn, fitted into (height, width), with its caption."""
        if self.live is None:
            picture = overlay.blank(size)
        else:
            trails = self._trails.paths() if controls.trails else None
            result, names = self.live.result, self.class_names
            drawn = self._showing.picture(result, names, self.watch, controls.style, trails)
            picture = overlay.fitted(np.ascontiguousarray(drawn[:, :, :3]), size)
        if about.banner:
            picture = overlay.greyed(picture)
        overlay.caption(picture, about)
        return picture

    def caption(
        self, status: SourceStatus, paused: bool, choice: str, note: str
    ) -> overlay.Caption:
        """What is true of the source at this moment."""
        banner = self._banner(status)
        figures = []
        if banner:
            light = overlay.BAD
        elif paused:
            light = overlay.WARNING
            figures.append("paused")
        else:
            light = overlay.GOOD
            age = statistics.median(self._ages) * 1000 if self._ages else 0.0
            figures += [f"{status.fps:.1f} fps", f"age {age:.0f} ms"]
        if choice:
            figures.append(choice)
        if dropped := sum(status.dropped.values()):
            figures.append(f"{dropped} dropped")
        if status.reconnects:
            figures.append(f"{status.reconnects} reconnects")
        if self.recording is not None and self.recording.dropped:
            figures.append(f"{self.recording.dropped} not recorded")
        seconds = self.recording.seconds if self.recording is not None else None
        return overlay.Caption(_title(status.name), figures, light, seconds, banner, note)

    def _banner(self, status: SourceStatus) -> str:
        """Why what is seen is not live; empty while it is."""
        if status.state == "waiting":
            line = f"reconnecting in {status.retry_in:.1f} s" if status.retry_in else "reconnecting"
        elif status.state == "live" and status.silent > SILENT:
            line = "no picture comes"
        elif status.state in ("live", "connecting") and self.live is not None:
            return ""
        else:
            line = status.state
        problem = status.problem or ""
        seen = f"last picture {status.silent:.0f} s ago" if self.live is not None else ""
        return "\n".join(part for part in (line, problem, seen) if part)


def _title(name: str) -> str:
    """Short: a file's name without its folders, an address as it is."""
    return name if "://" in name else Path(name).name or name


class Computing:
    """Asks a session for results in a thread of its own, so that the window answers while the model is at work.

    Args:
        session: the sources; closing it ends the thread.

    Attributes:
        paused: nothing new is computed.
    """

    def __init__(self, session: LiveSession) -> None:
        self.paused = False
        self._session = session
        self._results: queue.Queue[LiveResult] = queue.Queue(1)
        self._failure: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="sipvideo computing")

    def __enter__(self) -> Computing:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended = True
        self._thread.join()

    @property
    def is_over(self) -> bool:
        """Nothing will come any more; what went wrong in the thread still does, from :meth:`next`."""
        ended = not self._thread.is_alive() and self._results.empty()
        return ended and self._failure is None

    def next(self) -> LiveResult | None:
        """A new result, if there is one. Raises what went wrong in the thread."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def _run(self) -> None:
        try:
            while not (self._ended or self._session.is_over):
                live = None if self.paused else self._session.next(POLL)
                if self.paused:
                    time.sleep(POLL)
                while live is not None and not self._ended:
                    with contextlib.suppress(queue.Full):
                        self._results.put(live, timeout=POLL)
                        live = None
        except BaseException as error:  # for the main thread to raise
            self._failure = error


class View:
    """All sources on one canvas, and what a viewer asks for.

    Args:
        session: the sources.
        controls: of the viewer.
        folder: where recordings and screenshots go.
        kinds: what recordings save.
        showing: how results look, and what is watched in them; None: masks and tags.
    """

    def __init__(
        self,
        session: LiveSession,
        controls: Controls,
        folder: Path,
        kinds: Sequence[str],
        *,
        showing: Showing | None = None,
    ) -> None:
        self.showing = showing or Showing()
        self.session = session
        self.controls = controls
        self.folder = folder
        self.kinds = kinds
        self.tiles = {key: Tile(key, session.class_names, self.showing) for key in session.keys}
        self._note = ("", 0.0)
        self._dirty: Tile | None = None

    def say(self, text: str) -> None:
        """Shows a message for a while."""
        self._note = (text, time.monotonic() + NOTE_SECONDS)

    def take(self, live: LiveResult) -> None:
        """The next result of any source."""
        self._start_or_stop_recording()
        tile = self.tiles[live.source]
        if live.begins_again(tile.live):
            self._forget(tile)
        tile.take(live)
        self._dirty = tile

    def canvas(self, size: tuple[int, int]) -> Picture:
        """Everything, drawn at (height, width), RGB."""
        text, until = self._note
        note = text if time.monotonic() < until else ""
        canvas = overlay.blank(size)
        cells = overlay.grid(len(self.tiles), size)
        for (key, tile), (x0, y0, x1, y1) in zip(self.tiles.items(), cells, strict=True):
            choice = self.session.segmenter(key).choice
            status = self.session.status(key)
            about = tile.caption(status, self.controls.paused, choice, note)
            canvas[y0:y1, x0:x1] = tile.picture((y1 - y0, x1 - x0), self.controls, about)
        if self.controls.help:
            overlay.panel(canvas, "keys", [(one.key, one.about) for one in COMMANDS])
        return canvas

    def displayed(self) -> None:
        """The canvas is on the screen."""
        if self._dirty is not None:
            self._dirty.displayed()
            self._dirty = None

    def obey(self, canvas: Picture) -> None:
        """Carries out what was asked for since the last time."""
        if self.controls.take("screenshot"):
            self._screenshot(canvas)
        if self.controls.take("reset"):
            self._reset()
        self._start_or_stop_recording()
        for tile in self.tiles.values():
            if tile.recording is not None and tile.recording.problem is not None:
                self._end(tile)
                self.controls.recording = any(t.recording for t in self.tiles.values())

    def stop_recording(self) -> None:
        """Completes all recordings."""
        for tile in self.tiles.values():
            self._end(tile)

    def _start_or_stop_recording(self) -> None:
        recording = any(tile.recording is not None for tile in self.tiles.values())
        if self.controls.recording and not recording:
            self._record()
        elif recording and not self.controls.recording:
            self.stop_recording()

    def _record(self) -> None:
        self.say(f"recording to {self.folder}")
        for tile in self.tiles.values():
            if self.controls.recording:
                self._begin(tile)

    def _begin(self, tile: Tile) -> None:
        status = self.session.status(tile.key)
        name, names = _title(status.name), self.session.class_names
        rate = status.source_fps or None
        try:
            tile.recording = Recording(
                name,
                names,
                self.folder,
                self.kinds,
                fps=rate,
                showing=self.showing,
                watch=tile.watch,
            )
        except SipVideoError as error:
            self.controls.recording = False
            self.stop_recording()
            self._complain(error)

    def _end(self, tile: Tile) -> None:
        recording, tile.recording = tile.recording, None
        if recording is None:
            return
        recording.stop()
        for note in recording.notes:
            command.note(note)
        if recording.problem is not None:
            self._complain(recording.problem)
        elif recording.frames:
            lost = f", {recording.dropped} frames lost" if recording.dropped else ""
            self.say(f"saved {recording.folder}")
            command.note(
                f"saved {recording.folder} ({recording.frames} frames, {recording.seconds:.1f} s{lost})"
            )

    def _reset(self) -> None:
        for tile in self.tiles.values():
            self.session.reset(tile.key)
            self._forget(tile)
        self.say("identities start anew")

    def _forget(self, tile: Tile) -> None:
        """Identities start anew, and so does the recording: in one of them an identity is one object."""
        recorded = tile.recording is not None
        self._end(tile)
        tile.forget()
        if recorded:
            self._begin(tile)

    def _screenshot(self, canvas: Picture) -> None:
        names = "+".join(file_name(self.session.status(key).name) for key in self.tiles)[:80]
        stem = f"{names}-{time.strftime('%Y%m%d-%H%M%S')}"
        path, number = self.folder / f"{stem}.png", 2
        while path.exists():
            path, number = self.folder / f"{stem}-{number}.png", number + 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            coded = cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))[1]
            path.write_bytes(coded.tobytes())
        except OSError as error:
            self._complain(SinkError(f"{path}: cannot be written: {error.strerror}"))
        else:
            self.say(f"saved {path}")

    def _complain(self, error: SipVideoError) -> None:
        self.say(str(error))
        command.complain(error)
