"""Stored videos as jobs: one input from opening to summary, whoever asks for it, and many spread over workers."""

from sipvideo.jobs.executor import TRIES, Executor, InProcess, Loaded, Monitor, Monitored, Outcome
from sipvideo.jobs.job import Job, Watch, completed, run_job
from sipvideo.jobs.pool import WorkerPool
from sipvideo.jobs.spec import SegmenterSpec, Spec

__all__ = [
    "TRIES",
    "Executor",
    "InProcess",
    "Job",
    "Loaded",
    "Monitor",
    "Monitored",
    "Outcome",
    "SegmenterSpec",
    "Spec",
    "Watch",
    "WorkerPool",
    "completed",
    "run_job",
]
