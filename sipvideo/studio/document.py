"""A run with its edits: what was found, as people have left it.

The run's results are never changed. The document is the run with all edits that are not undone, in the order of the
log, so that reading the log again gives it again; that also holds after the run was made anew.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError
from sipvideo.results import FILES
from sipvideo.results_reader import Looks, frame_result
from sipvideo.structures import FrameResult
from sipvideo.studio.anchors import Translation, anchors_of
from sipvideo.studio.history import History
from sipvideo.studio.index import Progress, RunIndex
from sipvideo.studio.log import BEGIN, EditLog
from sipvideo.studio.operations import Classed, EditError, Operation, read_operation
from sipvideo.studio.table import Steps, Table

BESIDE = {"n", "time", "author", "anchors", "with"}
"""What a line of the log has beside the edit."""


class ConflictError(SipVideoError):
    """Somebody else was faster.

    Attributes:
        change: what happened since.
    """

    def __init__(self, change: Change) -> None:
        super().__init__("the run was edited meanwhile: look at it and edit again")
        self.change = change


@dataclass(frozen=True)
class Change:
    """What has become of a document.

    Attributes:
        revision: number of the last line of the log.
        lines: of the log, new ones.
        touched: identities that may be other than they were; None: all.
        notes: lines for people.
    """

    revision: int
    lines: list[Json]
    touched: set[int] | None
    notes: list[str] = field(default_factory=list)


@dataclass
class _Applied:
    """An edit in the document; steps None: it could not be done."""

    line: Json
    steps: Steps | None
    notes: list[str]


class Document:
    """One run, opened for edits. All methods may be called from any thread.

    Args:
        folder: of the run's results.
        progress: is told while the run is looked through for the first time.

    Attributes:
        folder: that folder.
        index: what the run holds.
        table: its objects with the edits applied; to be read under :attr:`lock`.
        lock: holds the document still.
        class_names: names in label order, also those that edits brought.

    Raises:
        DatasetError: there are no results, or they or the log are damaged.
    """

    def __init__(self, folder: Path, progress: Progress = lambda share: None) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.index = RunIndex(folder, progress)
        self.table = Table(self.index.columns)
        self.class_names = list(self.index.class_names)
        self._log = EditLog(folder)
        self._history = History()
        self._stack: list[_Applied] = []
        self._touched: list[set[int] | None] = []
        self._translation = Translation(self.table, self.index.fingerprint)
        for line in self._log.refresh():
            self._note(line)
            self._touched.append(None)
        for line in self._history.active:
            self._push(line)
        self.table.touched.clear()

    @property
    def revision(self) -> int:
        """Number of the last line of the log."""
        return self._log.revision

    @property
    def notes(self) -> list[str]:
        """What a person should know of the run and of edits that could not be done."""
        with self.lock:
            undone = [
                f"edit {one.line['n']} ({one.line['op']}) is not applied: {one.notes[0]}"
                for one in self._stack
                if one.steps is None
            ]
            return [*self.index.notes, *undone]

    @property
    def found(self) -> tuple[int, int]:
        """How many edits that are not undone could be done in this run, and how many there are."""
        with self.lock:
            return sum(one.steps is not None for one in self._stack), len(self._stack)

    @property
    def accepted(self) -> set[str]:
        """Keys of doubts that were looked at and are none."""
        with self.lock:
            return {one.line["doubt"] for one in self._stack if one.line["op"] == "accept"}

    def since(self, n: int) -> Change:
        """What happened after line ``n``, also in other windows and processes.

        Raises:
            DatasetError: the log is damaged.
        """
        with self.lock:
            self._refresh()
            return self._change(n)

    def edit(self, records: Sequence[Json], base: int, author: str = "") -> Change:
        """Does edits, all or none, and writes them down: they survive whatever comes.

        Args:
            records: of operations; the second and later belong to the first, and are undone with it.
            base: revision that their author saw.
            author: a name for the log.

        Raises:
            ConflictError: there are newer lines.
            EditError: one cannot be done.
            SinkError: they cannot be written.
        """
        if not records:
            raise EditError("expected at least one edit")
        with self._latest(base):
            begin = self._begin_line()
            first = self.revision + len(begin) + 1
            done: list[_Applied] = []
            classes = len(self.class_names)
            try:
                for k, record in enumerate(records):
                    line, notes = self._new(read_operation(record), author)
                    beside = {"with": first} if k else {}
                    done.append(_Applied({**line, **beside}, self.table.taken_steps(), notes))
                written = self._log.append([*begin, *(one.line for one in done)])
            except BaseException:
                self.table.take_back(self.table.taken_steps())
                for one in reversed(done):
                    self.table.take_back(one.steps or [])
                self.table.touched.clear()
                del self.class_names[classes:]
                raise
            touched = self._take(written, done)
            return Change(self.revision, written, touched, [n for one in done for n in one.notes])

    def undo(self, base: int, author: str = "") -> Change:
        """Takes the author's latest edit back. Raises as :meth:`edit`."""
        return self._step("undo", base, author)

    def redo(self, base: int, author: str = "") -> Change:
        """Does again what the author has just undone. Raises as :meth:`edit`."""
        return self._step("redo", base, author)

    def records(self, first: int = 0, count: int | None = None) -> Iterator[Json]:
        """Frames as :func:`sipvideo.sinks.results.result_record` has them, with the edits.

        Objects also have ``edited`` (bool): other than the run left it; and ``was``: the identity that the run gave it,
        None for what edits added. Each frame is as it is when its turn comes.
        """
        end = (
            self.table.frame_count if count is None else min(first + count, self.table.frame_count)
        )
        if first >= end:
            return
        for frame, record in enumerate(self.index.records(first, end - first), first):
            yield self._edited(frame, record)

    def results(self, first: int = 0, count: int | None = None) -> Iterator[FrameResult]:
        """Frames as results, without their pictures; with looks where the run has kept them."""
        looks = Looks.read(self.folder / FILES["appearance"])
        for record in self.records(first, count):
            result = frame_result(record)
            if looks is not None:
                was = [-1 if one["was"] is None else one["was"] for one in record["objects"]]
                seconds = np.full(len(was), result.frame.timestamp)
                seen = looks.at(np.array(was, np.int64), seconds)
                result = replace(result, detections=replace(result.detections, embeddings=seen))
            yield result

    def _edited(self, frame: int, record: Json) -> Json:
        with self.lock:
            table, columns = self.table, self.index.columns
            objects = []
            for row in table.in_frame(frame):
                own = row < table.base
                one: Json = (
                    dict(record["objects"][columns.places[row]]) if own else self._drawn(row)
                )
                label = int(table.labels[row])
                edited = table.is_edited(row)
                if edited:
                    one |= {"track_id": int(table.ids[row]), "label": label}
                    one["class_name"] = self.class_name(label)
                was = int(columns.ids[row]) if own else None
                objects.append({**one, "edited": edited, "was": was})
        objects.sort(key=lambda one: -one["score"])
        return {**record, "objects": objects}

    def _drawn(self, row: int) -> Json:
        table = self.table
        x0, y0, x1, y1 = (float(side) for side in table.boxes[row])
        box, score = [x0, y0, x1 - x0, y1 - y0], float(table.scores[row])
        return {"score": score, "bbox": box, "segmentation": table.masks[row]}

    def class_name(self, label: int) -> str:
        """The label's name, or its number where there is none."""
        return self.class_names[label] if label < len(self.class_names) else str(label)

    # Changes

    @contextlib.contextmanager
    def _latest(self, base: int) -> Iterator[None]:
        """Nobody else changes the document meanwhile. Raises ConflictError where somebody has since ``base``."""
        with self.lock, self._log.held():
            self._refresh()
            if base != self.revision:
                raise ConflictError(self._change(max(base, 0)))
            yield

    def _step(self, op: str, base: int, author: str) -> Change:
        with self._latest(base):
            target = self._history.target(op, author)
            if target is None:
                raise EditError(f"there is nothing to {op}")
            written = self._log.append([{"author": author, "op": op, "of": target}])
            return Change(self.revision, written, self._take(written, []))

    def _begin_line(self) -> list[Json]:
        """A line for the log where it does not yet say that it speaks of this run."""
        if self._translation.told == self.index.fingerprint:
            return []
        return [{"op": BEGIN, "run": self.index.fingerprint, "frames": self.table.frame_count}]

    def _new(self, operation: Operation, author: str) -> tuple[Json, list[str]]:
        """Does an edit; gives its line, with all that its author left open, and what he should know."""
        changes: Json = {}
        if operation.makes and getattr(operation, operation.makes) is None:
            changes[operation.makes] = self.table.new_id()
        if isinstance(operation, Classed):
            changes["label"] = label = self._label(operation, new=True)
            changes["class_name"] = None if label is None else self.class_name(label)
        operation = operation.model_copy(update=changes)
        line = {
            "author": author,
            **operation.record(),
            "anchors": anchors_of(operation, self.table),
        }
        return line, operation.apply(self.table)

    def _label(self, operation: Classed, *, new: bool = False) -> int | None:
        """The label that an edit's class has here. A new class gets the next one."""
        name, label = operation.class_name, operation.label
        if name is None:
            if label is not None and label >= len(self.class_names):
                raise EditError(f"there is no label {label}: give the class's name")
            return label
        if new and name not in self.class_names:
            self.class_names.append(name)
        return self.class_names.index(name)

    def _refresh(self) -> None:
        """Takes up what other processes wrote."""
        if new := self._log.refresh():
            self._take(new, [])

    def _take(self, lines: list[Json], done: list[_Applied]) -> set[int]:
        """New lines of the log; those of ``done`` are in the table already."""
        waiting = iter(done)
        for line in lines:
            self._note(line)
            if line["op"] in ("undo", "redo"):
                self._rebuild()
            elif line["op"] != BEGIN:
                applied = next(waiting, None)
                if applied is None:
                    self._push(line)
                else:
                    applied.line = line
                    self._stack.append(applied)
        touched, self.table.touched = self.table.touched, set()
        self._touched += [touched] * len(lines)
        return touched

    def _note(self, line: Json) -> None:
        """Reads a line for what it means to the others. Numbers are given here, whether it is undone or not."""
        self._history.add(line)
        self._translation.note(line)
        name = line.get("class")
        if isinstance(name, str) and name not in self.class_names:
            self.class_names.append(name)

    def _push(self, line: Json) -> None:
        """Does a line's edit, if it can be done."""
        try:
            operation = read_operation({k: v for k, v in line.items() if k not in BESIDE})
            operation = self._translation.translated(operation, line)
            if isinstance(operation, Classed):
                operation = operation.model_copy(update={"label": self._label(operation)})
            notes = operation.apply(self.table)
        except EditError as error:
            self._stack.append(_Applied(line, None, [str(error)]))
        else:
            self._stack.append(_Applied(line, self.table.taken_steps(), notes))

    def _rebuild(self) -> None:
        """The stack becomes what the history says: back to where both part, and on from there."""
        wanted = self._history.active
        same = 0
        for one, line in zip(self._stack, wanted, strict=False):
            if one.line["n"] != line["n"]:
                break
            same += 1
        while len(self._stack) > same:
            self.table.take_back(self._stack.pop().steps or [])
        for line in wanted[same:]:
            self._push(line)

    def _change(self, n: int) -> Change:
        touched: set[int] | None = set()
        for one in self._touched[n:]:
            touched = None if one is None or touched is None else touched | one
        return Change(self.revision, self._log.lines[n:], touched)
