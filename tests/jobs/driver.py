"""A run with one worker in a process of its own, for tests that kill it: python -m tests.jobs.driver VIDEO DIR."""

from __future__ import annotations

import sys
from pathlib import Path

from sipvideo.jobs import Monitor, WorkerPool
from tests.jobs.odd import OddSpec, job

if __name__ == "__main__":
    with WorkerPool(OddSpec(), 1) as pool:
        list(pool.run([job(Path(sys.argv[1]), Path(sys.argv[2]))], Monitor()))
