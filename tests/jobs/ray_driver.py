"""A run on a Ray cluster in a process of its own, for tests that kill it.

python -m tests.jobs.ray_driver ADDRESS WORKERS DIR VIDEO...: passes over videos that are complete.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sipvideo.jobs import Cluster, Monitor, RayPool, completed
from tests.jobs.odd import OddSpec, job


def main(address: str, workers: str, folder: str, *videos: str) -> None:
    """Prints what became of each video, a JSON line each."""
    jobs = [job(Path(video), Path(folder)) for video in videos]
    left = [one for one in jobs if completed(one) is None]
    pool = RayPool(
        Cluster(address, int(workers), cpus=1),
        OddSpec(),
        Path(folder),
        tell=lambda line: print(json.dumps([line])),
    )
    with pool:
        for outcome in pool.run(left, Monitor()):
            state = [Path(outcome.job.input).stem, outcome.summary.state, outcome.tries]
            print(json.dumps([*state, outcome.worker, outcome.summary.problem]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # Ray's threads have nothing to say any more
