"""A job run from opening to summary: the same for the command, for uploads, and for whoever else runs jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sipvideo.errors import SipVideoError, SourceError, UnforeseenError, contained, failure
from sipvideo.jobs import room, storage
from sipvideo.jobs.job import Job, Watch, fitting, settings_of
from sipvideo.machine import tidy_memory
from sipvideo.remote import (
    Patience,
    current,
    patient,
    shown,
)
from sipvideo.results import Results
from sipvideo.showing import Showing
from sipvideo.stages import Behind
from sipvideo.summary import Summary

if TYPE_CHECKING:
    from sipvideo.engine import Engine
    from sipvideo.jobs.checkpoint import Checkpoint, Checkpoints
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.repair import ChangeLog
    from sipvideo.sources import Source
    from sipvideo.structures import Frame, FrameResult

BEHIND = 2
"""Results that wait to be written."""
COUNTED = {"begun", "frames", "objects", "identities", "seconds", "duration", "resumed"}
"""What a summary counts over all runs of a job that was cut off."""
LARGE = 1 << 26
"""Bytes of a frame from which one is done after the other: 8K and more would fill the memory with frames that wait."""


def run_job(
    job: Job,
    segmenter: VideoSegmenter,
    watch: Watch | None = None,
    opener: Callable[[Job], AbstractContextManager[Source]] | None = None,
) -> Summary:
    """Segments one input and saves its results; whatever goes wrong ends in the summary, results so far are kept.

    Args:
        job: what to do.
        segmenter: starts a new video.
        watch: follows it.
        opener: opens the input; by default as its address says.

    Returns:
        what became of it, as saved beside the results. Its state is "complete", "failed" or "interrupted".

    Raises:
        BrokenPipeError: the reader of standard output went away.
    """
    watch = watch or Watch()
    with patient(Patience(tell=watch.note, stopped=lambda: watch.stopped)):
        if job.upload:
            return _stored(job, watch, lambda: _run(job, segmenter, watch, opener))
        return _run(job, segmenter, watch, opener)


def _stored(job: Job, watch: Watch, run: Callable[[], Summary]) -> Summary:
    """Runs a job whose results go into a bucket, unless they wait here since an earlier run, and uploads them."""
    assert job.folder is not None
    upload = storage.Upload(job.folder, job.upload, current())
    summary = Summary(input=shown(job.input), settings=job.settings)
    try:
        with contained(job.upload):
            upload.check()
            if (waiting := fitting(Summary.read(job.folder), job)) is not None:
                watch.note(
                    f"{job.upload}: results that an earlier run could not upload are uploaded"
                )
            summary = waiting or run()
            made = Summary.read(job.folder)  # without results there may be one of an earlier run
            if summary.state != "interrupted" and made is not None and made.begun == summary.begun:
                upload.publish()
    except SipVideoError as error:
        if watch.stopped:
            summary.state = "interrupted"
        else:
            watch.complain(error)
            summary.state, summary.problem = "failed", summary.problem or str(error)
    if summary.state == "interrupted" and job.folder.exists():
        watch.note(f"{job.upload}: nothing is uploaded, the results so far stay in {job.folder}")
    return summary


def _run(
    job: Job,
    segmenter: VideoSegmenter,
    watch: Watch,
    opener: Callable[[Job], AbstractContextManager[Source]] | None,
) -> Summary:
    run = Run(job, watch)
    try:
        run.job = job = replace(job, settings=settings_of(job))
        run.summary.settings = job.settings
        opened = opener(job) if opener else _opened(job, segmenter.engine)
        with opened as source:
            run.source = source
            run.segment(segmenter.only(job.classes))
    except Exception as error:
        if job.stdout and isinstance(error, BrokenPipeError):
            run.summary.state = "interrupted"
            raise
        run.fail(failure(error, shown(job.input)))
    finally:
        run.close(segmenter)
        tidy_memory()
    return run.summary


def _opened(job: Job, engine: Engine) -> Source:
    from sipvideo.sources import Excerpt, open_source

    decoding = engine.decoding_for(job.hwaccel)
    source = open_source(job.input, fps=job.fps, decoding=decoding)
    if (job.start, job.end, job.every, job.most) == (0.0, None, 1, None):
        return source
    return Excerpt(source, job.start, job.end, every=job.every, most=job.most)


class Run:
    """One run of a job.

    Args:
        job: what to do.
        watch: follows it.
    """

    def __init__(self, job: Job, watch: Watch) -> None:
        self.job, self.watch = job, watch
        self.summary = Summary(input=shown(job.input), settings=job.settings)
        self.source: Source | None = None
        self._results: Results | None = None
        self._changes: ChangeLog | None = None
        self._identities: set[int] = set()
        self._started = time.perf_counter()
        self._first: float | None = None
        self._said: list[str] = []
        self._memory: dict[str, Any] | None = None
        self._checkpoints: Checkpoints | None = None
        self._fits: dict[str, Any] | None = None

    def segment(self, segmenter: VideoSegmenter) -> None:
        """All of the source, which is open."""
        assert self.source is not None
        job, watch = self.job, self.watch
        watch.begin(self.source)
        if job.folder is not None and (warning := room.check(self.source, job.folder, job.kinds)):
            watch.note(warning)
        names = segmenter.class_names
        self.summary.covered = segmenter.veil is not None
        self._results = Results(
            self.source,
            names,
            job.folder,
            job.kinds,
            stdout=job.stdout,
            summary=self.summary,
            patience=job.patience,
            showing=Showing.read(job.showing, names, job.send),
        )
        with self._results:
            height, width = self.source.frame_size or (0, 0)
            large = height * width * 3 > LARGE
            try:
                found = self._found(segmenter, 0 if large else job.ahead)
                with closing(found), Behind(self._write, 0 if large else BEHIND) as written:
                    for result in watch.until(found):
                        if result.memory is not None and self._changes is not None:
                            result.memory["changes"] = self._changes.told
                        written.put(result)
                        del result  # it would stay while the next frame is decoded
                    if watch.stopped:
                        self._results.stopped = True
                        written.drop()  # whoever stops the run does not want to wait for them
            except SourceError as error:
                # The sinks close as after a good end: the frames before the damage are results.
                self.fail(error)

    def _found(self, segmenter: VideoSegmenter, ahead: int) -> Generator[FrameResult, None, None]:
        """The results, from the beginning or from where an earlier run was cut off."""
        job, source = self.job, self.source
        assert source is not None
        frames = self._taken_up(segmenter)
        remembers = source.repeatable and segmenter.remembers and not job.stdout
        if job.checkpoint and job.folder is not None and remembers:
            from sipvideo.jobs.checkpoint import Checkpoints, fitting

            self._fits = fitting(job, segmenter)
            self._checkpoints = Checkpoints(job.folder, job.checkpoint)
        segmenter.explaining = "explain" in job.kinds
        found = segmenter.run(
            source if frames is None else frames,
            ahead,
            batch=job.batch,
            remember=None if self._checkpoints is None else self._checkpoints.due,
            goes_on=frames is not None,
        )
        if not job.lookahead:
            return found
        from sipvideo.repair import ChangeLog, look_ahead

        self._changes, memory = ChangeLog(), None
        if self._memory is not None and job.folder is not None:
            memory = self._memory["lookahead"]
            self._changes.go_on(job.folder, self._memory["changes"])
        return look_ahead(found, job.lookahead, segmenter.repair, self._changes, memory)

    def _write(self, result: FrameResult) -> None:
        assert self._results is not None
        self._results.write(result)
        if self._changes is not None and self.job.folder is not None:
            self._changes.save(self.job.folder)
        summary = self.summary
        ids = result.track_ids[result.track_ids >= 0].tolist()
        self._identities.update(ids)
        summary.count(len(ids), len(self._identities))
        summary.seconds = time.perf_counter() - self._started
        now = result.frame.timestamp
        self._first = now if self._first is None else self._first
        summary.duration = now - self._first
        if self._checkpoints is not None:
            if result.memory is not None:
                self._checkpoints.take(self._checkpoint(result))
            self._checkpoints.settle(self._results)
        self.watch.advance(summary, result)

    def _taken_up(self, segmenter: VideoSegmenter) -> Iterator[Frame] | None:
        """The frames after the checkpoint of an earlier run, everything being set to go on; None: begins anew."""
        job, summary = self.job, self.summary
        assert self.source is not None
        assert self._results is not None
        if not job.resume or job.folder is None:
            return None
        from sipvideo.jobs.checkpoint import Checkpoint, UnfitError, fitting, take_up

        try:
            point = Checkpoint.read(job.folder, fitting(job, segmenter))
            if point is None:
                return None
            if job.stdout:
                raise UnfitError("standard output cannot be gone on with")
            frames = take_up(point, self.source, segmenter, self._results)
        except UnfitError as error:
            self._say(f"{self.source.name}: begins anew: {error}")
            return None
        for name in COUNTED:
            setattr(summary, name, point.summary[name])
        summary.resumed += 1
        self._identities, self._first = set(point.identities.tolist()), point.first
        self._started -= summary.seconds
        self._memory, self._said = point.memory, point.memory["said"]
        summary.notes += [] if job.strict else self._said
        for line in point.memory["notes"]:
            self.source.note(line)
        place = f"frame {point.place.index} ({point.place.timestamp:.1f} s)"
        self._say(f"{self.source.name}: was cut off, goes on after {place}")
        return frames

    def _checkpoint(self, result: FrameResult) -> Checkpoint:
        """Where the run is, after a result that was written and came with what is known after it."""
        assert result.memory is not None
        assert self._results is not None
        assert self.source is not None
        assert self._fits is not None
        import numpy as np

        from sipvideo.jobs.checkpoint import Checkpoint
        from sipvideo.sources import Place

        index, timestamp, picture = result.memory["place"]
        about = {"said": self._said, "notes": self.source.notes}
        return Checkpoint(
            fits=self._fits,
            place=Place(index, timestamp, picture, self.summary.frames),
            memory=result.memory | about,
            marks=self._results.marks(),
            summary=self.summary.model_dump(include=COUNTED),
            identities=np.array(sorted(self._identities), np.int64),
            first=self._first or 0.0,
        )

    def _say(self, line: str) -> None:
        """Tells of going on, or of not being able to, at once; it is nothing that ``strict`` would mind."""
        self._said.append(line)
        if self.job.strict:
            self.watch.note(line)
        else:
            self._note(line)

    def fail(self, error: SipVideoError) -> None:
        """The first error is the summary's, and the one line that an input fails with; what follows it is a note."""
        if self.summary.state != "failed":
            self.summary.state, self.summary.problem = "failed", str(error)
            self.watch.complain(error)
        elif str(error) != self.summary.problem:
            self._note(error.brief if isinstance(error, UnforeseenError) else str(error))

    def close(self, segmenter: VideoSegmenter) -> None:
        """Notes, the last state, and the summary on disk."""
        summary = self.summary
        self.watch.end()
        self._tell(self._notes(segmenter))
        summary.seconds = round(time.perf_counter() - self._started, 3)
        summary.duration = round(summary.duration, 3)
        if summary.state == "running":
            summary.state = "interrupted" if self.watch.stopped else "complete"
        if self._results is not None:
            try:
                with contained(shown(self.job.input)):
                    self._results.finish()
            except SipVideoError as error:
                self.fail(error)

    def _notes(self, segmenter: VideoSegmenter) -> Iterator[str]:
        """What every part of a run has to tell, with its name: the one place where notes come together."""
        yield from segmenter.engine.notes
        yield from self.job.notes
        if self.source is not None:
            yield from (f"{self.source.name}: {note}" for note in self.source.notes)
        if self._results is not None:
            yield from self._results.notes

    def _tell(self, notes: Iterable[str]) -> None:
        """Each note once; if the job is strict, they are its failure."""
        for line in notes:
            if self.job.strict and self.summary.state != "failed":
                self.fail(SipVideoError(f"--strict: {line}"))
                self.summary.notes.append(line)
            else:
                self._note(line)

    def _note(self, line: str) -> None:
        if line not in self.summary.notes:
            self.summary.notes.append(line)
            self.watch.note(line)
