"""A real Ray cluster of several nodes on this machine, whose processes are killed; make test-ray."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from sipvideo.errors import SipVideoError
from sipvideo.jobs import Cluster, InProcess, Job, Monitor, RayPool
from sipvideo.summary import Summary
from tests.jobs.odd import DEADLY, SLOW, STUCK, Noted, OddSpec, clip, job
from tests.waiting import until

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

ROOT = Path(__file__).parents[2]
FILES = ("results.jsonl", "objects.csv")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "PYTHONPATH": str(ROOT),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no jobs, and two nodes with one CPU each."""
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster as Nodes

    shared = {"object_store_memory": 80_000_000, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, **shared})
    nodes.shared = shared
    for _ in range(2):
        nodes.add_node(num_cpus=1, **shared)
    yield nodes
    nodes.shutdown()


@pytest.fixture
def pool(cluster: Any, tmp_path: Path) -> Iterator[RayPool]:
    with RayPool(Cluster(cluster.address, cpus=1), OddSpec(), tmp_path, timeout=60.0) as made:
        yield made


def sequential(paths: list[Path], out: Path) -> None:
    list(InProcess(OddSpec()).run([job(path, out) for path in paths], Monitor()))


def same(paths: list[Path], one: Path, other: Path) -> bool:
    pairs = [(one / p.stem / name, other / p.stem / name) for p in paths for name in FILES]
    return all(first.read_bytes() == second.read_bytes() for first, second in pairs)


def test_actors_give_the_same_results_as_one_process_and_a_poisonous_video_hurts_no_other(
    pool: RayPool, tmp_path: Path
) -> None:
    paths = [clip(tmp_path / f"{name}.mp4", 128, 5 + k) for k, name in enumerate("abcd")]
    poison, secret = clip(tmp_path / "poison.mp4", DEADLY), "http://user:geheim@127.0.0.1:1/no.mp4"
    noted = Noted()
    jobs = [job(path, tmp_path / "there") for path in [poison, *paths]]
    jobs.append(Job(secret, tmp_path / "there" / "secret", ("lines",)))
    found = {Path(o.job.input).stem: o for o in pool.run(jobs, noted)}
    states = {name: one.summary.state for name, one in found.items()}
    assert states == {**dict.fromkeys("abcd", "complete"), "poison": "failed", "no": "failed"}
    assert found["poison"].tries == 3
    assert "set aside: 3 workers died of it" in found["poison"].summary.problem
    assert sum("its worker died on node" in line for line in noted.lines) == 2
    sequential(paths, tmp_path / "here")
    assert same(paths, tmp_path / "here", tmp_path / "there")
    logs = Path("/tmp/ray/session_latest/logs").rglob("*")
    assert not [log for log in logs if log.is_file() and b"geheim" in log.read_bytes()]


def test_a_stop_ends_all_and_keeps_what_is_complete(pool: RayPool, tmp_path: Path) -> None:
    noted = Noted()
    stuck = clip(tmp_path / "stuck.mp4", STUCK)
    noted.advance = lambda *_: setattr(noted, "stop", True)  # type: ignore[method-assign,assignment]
    outcomes = list(pool.run([job(stuck, tmp_path)], noted))
    assert [outcome.summary.state for outcome in outcomes] == ["interrupted"]


class Run:
    """A driver in a process of its own, and the means to kill what it needs.

    Attributes:
        begun: how many drivers there were.
        killed: of what kind how many processes.
    """

    def __init__(self, cluster: Any, out: Path, paths: list[Path]) -> None:
        self._cluster, self._out, self._paths = cluster, out, paths
        self.killed: Counter[str] = Counter()
        self.begun = 0
        self.lines = out.parent / "lines.txt"
        self.go_on()

    @property
    def complete(self) -> int:
        """How many videos are."""
        summaries = [Summary.read(self._out / path.stem) for path in self._paths]
        return sum(one is not None and one.state == "complete" for one in summaries)

    @property
    def ended(self) -> bool:
        return self._driver.poll() is not None

    def wait(self, least: int) -> None:
        """Until so many are complete, or the driver has ended."""
        until(lambda: self.ended or self.complete >= least, 300.0)

    def go_on(self) -> None:
        """Another driver, which passes over what is complete."""
        self.begun += 1
        command = [sys.executable, "-m", "tests.jobs.ray_driver", self._cluster.address, "2"]
        with self.lines.open("ab") as lines, (self._out.parent / "errors.txt").open("ab") as errors:
            self._driver = subprocess.Popen(
                [*command, str(self._out), *map(str, self._paths)],
                stdout=lines,
                stderr=errors,
                env={**os.environ, **QUIET},
            )

    def kill(self, kind: str) -> None:
        """A process of a kind, at random."""
        if kind == "driver":
            self._driver.kill()
            self._driver.wait()
            self.go_on()
        elif kind == "node":
            node = random.choice(sorted(self._cluster.worker_nodes, key=str))
            self._cluster.remove_node(node, allow_graceful=False)
            self._cluster.add_node(num_cpus=1, **self._cluster.shared)
        else:
            with suppress(IndexError, psutil.NoSuchProcess):
                random.choice(self._workers()).kill()
        self.killed[kind] += 1

    def _workers(self) -> list[psutil.Process]:
        raylets = [n.all_processes["raylet"][0].process.pid for n in self._cluster.worker_nodes]
        children = [child for pid in raylets for child in psutil.Process(pid).children()]
        return [child for child in children if "ray::Node" in " ".join(child.cmdline())]


KILLS = int(os.environ.get("KILLS", "6"))
CLIPS = int(os.environ.get("CLIPS", "20"))


def test_whatever_is_killed_every_video_is_complete_once_and_as_without(
    cluster: Any, tmp_path: Path
) -> None:
    paths = [clip(tmp_path / f"{k}.mp4", SLOW, 20 + k % 7) for k in range(CLIPS)]
    random.seed(5)
    kinds = ["worker", "node", "driver"] * -(-KILLS // 3)
    run = Run(cluster, tmp_path / "there", paths)
    for number, kind in enumerate(kinds[:KILLS], 1):
        run.wait(number * CLIPS // (KILLS + 1))  # something is done between two kills
        time.sleep(random.random())
        if run.ended and run.complete < CLIPS:
            run.go_on()
        run.kill(kind)
    run.wait(CLIPS + 1)
    if run.complete < CLIPS:  # its own node's death ends a driver
        run.go_on()
        run.wait(CLIPS + 1)
    assert run.complete == CLIPS
    said = [json.loads(line) for line in run.lines.read_text().splitlines()]
    settled = Counter(line[0] for line in said if len(line) > 1 and line[1] == "complete")
    assert max(settled.values()) == 1
    sequential(paths, tmp_path / "here")
    assert same(paths, tmp_path / "here", tmp_path / "there")


def test_an_address_where_nothing_answers_is_told_in_one_line() -> None:
    with (
        pytest.raises(SipVideoError, match=r"^ray://127.0.0.1:1: cannot be reached: [^\n]+$"),
        RayPool(Cluster("ray://127.0.0.1:1"), OddSpec()) as pool,
    ):
        pool.load()
