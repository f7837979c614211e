"""The file of a ledger: an SQLite data base that several runs and threads write into, and what goes wrong with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from sipvideo.errors import SinkError

VERSION = 1

PATIENCE = 60.0
"""Seconds to wait for other runs that write."""

NETWORKS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse",
    "lustre",
    "gpfs",
    "ceph",
    "afs",
    "glusterfs",
    "beegfs",
)
"""How the names of file systems begin on which SQLite's write-ahead log, which is shared memory, may lose data."""

UNKNOWN = "unknown"

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, begun TEXT NOT NULL, ended TEXT, host TEXT, pid INTEGER, version TEXT, folder TEXT,
  options TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, input TEXT NOT NULL,
  options TEXT NOT NULL DEFAULT '{}', note TEXT NOT NULL DEFAULT '', secret INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL, problem TEXT NOT NULL DEFAULT '', run INTEGER,
  tries INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '', begun TEXT, ended TEXT,
  seconds REAL, duration REAL, frames INTEGER, objects INTEGER, identities INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
CREATE TABLE IF NOT EXISTS files (
  job INTEGER NOT NULL REFERENCES jobs (id), file TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT,
  PRIMARY KEY (job, file)
) WITHOUT ROWID;
"""


class LedgerFile:
    """The data base: its tables made, transactions, questions. May be used from several threads.

    Args:
        path: its file; made if need be, with its folder. None: in memory, for one run.

    Attributes:
        notes: what was chosen or found about the ledger, one line each.

    Raises:
        SinkError: it cannot be read or written, or is none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path(":memory:")
        self.notes: list[str] = []
        self._in_memory = path is None
        self._lock = threading.RLock()
        with self._told():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._base.row_factory = sqlite3.Row
            try:
                self._prepare()
            except BaseException:
                self._base.close()
                raise

    def _prepare(self) -> None:
        network = network_of(self.path.parent)
        if network not in ("", UNKNOWN):
            self.notes.append(
                f"{self.path}: on a network file system ({network}): writing it takes longer there"
            )
        self._base.execute(f"PRAGMA journal_mode={'DELETE' if network else 'WAL'}")
        self._base.execute("PRAGMA synchronous=NORMAL")
        [version] = self._base.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise SinkError(f"{self.path}: of a later version of sipvideo")
        if version < VERSION:
            self._base.executescript(SCHEMA)
            self._base.execute(f"PRAGMA user_version={VERSION}")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SinkError(f"{self.path}: the ledger cannot be used: {error}") from error
        except OSError as error:
            raise SinkError(f"{self.path}: cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told(), self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:  # a full disk has ended it already
                    self._base.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._told(), self._lock:
            return self._base.execute(query, values).fetchall()


def network_of(folder: Path) -> str:
    """The network file system that a folder is on; "" on a disk of this machine, :data:`UNKNOWN` where nobody tells."""
    if sys.platform != "linux":
        return UNKNOWN
    where, best, kind = os.path.realpath(folder), "", ""
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            point, name = line.split(" ")[1:3]
            point = point.replace("\\040", " ")
            inside = where == point or where.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, name
    return kind if kind.startswith(NETWORKS) else ""
