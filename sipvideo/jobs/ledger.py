"""What is waiting, in work, complete and failed of the inputs of a folder of results: an SQLite file beside them.

The summary beside its results is the record that an input is complete; the ledger tells the rest, in one place, and can
be made anew from the summaries. Any number of runs may write into one ledger, and any of them may be killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from sipvideo import __version__
from sipvideo.errors import SinkError, SipVideoError
from sipvideo.jobs.ledger_file import LedgerFile
from sipvideo.remote import shown
from sipvideo.summary import SUMMARY, Summary, locked, writable

LEDGER = "ledger.sqlite"
"""Its file in a folder of results."""

STATES = ("waiting", "running", "complete", "failed", "interrupted")
OPEN = ("waiting", "running", "failed", "interrupted")
"""States of what a later run has to do."""

TOGETHER = 1000
"""Inputs that are listed in one transaction, at most."""


@dataclass(frozen=True)
class Entry:
    """An input as it was listed.

    Attributes:
        input: its address; without what is secret in it where it was read from a ledger.
        name: of the folder of its results, below that of the ledger; different for every entry.
        options: settings of its own, as plain values.
        problem: why it cannot even be begun, if so.
        note: what was left out when it was found, if anything.
        fixed: the name may not be changed: it takes the place of what another input left there.
    """

    input: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    note: str = ""
    fixed: bool = False


class Ledger(LedgerFile):
    """The ledger of a folder, and a run that writes into it. May be used from several threads.

    Args:
        path: its file; made if need be, with its folder. None: in memory, for one run.

    Attributes:
        notes: what was chosen or found about the ledger, one line each.

    Raises:
        SinkError: it cannot be read or written, or is none.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self._mark: IO[bytes] | None = None
        self._run = 0
        self._dead: dict[int, bool] = {}
        self._listing = False
        self._error: BaseException | None = None
        self._news = threading.Event()
        self._exact: dict[int, str] = {}
        self._lost = False

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._marginal(), self._told(), self._lock:
            if self._mark is not None:
                self._base.execute("UPDATE runs SET ended=? WHERE id=?", (_now(), self._run))
                with contextlib.suppress(OSError):
                    self._mark_of(self._run).unlink(missing_ok=True)
                self._mark.close()
                self._mark = None
            self._base.close()

    # A run: begun, its entries listed, then taken one by one, each settled.

    def begin(self, options: Mapping[str, Any]) -> None:
        """A run begins: as long as this process lives, others leave to it what it has listed.

        Args:
            options: of the command, for :meth:`options_of`; plain values without secrets.
        """
        with self._transaction() as base:
            row = (_now(), socket.gethostname(), os.getpid(), __version__, os.getcwd())
            made = base.execute(
                "INSERT INTO runs (begun, host, pid, version, folder, options) VALUES (?, ?, ?, ?, ?, ?)",
                (*row, _json(options)),
            )
            self._run = made.lastrowid or 0
            if not self._in_memory:
                self._mark = locked(self._mark_of(self._run))

    def enter(self, entries: Iterable[Entry], together: int = TOGETHER) -> None:
        """Begins to write down entries as waiting, in a thread; the same one twice counts once.

        What another living run has in work or waiting is left to it, see :attr:`notes`.

        Args:
            entries: may come slowly.
            together: how many are written down at a time; 1: each as it comes.
        """
        self._listing = True
        threading.Thread(
            target=self._write_down, args=(entries, together), name="listing", daemon=True
        ).start()

    def _write_down(self, entries: Iterable[Entry], together: int) -> None:
        left = 0
        try:
            for batch in _batches(entries, together):
                with self._transaction() as base:
                    left += sum(not self._enter(base, entry) for entry in batch)
                self._news.set()
        except BaseException as error:
            self._error = error
        if left:
            folder = self.path.parent
            self.notes.append(f"{folder}: another run has {left} of these inputs: left to it")
        self._listing = False
        self._news.set()

    def _enter(self, base: sqlite3.Connection, entry: Entry) -> bool:
        """False: it is another run's."""
        name, options = entry.name, _json(entry.options)
        text = writable(shown(entry.input))
        for _ in range(2):
            key = writable(name).casefold()
            known = base.execute("SELECT * FROM jobs WHERE key=?", (key,)).fetchone()
            same = known is None or (known["input"], known["options"]) == (text, options)
            if same or (entry.fixed and known["run"] != self._run):
                break
            digest = hashlib.sha256(f"{text}\n{options}".encode()).hexdigest()
            name = f"{entry.name}-{digest[:8]}"
        if known is not None:
            if known["run"] == self._run:
                return True
            if known["state"] in ("waiting", "running") and self._alive(known["run"]):
                return False
        hidden = known is not None and known["secret"] and entry.problem
        secret = bool(hidden) or text != writable(entry.input)
        values = (text, options, entry.note, secret, self._run, entry.problem)
        [(job,)] = base.execute(
            "INSERT INTO jobs (key, name, state, input, options, note, secret, run, problem)"
            " VALUES (?, ?, 'waiting', ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state='waiting', tries=0,"
            " input=excluded.input, options=excluded.options, note=excluded.note, secret=excluded.secret,"
            " run=excluded.run, problem=excluded.problem RETURNING id",
            (writable(name).casefold(), writable(name), *values),
        ).fetchall()
        if entry.input != text:  # passwords and odd bytes are not written down
            self._exact[job] = entry.input
        return True

    def taken(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[Entry]:
        """The entries of this run that wait, one by one, also those that are still being listed.

        Raises:
            SipVideoError: what ended the listing before its end, after all entries before it.
        """
        last = 0
        query = "SELECT * FROM jobs WHERE id>? AND run=? AND state='waiting' ORDER BY id LIMIT ?"
        while not stopped():
            self._news.clear()
            listing = self._listing
            rows = self._rows(query, last, self._run, TOGETHER)
            for row in rows:
                last = row["id"]
                entry = _entry(row)
                exact = self._exact.pop(last, None)
                yield (
                    entry if exact is None else replace(entry, input=exact, problem=row["problem"])
                )
            if not rows and not listing:
                break
            if not rows:
                self._news.wait(0.1)
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def _marginal(self) -> Iterator[None]:
        """What cannot be written down here, on a full disk for instance, stops no run: summaries are the record."""
        try:
            yield
        except SinkError as error:
            if not self._lost:
                self.notes.append(f"{error}; what is complete is told by the summaries")
            self._lost = True

    def start(self, name: str, worker: str, tries: int) -> None:
        """An entry is in work."""
        with self._marginal(), self._transaction() as base:
            base.execute(
                "UPDATE jobs SET state='running', worker=?, tries=?, begun=?, ended=NULL, problem='' WHERE key=?",
                (worker, tries, _now(), writable(name).casefold()),
            )

    def settle(self, name: str, summary: Summary, tries: int | None = None) -> None:
        """What became of it; ``tries`` None: as many as before."""
        with self._marginal(), self._transaction() as base:
            self._settle(base, writable(name).casefold(), summary, tries)

    def _settle(
        self, base: sqlite3.Connection, key: str, summary: Summary, tries: int | None
    ) -> None:
        state = summary.state if summary.state in STATES else "interrupted"
        figures = (summary.seconds, summary.duration, summary.frames)
        counts = (summary.objects, summary.identities)
        [(job,)] = base.execute(
            "UPDATE jobs SET state=?, problem=?, tries=coalesce(?, tries), ended=?, seconds=?, duration=?, frames=?,"
            " objects=?, identities=? WHERE key=? RETURNING id",
            (state, writable(summary.problem), tries, _now(), *figures, *counts, key),
        ).fetchall()
        base.execute("DELETE FROM files WHERE job=?", (job,))
        base.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            [
                (job, writable(name), size, summary.checksums.get(name))
                for name, size in summary.files.items()
            ],
        )

    # What a ledger tells.

    @property
    def listed(self) -> int:
        """Entries of this run so far."""
        with self._told(), self._lock:
            [count] = self._base.execute(
                "SELECT count(*) FROM jobs WHERE run=?", (self._run,)
            ).fetchone()
        return int(count)

    def counts(self) -> dict[str, int]:
        """How many are in each state; what a run that was killed had in work is interrupted."""
        counted = dict.fromkeys(STATES, 0)
        for row in self._rows("SELECT state, run, count(*) AS n FROM jobs GROUP BY state, run"):
            counted[self._state(row)] += row["n"]
        return counted

    def jobs(self, states: Iterable[str] = STATES) -> Iterator[dict[str, Any]]:
        """Rows of the table of jobs in the order in which they were listed, the state as in :meth:`counts`."""
        wanted = set(states)
        last = 0
        while rows := self._rows(
            "SELECT * FROM jobs WHERE id>? ORDER BY id LIMIT ?", last, TOGETHER
        ):
            last = rows[-1]["id"]
            for row in rows:
                state = self._state(row)
                if state in wanted:
                    yield {**dict(row), "state": state}

    def files(self, job: int) -> list[dict[str, Any]]:
        """Results of a job, by its id: name, bytes, checksum."""
        rows = self._rows("SELECT file, bytes, sha256 FROM files WHERE job=?", job)
        return [dict(row) for row in rows]

    def unfinished(self) -> dict[int, int]:
        """Runs, the newest first, of whose entries some are not complete and in nobody's hands, and how many."""
        found: dict[int, int] = {}
        for row in self._rows("SELECT state, run, count(*) AS n FROM jobs GROUP BY state, run"):
            held = row["state"] in ("waiting", "running") and self._alive(row["run"])
            if row["state"] in OPEN and not held:
                found[row["run"] or 0] = found.get(row["run"] or 0, 0) + row["n"]
        return dict(sorted(found.items(), reverse=True))

    def entries(self, run: int) -> Iterator[Entry]:
        """Those of :meth:`unfinished`, of one run."""
        last = 0
        query = "SELECT * FROM jobs WHERE id>? AND run IS ? AND state IN (?, ?, ?, ?) ORDER BY id LIMIT ?"
        while rows := self._rows(query, last, run or None, *OPEN, TOGETHER):
            last = rows[-1]["id"]
            yield from map(_entry, rows)

    def options_of(self, run: int) -> tuple[dict[str, Any], str] | None:
        """The options with which a run was begun, and in which folder; None: it is not known."""
        for row in self._rows("SELECT options, folder FROM runs WHERE id=?", run):
            return json.loads(row["options"]), row["folder"]
        return None

    def _state(self, row: sqlite3.Row) -> str:
        state = str(row["state"])
        return "interrupted" if state == "running" and not self._alive(row["run"]) else state

    # Which runs live.

    def _mark_of(self, run: int) -> Path:
        return self.path.with_name(f".{self.path.name}.run-{run}")

    def _alive(self, run: int | None) -> bool:
        """Whether the process of a run is still there: it holds a lock as long as it is."""
        if run is None or self._dead.get(run):
            return False
        if run == self._run:
            return True
        mark = self._mark_of(run)
        if not mark.exists():
            self._dead[run] = True
            return False
        try:
            file = locked(mark)
        except (SinkError, OSError):
            return True
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        file.close()
        self._dead[run] = True
        return False

    # From the summaries alone.

    def rebuild(self, folder: Path) -> int:
        """Takes over every summary below a folder of results; returns how many there are."""
        count = 0
        for place, inside, files in os.walk(folder):
            inside.sort()
            summary = Summary.read(Path(place)) if SUMMARY in files else None
            if summary is None:
                continue
            name = Path(place).relative_to(folder).as_posix()
            with self._transaction() as base:
                base.execute(
                    "INSERT OR IGNORE INTO jobs (key, name, input, state) VALUES (?, ?, ?, 'waiting')",
                    (writable(name).casefold(), writable(name), writable(summary.input)),
                )
                self._settle(base, writable(name).casefold(), summary, None)
            count += 1
        return count


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a folder of results; one that is missing or damaged is made anew from the summaries there.

    Raises:
        SipVideoError: there are no results, or nothing can be written there.
    """
    path = folder / LEDGER
    if not folder.is_dir():
        raise SipVideoError(f"{folder}: no such folder")
    if path.is_file():
        with contextlib.suppress(SinkError):
            ledger = Ledger(path)
            ledger.counts()
            return ledger
        os.replace(path, path.with_suffix(".damaged"))
    ledger = Ledger(path)
    count = ledger.rebuild(folder)
    if not count:
        ledger.__exit__()
        path.unlink(missing_ok=True)
        raise SipVideoError(f"{folder}: neither a ledger nor results of a run are there")
    ledger.notes.append(
        f"{path}: made anew from {count} summaries; what failed without any is not in it"
    )
    return ledger


def _entry(row: sqlite3.Row) -> Entry:
    problem = row["problem"] if row["state"] == "waiting" else ""
    if row["secret"]:
        problem = f"{row['input']}: its address had secrets, which no ledger keeps: name it again to sipvideo video"
    return Entry(row["input"], row["name"], json.loads(row["options"]), problem, row["note"])


def _batches(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """So many at a time; an error of the entries comes after what preceded it."""
    batch: list[Entry] = []
    try:
        for entry in entries:
            batch.append(entry)
            if len(batch) == most:
                yield batch
                batch = []
    except BaseException:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(writable(dict(values)), sort_keys=True, ensure_ascii=False)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime())
