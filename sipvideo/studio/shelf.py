"""All runs that a studio shows: found in folders, opened when somebody looks, closed when nobody has for long."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError
from sipvideo.pipeline import VideoSegmenter
from sipvideo.results import FILES
from sipvideo.studio.anew import runs_beside
from sipvideo.studio.document import Document
from sipvideo.studio.log import EDITS
from sipvideo.studio.tasks import Tasks
from sipvideo.studio.video import RunVideo, Upload
from sipvideo.summary import Summary

OPEN = 6
"""Runs that are open at the same time; more are read again when somebody looks at them."""

LOOK_EVERY = 5.0
"""Seconds after which folders are searched again for a run that is known."""


@dataclass(frozen=True)
class Place:
    """Where a run is.

    Attributes:
        folder: of its results.
        name: for people.
        upload: its video, where a server keeps it.
    """

    folder: Path
    name: str
    upload: Upload | None = None


Places = Callable[[], Mapping[str, Place]]
"""Runs by their keys, as they are now."""


def places_in(folder: Path) -> dict[str, Place]:
    """The runs in a folder and below it, and the folder itself; their keys stay the same as long as their places do."""
    found: dict[str, Place] = {}
    for results in sorted(_runs(folder)):
        name = str(results.relative_to(folder)) if results != folder else results.resolve().name
        key = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "run"
        if key != name or key in found:  # some names are not fit for an address: these get a sum
            key += "-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        found[key] = Place(results, name)
    return found


def _runs(folder: Path) -> Iterator[Path]:
    """Folders with results, not looking into hidden ones and into what results themselves have as folders."""
    wanted, inside = {FILES["lines"], FILES["json"]}, set(FILES.values())
    for where, folders, files in os.walk(folder):
        found = not wanted.isdisjoint(files)
        if found:
            yield Path(where)
        folders[:] = [
            one for one in folders if not one.startswith(".") and not (found and one in inside)
        ]


class Opened:
    """A run that is open.

    Args:
        place: where it is.

    Attributes:
        share: how much of it is looked through, 0 to 1, while it is opened for the first time.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.share = 0.0
        self._document: Future[Document] = Future()
        self._video: RunVideo | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._open, name="studio-open", daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether asking for the document takes no time, or raises at once."""
        return self._document.done()

    @property
    def is_current(self) -> bool:
        """Whether the results are still those that it was opened with."""
        if not self.is_open or self._document.exception() is not None:
            return not self.is_open
        return self._document.result().index.is_current

    def document(self, patience: float | None = None) -> Document:
        """The run with its edits; waits until it is open.

        Raises:
            SipVideoError: it cannot be read.
            TimeoutError: it takes longer than ``patience`` seconds.
        """
        return self._document.result(patience)

    @property
    def video(self) -> RunVideo:
        """Its pictures. Raises SipVideoError."""
        document = self.document()
        with self._lock:
            if self._video is None:
                self._video = RunVideo(document.index, self.place.upload)
            return self._video

    def close(self) -> None:
        """Frees what is open."""
        with self._lock:
            if self._video is not None:
                self._video.close()

    def _open(self) -> None:
        try:
            self._document.set_result(Document(self.place.folder, self._advance))
        except BaseException as error:
            self._document.set_exception(error)

    def _advance(self, share: float) -> None:
        self.share = share


class Studio:
    """The runs that can be looked at and edited.

    Args:
        places: where they are.
        load: makes a segmenter, for what the model is to do; None: there is no model.
        owner: whoever comes may name files of this machine: it is his own.
        author: name for the log where nobody gives one.

    Attributes:
        tasks: long work on them.
        ending: the server is asked to end.
    """

    def __init__(
        self,
        places: Places,
        *,
        load: Callable[[], VideoSegmenter] | None = None,
        owner: bool = False,
        author: str = "",
    ) -> None:
        self._places = places
        self._load = load
        self._segmenter: VideoSegmenter | None = None
        self._loading = threading.Lock()
        self.owner = owner
        self.author = author
        self.tasks = Tasks()
        self.ending = False
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._known: tuple[Mapping[str, Place], float] = {}, 0.0

    def runs(self) -> list[Json]:
        """What is known of each run without opening it; of those that are open, all."""
        return [self._brief(key, place) for key, place in self._looked_for().items()]

    def run(self, key: str) -> Opened:
        """An open run. Does not wait until it is.

        Raises:
            KeyError: there is none of that key.
        """
        place = self._place(key)
        with self._lock:
            found = self._open.get(key)
            if found is None or found.place != place or not found.is_current:
                if found is not None:
                    found.close()
                found = self._open[key] = Opened(place)
            self._open.move_to_end(key)
            gone = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - OPEN)]
        for one in gone:
            one.close()
        return found

    def _place(self, key: str) -> Place:
        """Where a run is; folders are not searched for it every time that somebody asks. Raises KeyError."""
        known, when = self._known
        place = known.get(key)
        if place is None or time.monotonic() > when + LOOK_EVERY or not place.folder.is_dir():
            place = self._looked_for()[key]
        return place

    def _looked_for(self) -> Mapping[str, Place]:
        found = dict(self._places())
        there = {place.folder.resolve() for place in found.values()}
        waiting = list(found.items())
        for key, place in waiting:
            for folder in runs_beside(place.folder):
                added = folder.name.removeprefix(place.folder.resolve().name)
                if folder not in there and f"{key}{added}" not in found:
                    new = Place(folder, f"{place.name}{added}", place.upload)
                    found[f"{key}{added}"] = new
                    waiting.append((f"{key}{added}", new))  # it may have been made anew, too
        self._known = found, time.monotonic()
        return found

    def key_of(self, folder: Path) -> str:
        """The key of the run in a folder, also of one that has just been made. Raises KeyError."""
        for key, place in self._looked_for().items():
            if place.folder.resolve() == folder.resolve():
                return key
        raise KeyError(str(folder))

    def segmenter(self) -> VideoSegmenter:
        """The model, loaded when it is wanted for the first time; all get the same one.

        Raises:
            SipVideoError: there is none, or it cannot be loaded.
        """
        with self._loading:
            if self._segmenter is None:
                if self._load is None:
                    raise SipVideoError("this studio has no model")
                self._segmenter = self._load()
            return self._segmenter

    def close(self) -> None:
        """Ends what runs and frees what is open. Edits need no end: each is on the disk."""
        self.ending = True
        self.tasks.close()
        with self._lock:
            opened, self._open = list(self._open.values()), OrderedDict()
        for one in opened:
            one.close()

    def about(self, key: str, patience: float = 1.0) -> Json:
        """All that is known of one run, once it is open; what takes longer is waited for in vain.

        Raises:
            KeyError: there is none of that key.
            SipVideoError: it cannot be read.
        """
        opened = self.run(key)
        with contextlib.suppress(TimeoutError):
            opened.document(patience)
        if not opened.is_open:
            return {**self._brief(key, opened.place), "opening": round(opened.share, 3)}
        return self._full(key, opened)

    def _brief(self, key: str, place: Place) -> Json:
        with self._lock:
            opened = self._open.get(key)
        if opened is not None and opened.is_open and opened.is_current:
            return self._full(key, opened)
        summary = Summary.read(place.folder)
        log = place.folder / EDITS
        with contextlib.suppress(OSError):
            lines = log.read_bytes().count(b"\n") if log.is_file() else 0
        return {
            "id": key,
            "name": place.name,
            "frames": 0 if summary is None else summary.frames,
            "size": None,
            "fps": None,
            "duration": 0.0 if summary is None else summary.duration,
            "identities": None if summary is None else summary.identities,
            "has_video": None,
            "revision": lines,
            "editable": os.access(place.folder, os.W_OK),
            "classes": [],
            "video": None,
            "notes": [],
            "opening": None,
        }

    def _full(self, key: str, opened: Opened) -> Json:
        document, video = opened.document(), opened.video
        with document.lock:
            columns, table = document.index.columns, document.table
            count = len(columns.times)
            first, last = float(columns.times[0]), float(columns.times[-1])
            fps = (count - 1) / (last - first) if last > first else 25.0
            return {
                "id": key,
                "name": opened.place.name,
                "frames": count,
                "size": list(table.size(0)),
                "fps": round(fps, 4),
                "duration": round(last + 1 / fps, 4),
                "identities": len(table.identities),
                "has_video": video.kind is not None,
                "revision": document.revision,
                "editable": os.access(opened.place.folder, os.W_OK),
                "classes": list(document.class_names),
                "video": video.kind,
                "notes": document.notes,
                "opening": None,
            }
