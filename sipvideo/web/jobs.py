"""Uploaded videos: received, processed one after the other in worker threads, kept for a while, removed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from sipvideo.errors import SipVideoError, SourceError, UnforeseenError, contained
from sipvideo.events import Rules, rules_text
from sipvideo.events.sink import counted
from sipvideo.jobs import Job as Work
from sipvideo.jobs import Watch, run_job
from sipvideo.pipeline import VideoSegmenter
from sipvideo.recovery import recover
from sipvideo.results import FILES
from sipvideo.results_reader import source_of
from sipvideo.sources import Source, VideoFile
from sipvideo.structures import FrameResult
from sipvideo.studio.log import EDITS
from sipvideo.studio.shelf import Place
from sipvideo.studio.video import Upload
from sipvideo.summary import Summary
from sipvideo.web.containers import FFMPEG_OPTIONS, MAX_PIXELS, is_container
from sipvideo.web.settings import Settings

State = Literal["uploading", "waiting", "running", "done", "failed", "cancelled", "interrupted"]
ENDED = ("done", "failed", "cancelled", "interrupted")
KINDS = ("video", "json", "lines", "csv")
"""What is saved of every video, keys of ``sipvideo.results.FILES``."""

ZONES = "zones.yaml"
"""The visitor's zones, in the job's folder."""

UPLOAD = "upload"
RECORD = "job.json"
RESULTS = "results"


class BusyError(Exception):
    """As many jobs as the server takes are waiting already."""


class TooLongError(SourceError):
    """A video of more seconds than the server takes."""


@dataclasses.dataclass
class Job:
    """One uploaded video and what became of it.

    Attributes:
        id: made by the server; also the name of its folder.
        name: what the visitor called the file, fit to be shown; never used as a path.
        state: where it stands.
        problem: why it failed, one line.
        created: seconds since 1970.
        ended: seconds since 1970; None: not yet.
        frames: done so far.
        frame_count: in the video, as far as it is known or can be reckoned.
        seconds: of video done so far, on the video's own clock.
        duration: of the video in seconds, where declared.
        fps: frames done per second of wall time.
        tracks: identities so far.
        notes: what was chosen, changed or left out, one line each, once it has ended.
        counts: by zone and line, how many entered or crossed in each direction, once it has ended.
    """

    id: str
    name: str
    state: State = "uploading"
    problem: str = ""
    created: float = 0.0
    ended: float | None = None
    frames: int = 0
    frame_count: int | None = None
    seconds: float = 0.0
    duration: float | None = None
    fps: float = 0.0
    tracks: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)


_RECORD = TypeAdapter(Job)
"""What is read of a job must be of the right types: a disk may have kept anything."""


class Jobs:
    """All jobs of a server.

    Args:
        segmenter: every job gets its own tracker on the same network.
        settings: limits, and the folder.

    Raises:
        SipVideoError: the folder cannot be made.
    """

    def __init__(self, segmenter: VideoSegmenter, settings: Settings) -> None:
        self._segmenter = segmenter
        self._settings = settings
        self._temporary = settings.data is None
        try:
            if settings.data is None:
                self.folder = Path(tempfile.mkdtemp(prefix="sipvideo-"))
            else:
                self.folder = settings.data
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SipVideoError(
                f"{error.filename}: cannot keep uploads there: {error.strerror}"
            ) from error
        self._workers = ThreadPoolExecutor(settings.max_jobs, "job", _step_back)
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._stops: dict[str, threading.Event] = {}
        self._closing = False
        self._read_folder()

    def new(self, name: str, rules: Rules | None = None) -> Job:
        """Room for one more video, whose bytes go to :meth:`upload_path`, and what is watched in it.

        Raises:
            BusyError: as many as the server takes are waiting already.
            OSError: its folder cannot be made.
        """
        with self._lock:
            unfinished = sum(job.state not in ENDED for job in self._jobs.values())
            if self._closing or unfinished >= 3 * self._settings.max_jobs:
                raise BusyError
            job = Job(secrets.token_hex(8), shown_name(name), created=time.time())
            # First: a job without a folder would hold its place for ever.
            self._folder_of(job).mkdir()
            self._jobs[job.id] = job
            self._stops[job.id] = threading.Event()
        self._save(job)  # a server that is killed meanwhile leaves nothing that nobody removes
        if rules is not None and rules.places:
            (self._folder_of(job) / ZONES).write_text(rules_text(rules), "utf-8")
        return job

    def upload_path(self, job: Job) -> Path:
        """Where the uploaded bytes go."""
        return self._folder_of(job) / UPLOAD

    def start(self, job: Job) -> None:
        """Looks at the complete upload and queues it. Reads the file: not for the event loop.

        Raises:
            TooLongError: more seconds than the server takes.
            SourceError: not a video.
        """
        try:
            self._look_at(job)
        except SipVideoError as error:
            raise type(error)(self._named(job, str(error))) from error
        job.state = "waiting"
        self._save(job)
        stop = self._stops.get(job.id)
        if stop is not None:  # it may have been removed meanwhile
            self._workers.submit(self._process, job, stop)

    def _look_at(self, job: Job) -> None:
        with self._opened(job) as source:
            job.frame_count, job.duration = source.expected_frames, source.duration
            if source.duration is not None and source.duration > self._settings.max_duration:
                raise TooLongError(
                    f"{job.name}: {source.duration:.0f} s long,"
                    f" videos of up to {self._settings.max_duration:g} s are taken"
                )

    def get(self, key: str) -> Job | None:
        """The job of that id."""
        return self._jobs.get(key)

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -job.created)

    def cancel(self, job: Job) -> None:
        """Ends a job between two frames; what it has so far stays."""
        stop = self._stops.get(job.id)
        if stop is not None:
            stop.set()
        if job.state == "waiting":
            self._end(job, "cancelled")

    def remove(self, job: Job) -> None:
        """Ends the job and forgets it with all its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
            stop = self._stops.pop(job.id, None)
        if stop is not None:
            stop.set()
        if job.state not in ("running", "waiting"):
            shutil.rmtree(self._folder_of(job), ignore_errors=True)

    def results(self, job: Job) -> dict[Path, int]:
        """The files of a job that has ended, and their bytes."""
        found: dict[Path, int] = {}
        if job.state in ENDED:
            results = self._folder_of(job) / RESULTS
            events = sorted((results / FILES["events"]).glob("*"))
            for path in (*(results / FILES[kind] for kind in KINDS), *events):
                with contextlib.suppress(OSError):
                    found[path] = path.stat().st_size
        return found

    def places(self) -> dict[str, Place]:
        """The results that can be edited, by the ids of their jobs."""
        found = {job.id: self.place(job) for job in self.all()}
        return {key: place for key, place in found.items() if place is not None}

    def place(self, job: Job) -> Place | None:
        """The results of a job for the studio; None: there are none."""
        results = self._folder_of(job) / RESULTS
        if job.state not in ENDED or not (results / FILES["lines"]).is_file():
            return None
        video = Upload(self.upload_path(job), partial(self._opened, job), FFMPEG_OPTIONS)
        return Place(results, job.name, video)

    def expires(self, job: Job) -> float | None:
        """When a job that has ended is removed, seconds since 1970; every edit in the studio puts it off."""
        if job.ended is None:
            return None
        used = job.ended
        with contextlib.suppress(OSError):
            logs = self._folder_of(job).glob(f"{RESULTS}*/{EDITS}")  # also of the run made anew
            used = max(used, *(log.stat().st_mtime for log in logs), used)
        return used + self._settings.keep

    def expire(self) -> None:
        """Removes what has been kept for long enough."""
        for job in self.all():
            end = self.expires(job)
            if end is not None and end < time.time():
                self.remove(job)

    def interrupt(self) -> None:
        """Ends what runs after the frame that it is at, and takes nothing new."""
        with self._lock:
            self._closing = True
            stops = list(self._stops.values())
        for stop in stops:
            stop.set()

    def close(self, patience: float = 1.5) -> None:
        """Interrupts what runs, waits ``patience`` seconds for its files, and removes a temporary folder."""
        self.interrupt()
        closer = threading.Thread(target=self._workers.shutdown, daemon=True)
        closer.start()
        closer.join(patience)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _process(self, job: Job, stop: threading.Event) -> None:
        if stop.is_set():
            if job.state not in ENDED:
                self._end(job, self._stopped)
            return
        job.state = "running"
        try:
            with contained(job.name):
                self._run(job, stop)
        except (
            UnforeseenError
        ) as error:  # not in the video: a lack of memory before it begins, for instance
            job.problem = error.brief
            self._end(job, "failed")

    def _run(self, job: Job, stop: threading.Event) -> None:
        watch = _Progress(job, stop, self._settings.max_duration)
        zones = self._folder_of(job) / ZONES
        own = {"zones": str(zones) if zones.is_file() else None}
        showing = self._settings.showing.model_copy(update=own)
        folder = self._folder_of(job) / RESULTS
        work = Work(job.name, folder, KINDS, showing=showing, checkpoint=0)
        summary = run_job(work, self._segmenter.another(), watch, lambda _: self._opened(job))
        job.problem = self._named(job, watch.problem)
        job.notes = [self._named(job, line) for line in summary.notes]
        job.counts = counted(self._folder_of(job) / RESULTS / FILES["events"])
        if summary.state == "failed":
            self._end(job, "failed")
        else:
            self._end(job, self._stopped if stop.is_set() else "done")

    @property
    def _stopped(self) -> State:
        """What becomes of jobs that are stopped."""
        return "interrupted" if self._closing else "cancelled"

    def _end(self, job: Job, state: State) -> None:
        results = self._folder_of(job) / RESULTS
        # The studio shows it under the masks; where people were covered nobody sees it again.
        if source_of(results) is None or not (results / FILES["lines"]).is_file():
            self.upload_path(job).unlink(missing_ok=True)
        job.state, job.ended = state, time.time()
        if job.id in self._jobs:
            self._save(job)
        else:  # removed meanwhile
            shutil.rmtree(self._folder_of(job), ignore_errors=True)

    @contextlib.contextmanager
    def _opened(self, job: Job) -> Iterator[Source]:
        path = self.upload_path(job)
        if not path.is_file() or not is_container(path):
            raise SourceError(f"{job.name}: not a video")
        with VideoFile(path, FFMPEG_OPTIONS) as source:
            height, width = source.frame_size or (0, 0)
            if height * width > MAX_PIXELS:
                raise SourceError(f"{job.name}: pictures of {width} x {height} are too large")
            yield source

    def _named(self, job: Job, line: str) -> str:
        """Errors speak of the visitor's file, not of a path of the server."""
        line = line.replace(str(self.upload_path(job)), job.name)
        return line.replace(str(self._folder_of(job)), job.name)

    def _folder_of(self, job: Job) -> Path:
        return self.folder / job.id

    def _save(self, job: Job) -> None:
        """Lets a later server know the job; losing that to a full disk loses no result."""
        with contextlib.suppress(OSError):
            (self._folder_of(job) / RECORD).write_text(json.dumps(dataclasses.asdict(job)), "utf-8")

    def _read_folder(self) -> None:
        """Takes over what an earlier server kept in the same folder; what it was cut off in is marked so."""
        for path in self.folder.glob(f"*/{RECORD}"):
            try:
                job = _RECORD.validate_json(path.read_bytes())
            except (OSError, ValueError, RecursionError):
                continue
            times = (job.created, job.ended or 0.0, job.seconds, job.duration or 0.0, job.fps)
            if job.id != path.parent.name or not all(map(math.isfinite, times)):
                continue
            self._jobs[job.id], self._stops[job.id] = job, threading.Event()
            if job.state not in ENDED:
                with contextlib.suppress(SipVideoError):
                    summary = recover(path.parent / RESULTS)
                    job.frames = summary.frames if summary is not None else 0
                self._end(job, "interrupted")


class _Progress(Watch):
    """Keeps a job's figures up to date while it runs.

    Args:
        job: of a visitor.
        stop: ends it.
        longest: seconds of video that are taken.
    """

    def __init__(self, job: Job, stop: threading.Event, longest: float) -> None:
        self._job, self._stop, self._longest = job, stop, longest
        self.problem = ""

    @property
    def stopped(self) -> bool:
        """See :class:`Watch`."""
        return self._stop.is_set()

    def advance(self, summary: Summary, result: FrameResult) -> None:
        """See :class:`Watch`."""
        job = self._job
        job.frames, job.tracks = summary.frames, summary.identities or 0
        job.seconds, job.fps = summary.duration, summary.fps
        if job.seconds > self._longest:
            raise TooLongError(f"{job.name}: longer than {self._longest:g} s: the rest is left out")

    def complain(self, error: SipVideoError) -> None:
        """See :class:`Watch`. Strangers are not told a defect's own words."""
        line = error.brief if isinstance(error, UnforeseenError) else str(error)
        self.problem = self.problem or line


def _step_back() -> None:
    """Live pictures go first: a job's thread takes what they leave."""
    if sys.platform == "linux":  # where threads have priorities of their own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def shown_name(name: str) -> str:
    """A visitor's file name fit to be shown and offered for download: one plain line without folders."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*%;').strip(". ")
    return plain[:80] or "video"
