"""``sipvideo status``: what is complete, in work, waiting and failed in a folder of results.

Exit codes: 0; 1 something has failed or was interrupted; 2 wrong usage, or there are no results; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sipvideo.apps import command, flags
from sipvideo.jobs import Ledger, read_ledger, storage

UNDONE = ("running", "failed", "interrupted")
SHOWN = 50
"""Rows of the table, at most."""
EVERY = 2.0
"""Seconds between looks with --watch."""
UNFINISHED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo status",
        description="What is complete, in work, waiting and failed in a folder of results, from its ledger; one that "
        "is missing or damaged is made anew from the summaries.",
    )
    parser.add_argument(
        "folder", metavar="DIR", help="folder or address of sipvideo video --output"
    )
    parser.add_argument("--json", action="store_true", help="everything about every input, as JSON")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="look again every two seconds, until nothing is in work",
    )
    args = parser.parse_args(argv)
    if args.json and args.watch:
        parser.error("--json tells once: leave --watch away")
    return args


def run(args: argparse.Namespace) -> int:
    """Tells what is there; returns the exit code."""
    with read_ledger(storage.local(args.folder)) as ledger:
        for line in ledger.notes:
            command.note(line)
        if args.json:
            _write_json(ledger)
        else:
            with command.Stop() as stop:
                _show(ledger, args.watch, stop)
                if stop.asked:
                    return stop.exit_code(0)
        counts = ledger.counts()
    return UNFINISHED if counts["failed"] or counts["interrupted"] else 0


def _show(ledger: Ledger, watch: bool, stop: command.Stop) -> None:
    cleared = "\x1b[H\x1b[2J" if watch and sys.stdout.isatty() else ""
    while True:
        counts = ledger.counts()
        print(cleared + "\n".join(_lines(ledger, counts)), flush=True)
        if not watch or not (counts["running"] or counts["waiting"]):
            return
        for _ in stop.until(_seconds(EVERY)):
            pass
        if stop.asked:
            return


def _seconds(wanted: float) -> Iterator[float]:
    """A wait in small steps."""
    end = time.monotonic() + wanted
    while (now := time.monotonic()) < end:
        time.sleep(0.1)
        yield now


def _lines(ledger: Ledger, counts: dict[str, int]) -> Iterator[str]:
    total = sum(counts.values())
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"{total} inputs: {told or 'none'}"
    rows: list[tuple[str, ...]] = [
        ("state", "input", "tries", "frames", "seconds", "results or cause")
    ]
    more = 0
    for job in ledger.jobs(UNDONE):
        if len(rows) <= SHOWN:
            rows.append(_row(job))
        else:
            more += 1
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        yield from (_aligned(row, widths).rstrip() for row in rows)
    if more:
        yield f"and {more} more: --json tells all"


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    seconds = "" if job["seconds"] is None else f"{job['seconds']:.1f}"
    numbers = (str(job["tries"]), str(job["frames"] or 0), seconds)
    return (job["state"], command.one_line(job["input"]), *numbers, job["problem"] or job["name"])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.rjust(width) if 2 <= column <= 4 else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, row[-1]])


def _write_json(ledger: Ledger) -> None:
    """One object, written row by row: there may be millions."""
    print('{"counts": ' + json.dumps(ledger.counts()) + ', "jobs": [', end="")
    comma = "\n"
    for job in ledger.jobs():
        job["options"] = json.loads(job["options"])
        told = {key: value for key, value in job.items() if key not in ("key", "secret")}
        print(f"{comma}  {json.dumps(told | {'files': ledger.files(job['id'])})}", end="")
        comma = ",\n"
    print("\n]}")


if __name__ == "__main__":
    sys.exit(main())
