"""A run over stored videos: entries become jobs, an executor runs them, the ledger keeps what became of each."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sipvideo.apps import command, flags
from sipvideo.apps.video.entries import listing
from sipvideo.apps.video.jobs import JobMaker
from sipvideo.apps.video.monitors import ManyMonitor, SingleMonitor
from sipvideo.apps.video.table import Row, Table
from sipvideo.errors import SipVideoError, contained
from sipvideo.jobs import (
    LEDGER,
    TOGETHER,
    Cluster,
    Entry,
    Executor,
    InProcess,
    Job,
    Ledger,
    Outcome,
    RayPool,
    SegmenterSpec,
    Spec,
    WorkerPool,
    changed,
    completed,
    earlier,
    storage,
)
from sipvideo.remote import Patience, is_remote, patient, shown
from sipvideo.showing import Showing
from sipvideo.summary import Summary

NOT_KEPT = (
    "inputs",
    "found",
    "list",
    "recursive",
    "output",
    "resume",
    "checkpoint",
    "stdout",
    "quiet",
    "workers",
    "job_timeout",
    "on",
    "cpus_per_worker",
    "gpus_per_worker",
)
"""Of a command line, what a later run of the same inputs is told anew."""


def run(
    args: argparse.Namespace, spec: SegmenterSpec, entries: Iterable[Entry] | None = None
) -> int:
    """Processes inputs with the segmenter that a spec builds; returns the exit code.

    Args:
        args: the command line, as :func:`parse` gives it.
        spec: builds the segmenter.
        entries: the inputs; by default those of the command line.
    """
    command.require_opencv()
    if entries is None:
        entries = listing(args, command.note)
    if args.found is None:
        spec = replace(spec, classes=())  # each job has its own
    spec = spec.sealed()
    with executor_of(args, spec) as executor, contextlib.ExitStack() as stack:
        loaded = executor.load()
        command.recognised(args, loaded.model)
        Showing.read(flags.showing(args), loaded.class_names, args.send)  # a mistake is told once
        stop = stack.enter_context(command.Stop())
        stack.enter_context(patient(Patience(tell=command.note, stopped=lambda: stop.asked)))
        ledger = stack.enter_context(_ledger(args))
        ledger.begin(kept_options(args))
        ledger.enter(entries, 1 if args.list == "-" else TOGETHER)
        single = isinstance(executor, InProcess) and args.found is not None
        return _Run(args, JobMaker(args, spec.settings()), ledger, stop, single).through(executor)


def executor_of(args: argparse.Namespace, spec: Spec) -> Executor:
    """What the jobs run on: Ray, this process, or others where they are asked for, or may have to be killed."""
    if args.on is not None:
        address = None if args.on == "ray" else args.on
        cluster = Cluster(address, args.workers, args.cpus_per_worker, args.gpus_per_worker)
        shared = args.output is not None and not is_remote(args.output)
        place = Path(args.output) if shared else None
        return RayPool(cluster, spec, place, args.job_timeout, command.note)
    if args.workers is None and args.job_timeout is None:
        return InProcess(spec)
    return WorkerPool(spec, args.workers or 1, args.job_timeout, command.note)


def kept_options(args: argparse.Namespace) -> dict[str, Any]:
    """What a ledger keeps of a command line, for ``sipvideo retry``: receivers of events without their passwords."""
    kept = {key: value for key, value in vars(args).items() if key not in NOT_KEPT}
    send = [shown(address) for address in args.send]
    return kept | {"send": send, "hidden": send != list(args.send)}


def _ledger(args: argparse.Namespace) -> Ledger:
    """The ledger beside the results; where it cannot be, or nothing is saved, one in memory."""
    if args.output is not None:
        try:
            return Ledger(storage.local(args.output) / LEDGER)
        except SipVideoError as error:  # results may still be saved; if not, they tell why
            command.note(f"{error}; the run goes on without")
    return Ledger(None)


class _Run:
    """One run.

    Args:
        args: the command line.
        make: makes jobs of entries.
        ledger: has the entries.
        stop: listens to signals.
        single: inputs are in work one after the other, and so few that each has its progress.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        make: JobMaker,
        ledger: Ledger,
        stop: command.Stop,
        single: bool,
    ) -> None:
        self._args, self._make, self._ledger, self._stop = args, make, ledger, stop
        self._table = Table(f"sipvideo status {args.output} tells more")
        if single:
            self._monitor = SingleMonitor(stop, ledger.start, quiet=args.quiet)
        else:
            self._monitor = ManyMonitor(stop, ledger.start, lambda: ledger.listed, quiet=args.quiet)

    def through(self, executor: Executor) -> int:
        """Runs everything; returns the exit code."""
        try:
            for outcome in executor.run(self._jobs(), self._monitor):
                self._settle(outcome)
        finally:
            self._monitor.close()
            for line in self._ledger.notes:
                command.note(line)
        if not self._args.quiet:
            print(self._table, file=sys.stderr if self._args.stdout else sys.stdout, flush=True)
        failed = self._table.counts["failed"] > 0
        return self._stop.exit_code(command.FAILED if failed else 0)

    def _jobs(self) -> Iterator[Job]:
        """What is to be done, as it is listed; what is done or cannot be is settled at once."""
        for entry in self._ledger.taken(lambda: self._stop.asked):
            self._table.expect(entry.name)
            try:
                if entry.problem:
                    raise SipVideoError(entry.problem)
                with contained(entry.input):
                    job = self._make(entry)
                    kept = self._kept(job) if self._args.resume else None
            except SipVideoError as error:
                self._fail(entry, error)
                continue
            if kept is None:
                yield job
            else:
                self._ledger.settle(entry.name, kept)
                self._table.add(entry.name, Row(kept, job.output, "kept"))
                self._monitor.skip(job)

    def _kept(self, job: Job) -> Summary | None:
        """What an earlier run has done already; tells why it is done again where it was done otherwise."""
        kept = completed(job)
        if kept is None:
            before = earlier(job)
            if before is not None and (names := changed(job, before)):
                self._monitor.note(
                    job, f"--resume: inputs are done again whose {', '.join(names)} changed"
                )
        return kept

    def _fail(self, entry: Entry, error: SipVideoError) -> None:
        job = Job(entry.input, None, name=entry.name)
        summary = Summary(input=shown(entry.input), state="failed", problem=str(error))
        self._monitor.complain(job, error)
        self._monitor.skip(job)
        self._settle(Outcome(job, summary, 0))

    def _settle(self, outcome: Outcome) -> None:
        job, summary = outcome.job, outcome.summary
        self._ledger.settle(job.name, summary, outcome.tries)
        self._table.add(job.name, Row(summary, job.output))


def restored(args: argparse.Namespace, options: Mapping[str, Any]) -> argparse.Namespace:
    """A command line with what a ledger has kept of another one."""
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    return argparse.Namespace(**vars(args) | values)
