"""Two real processes have the gradients of one that sees the whole batch, and train to the same weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.media import write_coco
from tests.training.conftest import SMALL
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from pathlib import Path
import torch
from sipvideo.data import CocoPictures
from sipvideo.model.criterion import LossConfig
from sipvideo.training import MasksOnFrozenDetector, WholeModel
from sipvideo.training.distributed import joined
from tests.training.conftest import make_trainer, small

OBJECTIVES = {
    # Embeddings are told from the other objects of their own process, so their loss is not the same.
    "masks": MasksOnFrozenDetector(min_iou=0.05, track=0.0),
    "published": WholeModel(views="references"),
    "other rules": WholeModel(LossConfig(class_loss="quality", class_normaliser="positives",
        box_loss="giou", halve_large_mask_loss=True, mask_loss="bce_and_dice"), views="all"),
}
data, folder, *overrides = sys.argv[1:]
with joined(torch.device("cpu")) as (ranks, device):
    torch.set_num_threads(1)
    for name, objective in OBJECTIVES.items():
        recipe = small(*overrides, *([] if name == "masks" else ["freeze.trained=[head]"]))
        own = Path(folder) / name
        trainer = make_trainer(recipe, CocoPictures(data), own, objective, ranks=ranks)
        trainer.run(2)
        gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
        state = {n: p for n, p in trainer.model.state_dict().items()}
        torch.save([gradients, state], own / f"rank{ranks.rank}.pt")
"""
SETTINGS = (*SMALL, "optimiser.name=sgd", "optimiser.rate=0.01", "ema=0.9", "optimiser.clip=null")


def start(rank: int, count: int, port: int, arguments: list[str]) -> subprocess.Popen[str]:
    together = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=ROOT,
        env={**os.environ, **(together | place if count > 1 else {})},
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a run of one process and of one of two, in which a folder for each objective."""
    folder = tmp_path_factory.mktemp("runs")
    data, port = str(write_coco(folder)), free_port()
    processes = [start(0, 1, port, [data, str(folder / "one"), *SETTINGS])]
    processes += [start(rank, 2, port, [data, str(folder / "two"), *SETTINGS]) for rank in (0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    return folder


@pytest.mark.parametrize("objective", ["masks", "published", "other rules"])
def test_two_processes_are_one_with_the_whole_batch(runs: Path, objective: str) -> None:
    alone, together = runs / "one" / objective, runs / "two" / objective
    one = torch.load(alone / "rank0.pt", weights_only=True)
    both = [torch.load(together / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert one[0]
    for gradients, state in both:
        assert gradients.keys() == one[0].keys()
        for name, value in one[0].items():
            scale = float(value.abs().max())
            torch.testing.assert_close(gradients[name], value, rtol=1e-3, atol=1e-4 * scale + 1e-7)
        for name, value in one[1].items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6)
    rows = [(run / "log.csv").read_text().splitlines() for run in (alone, together)]
    assert len(rows[0]) == len(rows[1]) == 3
    for a, b in zip(rows[0][2].split(","), rows[1][2].split(","), strict=True):
        assert float(a) == pytest.approx(float(b), rel=2e-3)
