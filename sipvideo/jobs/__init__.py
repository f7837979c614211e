"""Stored videos as jobs: one input from opening to summary, whoever asks for it, and many spread over workers."""

from sipvideo.jobs import storage
from sipvideo.jobs.cluster import Cluster, RayPool
from sipvideo.jobs.executor import TRIES, Executor, InProcess, Loaded, Monitor, Monitored, Outcome
from sipvideo.jobs.job import Job, Watch, changed, completed, earlier
from sipvideo.jobs.ledger import LEDGER, TOGETHER, Entry, Ledger, read_ledger
from sipvideo.jobs.processes import WorkerPool
from sipvideo.jobs.run import run_job
from sipvideo.jobs.spec import SegmenterSpec, Spec

__all__ = [
    "LEDGER",
    "TOGETHER",
    "TRIES",
    "Cluster",
    "Entry",
    "Executor",
    "InProcess",
    "Job",
    "Ledger",
    "Loaded",
    "Monitor",
    "Monitored",
    "Outcome",
    "RayPool",
    "SegmenterSpec",
    "Spec",
    "Watch",
    "WorkerPool",
    "changed",
    "completed",
    "earlier",
    "read_ledger",
    "run_job",
    "storage",
]
