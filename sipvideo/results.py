"""The folder with everything that is saved of one input."""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.errors import SinkError
from sipvideo.showing import Showing
from sipvideo.summary import CHECKPOINT, MARK, SUMMARY, RunMark, Summary, checksum

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sipvideo.events import EventWatch
    from sipvideo.events.snapshots import Snapshots
    from sipvideo.sinks import Sink
    from sipvideo.sinks.sink import Mark
    from sipvideo.sinks.video import Clip
    from sipvideo.structures import FrameResult


@dataclass(frozen=True)
class Kind:
    """A kind of result.

    Attributes:
        file: its file or folder.
        sink: name of the class that writes it.
        takes: what the sink is given beside its path, attributes of :class:`Results`.
        module: where the class is.
        copied: the whole file is made beside the hidden one, and cannot do without that room.
        per_frame: bytes of a frame, at least (nothing is seen) and as is usual (five objects).
        per_pixel: bytes of a frame's pixel, likewise, measured on clips of streets, rooms and rendered scenes.
    """

    file: str
    sink: str
    takes: tuple[str, ...] = ()
    module: str = "sipvideo.sinks"
    copied: bool = False
    per_frame: tuple[float, float] = (0, 0)
    per_pixel: tuple[float, float] = (0, 0)

    @property
    def writer(self) -> type[Sink]:
        """The class itself."""
        found: type[Sink] = getattr(importlib.import_module(self.module), self.sink)
        return found


KINDS = {
    "video": Kind("video.mp4", "AnnotatedVideo", ("picture", "source"), per_pixel=(0.002, 0.03)),
    "prores": Kind("video.mov", "ProResVideo", ("picture", "source"), per_pixel=(0.03, 0.7)),
    "pictures": Kind("pictures", "AnnotatedPictures", ("picture",), per_pixel=(0.03, 1.5)),
    "json": Kind("results.json", "YouTubeVISResults", copied=True, per_frame=(6, 2000)),
    "lines": Kind("results.jsonl", "CocoRleLines", ("class_names",), per_frame=(80, 2500)),
    "mots": Kind("mots.txt", "MotsText", copied=True, per_frame=(0, 2000)),
    "png": Kind("masks", "LabelMapPngs", per_pixel=(0.0005, 0.01)),
    "csv": Kind("objects.csv", "TrackTable", ("class_names",), per_frame=(0, 600)),
    "parquet": Kind(
        "objects.parquet", "TrackTable", ("class_names",), copied=True, per_frame=(0, 200)
    ),
    "appearance": Kind("appearance.npz", "AppearanceTable", copied=True, per_frame=(0, 100)),
    "explain": Kind("explain.jsonl.gz", "Explanations", copied=True, per_frame=(0, 2500)),
    "events": Kind(
        "events",
        "EventFiles",
        ("event_watch", "name", "send", "snapshots"),
        "sipvideo.events.sink",
        per_frame=(0, 50),
    ),
}
"""What can be saved, by the name under which it is asked for."""

SINGLE_PICTURE = Kind("picture.png", "AnnotatedPicture", ("picture",))
"""Takes the video's place where the input is a single picture."""

TRANSPARENT = Kind("video.webm", "TransparentVideo", ("picture", "source"))
"""Takes the video's place where its background is transparent, which mp4 has no way to say."""

EVERY = (*KINDS.values(), SINGLE_PICTURE, TRANSPARENT)
"""All that may lie in a folder."""

LOOK_EVERY = 1.0
"""Seconds between looks at the room that is left."""
SPARE = 4_000_000
"""Bytes beside those of the files that are copied: what the encoder still holds, and the summary."""

FILES = {name: kind.file for name, kind in KINDS.items()}
"""Kind of result -> its file or folder."""


class Results:
    """All sinks of one input as one.

    They open with the first result, so that an input without any leaves nothing behind, and replace what an
    earlier run saved there, or go on with it: :meth:`go_on`. Only objects with an identity are drawn.

    Args:
        source: the input.
        class_names: names in label order.
        folder: where to save; None: nowhere.
        kinds: what to save, keys of :data:`FILES`.
        stdout: also write one JSON line per frame to standard output.
        summary: of the run, saved by :meth:`finish`; until then in the folder's hidden mark. None: there is none.
        patience: seconds to wait for another run that still writes there.
        showing: how results look, and what is watched in them; None: masks and tags. With zones or receivers, events
            are saved too.
        watch: goes on with what it knows, where events are saved; None: one that begins.

    Attributes:
        event_watch: turns results into events; its counts are of the last result written.
        stopped: the run has not come to its end; where there is a checkpoint it may go on some other time.

    Raises:
        SinkError: from every method, when something cannot be written.
    """

    def __init__(
        self,
        source: Clip,
        class_names: Sequence[str],
        folder: Path | None,
        kinds: Sequence[str],
        *,
        stdout: bool = False,
        summary: Summary | None = None,
        patience: float = 0.0,
        showing: Showing | None = None,
        watch: EventWatch | None = None,
    ) -> None:
        self.source = source
        self.class_names = class_names
        self.folder = folder
        showing = showing or Showing()
        wanted = "events" in kinds or showing.watches
        # First, so that pictures show the counts of their own frame.
        self.kinds = [*(["events"] if wanted else []), *(k for k in kinds if k != "events")]
        self.stdout = stdout
        self.summary = summary
        self._patience = patience
        self.showing = showing
        self.event_watch = (watch or showing.watch(class_names)) if wanted else None
        self._trails = showing.trails()
        self.stopped = False
        self._sinks: dict[str, Sink] | None = None
        self._stack = ExitStack()
        self._mark: RunMark | None = None
        self._look_again = 0.0

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped = self.stopped or exception[0] is not None
        for sink in self.sinks:
            sink.stopped = self.stopped
        try:
            self._stack.__exit__(*exception)  # type: ignore[arg-type]
        except BaseException:
            self.stopped = True
            raise
        finally:
            if self._mark is not None and self.summary is None:
                self._mark.release(keep=bool(waiting(self._mark.path.parent)))

    @property
    def notes(self) -> list[str]:
        """What could not be saved as asked; complete after the ``with`` block."""
        return [f"{sink.path}: {note}" for sink in self.sinks for note in sink.notes]

    @property
    def sinks(self) -> Collection[Sink]:
        """Those that are open, or were."""
        return () if self._sinks is None else self._sinks.values()

    def picture(self, result: FrameResult) -> NDArray[np.uint8]:
        """A result drawn, for people."""
        trails = None if self._trails is None else self._trails.paths()
        return self.showing.picture(result, self.class_names, self.event_watch, trails=trails)

    @property
    def name(self) -> str:
        """Of the input."""
        return self.summary.input if self.summary is not None else ""

    @property
    def send(self) -> tuple[str, ...]:
        """Receivers of events."""
        return self.showing.send

    @property
    def snapshots(self) -> Snapshots:
        """Pictures and clips of events."""
        from sipvideo.events.snapshots import Snapshots, Wanted

        return Snapshots(
            lambda result: self.picture(result)[:, :, :3], self.showing.wanted or Wanted()
        )

    def write(self, result: FrameResult) -> None:
        """Hands the next result to every sink."""
        if self._sinks is None:
            self._open(None)
        self._check_room()
        if self._trails is not None:
            self._trails.add(self.showing.shown(result))
        for sink in self.sinks:
            sink.write(result)

    def _open(self, marks: Mapping[str, Mark] | None) -> None:
        self._sinks = {}
        for name, open_sink in self._openers(marks):
            self._sinks[name] = self._stack.enter_context(open_sink())
            self._sinks[name].keep = marks is not None

    def go_on(self, marks: Mapping[str, Mark]) -> None:
        """Takes up what an earlier run of the same kinds left in the folder, as it was at :meth:`marks`.

        Raises:
            SinkError: it is not there, or another run is writing.
            LookupError, TypeError, ValueError: these are no marks of such a run.
        """
        if marks.keys() != set(self.kinds):
            raise ValueError(f"expected {', '.join(self.kinds)}, got {', '.join(marks)}")
        try:
            self._open(marks)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """As if nothing had been opened: the next result begins anew."""
        for sink in self.sinks:
            sink.discard()
        self._sinks, self._stack = None, ExitStack()
        if self.event_watch is not None:
            self.event_watch.reset()
        if self._mark is not None:
            self._mark.release(keep=True)  # what lies there is ours to replace
            self._mark = None

    def marks(self) -> dict[str, Mark]:
        """How far each result is, for :meth:`go_on`."""
        return {name: sink.mark() for name, sink in (self._sinks or {}).items()}

    def keep(self, marks: Mapping[str, Mark]) -> bool:
        """Whether all up to the marks is on disk by now. Then hidden files stay until the run has come to its end."""
        kept = all(sink.keeps(marks[name]) for name, sink in (self._sinks or {}).items())
        for sink in self.sinks:
            sink.keep = sink.keep or kept
        return kept

    def _check_room(self) -> None:
        """Ends the run while there is still room to complete its files, which a disk that is quite full has not."""
        now = time.monotonic()
        if self._mark is None or now < self._look_again:
            return
        self._look_again = now + LOOK_EVERY
        folder = self._mark.path.parent
        try:
            copied = [path.stat().st_size for kind, path in waiting(folder) if kind.copied]
            free = shutil.disk_usage(folder).free
        except OSError:
            return  # whoever writes there will tell
        wanted = SPARE + sum(copied)
        if free < wanted and any(sink.frames_written for sink in self.sinks):
            raise SinkError(
                f"{folder}: the disk is full but for {free / 1e6:.1f} MB, which completing the files takes;"
                " what was computed before is kept"
            )

    def finish(self) -> None:
        """Writes the summary as it is now, if there are results. After the ``with`` block.

        Raises:
            SinkError: it cannot be written.
        """
        if self._mark is None or self.summary is None:
            return
        folder = self._mark.path.parent
        try:
            if self.summary.frames:
                take_stock(folder, self.summary)
                self.summary.write(folder)
            if not self.stopped:
                _clear_hidden(folder)
        finally:
            self._mark.release(keep=bool(waiting(folder)))

    def _openers(
        self, marks: Mapping[str, Mark] | None
    ) -> Iterator[tuple[str, Callable[[], Sink]]]:
        from sipvideo import sinks

        if self.stdout:
            yield "stdout", lambda: sinks.CocoRleLines("-", self.class_names)
        if self.folder is None:
            return
        ours = is_ours(self.folder)
        self._mark = RunMark(self.folder, self._patience)
        if marks is not None:
            (self.folder / SUMMARY).unlink(missing_ok=True)
        elif ours:
            clear(self.folder)
        if self.summary is not None:
            self._mark.write(self.summary)
        single = self.source.frame_count == 1 and self.source.path is None
        for asked in self.kinds:
            kind = KINDS[asked]
            if asked == "video" and (single or self.showing.is_transparent):
                kind = SINGLE_PICTURE if single else TRANSPARENT
            given = [getattr(self, name) for name in kind.takes]
            mark = None if marks is None else marks[asked]
            yield asked, partial(kind.writer, self.folder / kind.file, *given, mark=mark)


def is_ours(folder: Path) -> bool:
    """Whether a run, also one that was killed, saved its results there."""
    return (folder / SUMMARY).is_file() or (folder / MARK).is_file()


def take_stock(folder: Path, summary: Summary) -> None:
    """Writes sizes and checksums of the results in a folder into their summary."""
    summary.files, summary.checksums = {}, {}
    for kind in EVERY:
        path = folder / kind.file
        if not path.exists():
            continue
        files = list(path.iterdir()) if path.is_dir() else [path]
        summary.files[kind.file] = sum(file.stat().st_size for file in files)
        summary.checksums[kind.file] = checksum(path)


def waiting(folder: Path) -> list[tuple[Kind, Path]]:
    """Kinds of results of which only the hidden beginning is there."""
    from sipvideo.sinks.sink import hidden

    paths = [(kind, hidden(folder / kind.file)) for kind in EVERY]
    return [(kind, path) for kind, path in paths if path.exists()]


def clear(folder: Path) -> None:
    """Removes what an earlier run saved, and nothing else.

    Raises:
        SinkError: it cannot be removed.
    """
    from sipvideo.sinks.sink import remove

    try:
        # First, as it tells of the others.
        (folder / CHECKPOINT).unlink(missing_ok=True)
        for kind in EVERY:
            remove(folder / kind.file)
        (folder / SUMMARY).unlink(missing_ok=True)
        _clear_hidden(folder)
    except OSError as error:
        raise SinkError(
            f"{folder}: the results of an earlier run cannot be removed: {error.strerror}"
        ) from error


def _clear_hidden(folder: Path) -> None:
    """Removes what results were made of. Raises OSError."""
    from sipvideo.sinks.sink import hidden, parts, remove

    (folder / CHECKPOINT).unlink(missing_ok=True)
    for kind in EVERY:
        for part in reversed(parts(hidden(folder / kind.file))):
            remove(part)
