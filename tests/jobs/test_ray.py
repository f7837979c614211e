"""A real Ray cluster of several nodes on this machine, whose processes are killed; make test-ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipvideo.errors import SipVideoError
from sipvideo.jobs import Cluster, InProcess, Job, Monitor, RayPool
from tests.jobs.odd import DEADLY, STUCK, Noted, OddSpec, clip, job

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


@pytest.fixture(scope="module")
def pool(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayPool]:
    place = tmp_path_factory.mktemp("place")
    with RayPool(Cluster(cluster.address, cpus=1), OddSpec(), place, timeout=60.0) as made:
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


def test_an_address_where_nothing_answers_is_told_in_one_line() -> None:
    with (
        pytest.raises(SipVideoError, match=r"^ray://127.0.0.1:1: cannot be reached: [^\n]+$"),
        RayPool(Cluster("ray://127.0.0.1:1"), OddSpec()) as pool,
    ):
        pool.load()
