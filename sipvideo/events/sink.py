"""Events as files: a log of JSON lines that grows as things happen, and the same as a table."""

from __future__ import annotations

import contextlib
import csv
import os
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sipvideo.events.event import Event
from sipvideo.events.outlets import Delivery, event_line, open_outlet
from sipvideo.events.snapshots import Snapshots
from sipvideo.events.watch import EventWatch
from sipvideo.sinks import Sink
from sipvideo.sinks.sink import Kept, Mark, cut_to_whole_lines
from sipvideo.structures import FrameResult

LOG, TABLE = "events.jsonl", "events.csv"
COLUMNS = (
    *("id", "kind", "timestamp", "frame", "track_id", "class_name"),
    *("place", "direction", "seconds", "count", "source"),
    *("picture", "clip"),
)
PATIENCE = 10.0
"""Seconds after the end of a run in which receivers may still take what they have not got."""


class EventFiles(Sink):
    """A folder with ``events.jsonl`` and ``events.csv``, in the order of telling; and receivers of the same events.

    Pictures and clips of events, where they are asked for, lie beside them.

    A line is on disk before anybody is told. Keys of a line: those of :class:`Event` that belong to its kind, ``id``
    (unique for good: the run's and the event's number), ``source``, and ``picture`` and ``clip`` (names of files;
    with an address also ``picture_url`` and ``clip_url``). A clip is there when it has its name, soon after its end.

    Args:
        path: the folder.
        watch: turns results into events; its counts are of the last result written here.
        source: name of the input, for receivers of several.
        send: addresses for :func:`~sipvideo.events.outlets.open_outlet`.
        snapshots: keeps pictures and clips; None: nobody wants any.
    """

    def __init__(
        self,
        path: str | Path,
        watch: EventWatch,
        source: str,
        send: Sequence[str] = (),
        snapshots: Snapshots | None = None,
        *,
        mark: Mark | None = None,
    ) -> None:
        outlets = [open_outlet(address) for address in send]
        super().__init__(path, folder=True, mark=mark)
        self.watch = watch
        self._source = source
        self._run = uuid.uuid4().hex[:12]
        sent: dict[str, int] = {}
        if mark is not None:
            self._run, sent = mark["memory"]["run"], mark["memory"]["sent"]
            self.watch.restore(mark["memory"]["watch"])
        mode = "w" if mark is None else "a"
        with self._guarded():
            log = self._partial / LOG
            self._log = self._handles.enter_context(log.open(mode, encoding="utf-8"))
            table = (self._partial / TABLE).open(mode, encoding="utf-8", newline="")
            self._rows = self._handles.enter_context(table)
            self._table = csv.writer(self._rows, lineterminator="\n")
            if mark is None:
                self._table.writerow(COLUMNS)
        self._snapshots = snapshots
        if snapshots is not None:
            snapshots.folder = self._partial
        self._deliveries = [
            Delivery(log, outlet, self.notes.append, sent.get(outlet.name, 0)) for outlet in outlets
        ]

    def _growing(self) -> tuple[str, ...]:
        return f"/{LOG}", f"/{TABLE}"

    def _memory(self) -> dict[str, Any]:
        sent = {delivery.outlet.name: delivery.sent for delivery in self._deliveries}
        return {"run": self._run, "sent": sent, "watch": self.watch.state()}

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """Both files end with a whole line. Raises OSError: disk full and the like."""
        for name in (LOG, TABLE):
            if (partial / name).is_file():
                cut_to_whole_lines(partial / name)
        for unfinished in partial.glob(".*.new"):  # clips of a run that was killed
            unfinished.unlink()
        return super().assemble(partial, path, keep=keep)

    def _write(self, result: FrameResult) -> None:
        events = self.watch.update(result)
        if self._snapshots is not None:
            self._snapshots.see(result, self.watch.rules)
        self._tell(events)

    def _finish(self) -> None:
        if not (self.keep and self.stopped):  # else others will have the numbers of these events
            self._tell(self.watch.finish())
        if self._snapshots is not None:
            self.notes += self._snapshots.close()
        patience = PATIENCE
        for delivery in self._deliveries:
            left = delivery.close(patience)
            if left:
                patience = 0.0  # the others were at work all the time
                self.notes.append(f"{delivery.outlet.name}: {left} events were not sent")

    def _tell(self, events: Sequence[Event]) -> None:
        if not events:
            return
        for event in events:
            record = {"id": f"{self._run}:{event.number}", **_rounded(event.record())}
            del record["number"]
            record["source"] = self._source
            if self._snapshots is not None:
                stem = f"{self._run}-{event.number}"
                record |= self._snapshots.files(event, self.watch.rules, stem)
            self._log.write(event_line(record))
            self._table.writerow([record.get(column, "") for column in COLUMNS])
        self._log.flush()
        self._rows.flush()
        os.fsync(self._log.fileno())
        for delivery in self._deliveries:
            delivery.news()


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    """Seconds with six digits: what a clock of a video can tell."""
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()}


def counted(folder: Path) -> dict[str, dict[str, int]]:
    """How often each zone was entered, and each line crossed in each direction, by a folder's ``events.csv``.

    A folder without one counts nothing.
    """
    counts: dict[str, Counter[str]] = {}
    with contextlib.suppress(OSError), (folder / TABLE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] in ("entered", "crossed"):
                word = row["direction"] or row["kind"]
                counts.setdefault(row["place"], Counter())[word] += 1
    return {place: dict(by_word) for place, by_word in counts.items()}
