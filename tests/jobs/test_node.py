"""What a node of a cluster checks before it takes jobs, without any cluster."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from sipvideo import __version__
from sipvideo.errors import SipVideoError
from sipvideo.jobs import Cluster, RayPool, SegmenterSpec, Spec, node
from sipvideo.jobs.executor import Loaded
from sipvideo.jobs.node import Here, Node, Order, claimed, packed, unpacked
from sipvideo.jobs.worker import Broken, Settled
from tests.jobs.odd import OddSpec, clip, job


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def order(spec: Spec, mark: Path | None = None, folder: str = "/nowhere") -> bytes:
    return pickle.dumps(Order(spec, None, folder, mark, float(os.cpu_count() or 1)))


def heard(node: Node, last: type) -> list[object]:
    """What it says, up to a message of a kind."""
    messages: list[object] = []
    while not any(isinstance(message, last) for message in messages):
        messages += node.said()
    return messages


def refusal(node: Node) -> str:
    here, broken = heard(node, Broken)
    assert isinstance(here, Here)
    assert isinstance(broken, Broken)
    return broken.problem


def test_a_node_runs_jobs_and_tells_what_became_of_them(tmp_path: Path) -> None:
    node = Node(__version__, order(OddSpec()), {})
    assert [type(message) for message in heard(node, Loaded)] == [Here, Loaded]
    node.take(job(clip(tmp_path / "a.mp4"), tmp_path))
    *_, settled = heard(node, Settled)
    assert isinstance(settled, Settled)
    assert (settled.summary.state, settled.summary.frames) == ("complete", 10)


def test_a_node_with_another_version_is_refused_before_it_reads_the_order() -> None:
    line = refusal(Node("0.0.7", b"what only 0.0.7 understands", {}))
    assert line.endswith(f"it has sipvideo {__version__}, the run has 0.0.7")


def test_a_node_that_does_not_see_the_place_of_the_results_is_refused(tmp_path: Path) -> None:
    line = refusal(Node(__version__, order(OddSpec(), tmp_path / "none" / ".mark"), {}))
    assert f"it does not see {tmp_path / 'none'}: results must go to a disk that all" in line


def test_weights_and_configuration_travel_and_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    weights, config = tmp_path / "here" / "w.safetensors", tmp_path / "here" / "c.yaml"
    weights.write_bytes(b"weights")
    config.write_text("name: sipmask_nano\ntracker: {match_affinity: 0.3}\n")
    spec = SegmenterSpec(weights=str(weights), config=str(config)).sealed()
    files = packed(spec)
    weights.unlink()
    config.unlink()
    there = unpacked(spec, files)
    assert isinstance(there, SegmenterSpec)
    assert there.weights is not None
    assert Path(there.weights).read_bytes() == b"weights"
    assert replace(there, checksum="").sealed().checksum == spec.checksum


def test_a_folder_of_an_exported_model_travels_whole(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for name in ("model.bin", "model.xml"):
        (tmp_path / "export" / name).write_text(name)
    spec = SegmenterSpec(weights=str(tmp_path / "export")).sealed()
    there = unpacked(spec, packed(spec))
    assert isinstance(there, SegmenterSpec)
    assert there.weights != spec.weights
    assert replace(there, checksum="").sealed().checksum == spec.checksum


def test_a_node_whose_packaged_weights_are_others_is_refused() -> None:
    spec = replace(SegmenterSpec().sealed(), checksum="0" * 64)
    assert "other weights" in refusal(Node(__version__, order(spec), {}))


def test_workers_of_a_machine_claim_different_cores_until_they_end() -> None:
    count = len(os.sched_getaffinity(0))
    if count < 2:
        pytest.skip("one core only")
    first = claimed(1)
    code = "from sipvideo.jobs.node import claimed; print(*claimed(1).cores)"
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert len(first.cores) == 1
    assert other.stdout.split() not in ([], [str(first.cores[0])])
    assert claimed(count).cores == ()
    while node._held:
        node._held.pop().close()


def test_workers_share_what_a_cluster_has() -> None:
    assert Cluster().needs({"CPU": 8}) == {"num_cpus": 1.0, "num_gpus": 0.0}
    assert Cluster().count({"CPU": 8}) == 8
    gpus = {"CPU": 32.0, "GPU": 4.0}
    assert Cluster().needs(gpus) == {"num_cpus": 8.0, "num_gpus": 1.0}
    assert Cluster().count(gpus) == 4
    quarter = Cluster(gpus=0.25)
    assert quarter.needs(gpus) == {"num_cpus": 2.0, "num_gpus": 0.25}
    assert quarter.count(gpus) == 16
    assert Cluster(workers=3, cpus=0.5).count(gpus) == 3
    assert Cluster(gpus=0).needs(gpus) == {"num_cpus": 1.0, "num_gpus": 0.0}
    assert Cluster().count({}) == 1


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(SipVideoError, match=r"Ray is not installed: pip install 'sipvideo\[ray\]'"),
        RayPool(Cluster(), OddSpec()) as pool,
    ):
        pool.load()
