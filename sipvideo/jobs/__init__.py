"""Stored videos as jobs: one input from opening to summary, whoever asks for it."""

from sipvideo.jobs.job import Job, Watch, completed, run_job

__all__ = ["Job", "Watch", "completed", "run_job"]
