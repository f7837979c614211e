"""The training loop goes on where it stopped, keeps what is best, and says what is wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sipvideo.data import Batch, ClipStream, CocoPictures
from sipvideo.errors import CheckpointError, ConfigError, DatasetError, SinkError, SipVideoError
from sipvideo.model import checkpoint
from sipvideo.model.sipmask import SipMask
from sipvideo.training import Trainer, state
from sipvideo.training import trainer as trainer_module
from sipvideo.training.trainer import passes_per_step
from tests.training.conftest import OBJECTIVE, TRAINED, Make, small
from tests.waiting import until

EVERYTHING = ("ema=0.9", "stream.at_once=1", "optimiser.rates={head.basis: 0.5}")
"""A mean of the weights, several passes per step, and rates that differ."""


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def rows(trainer: Trainer, name: str = "log.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((trainer.folder / name).read_text().splitlines()))


@pytest.mark.parametrize("settings", [(), EVERYTHING, ("optimiser.name=sgd",)])
def test_a_run_that_was_interrupted_ends_exactly_like_one_that_was_not(
    make: Make, settings: tuple[str, ...]
) -> None:
    whole = make("whole", *settings)
    assert whole.run()
    calls = 0

    def interrupted(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 3 * whole.passes + 1:
            raise KeyboardInterrupt
        return OBJECTIVE(model, batch)

    first = make("parts", *settings, objective=interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make("parts", *settings)
    assert second.step == 3
    second.run(5)
    third = make("parts", *settings)
    assert third.step == 5
    third.run()
    assert_equal(weights(whole), weights(third))
    logs = [(t.folder / "log.csv").read_text() for t in (whole, third)]
    assert logs[0] == logs[1]
    assert [int(row["step"]) for row in rows(third)] == [1, 2, 3, 4, 5, 6]
    results = [checkpoint.read(t.folder / "model.safetensors").tensors for t in (whole, third)]
    assert_equal(*results)


def test_reading_losses_less_often_changes_nothing(make: Make) -> None:
    often, seldom = make("often"), make("seldom", read_every=4, save_seconds=1e9)
    often.run()
    assert seldom.run(5)
    again = make("seldom", read_every=4)
    assert again.step == 5
    again.run()
    assert_equal(weights(often), weights(again))
    assert (often.folder / "log.csv").read_text() == (again.folder / "log.csv").read_text()


def test_a_network_is_translated_if_asked_and_the_run_goes_on_without(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What PyTorch makes of it takes minutes: that it is asked for, for sizes that do not vary, is what counts here.
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(SipMask, "compile", lambda model, **options: asked.append(options))
    make("run", "compile=true").run(1)
    assert asked == [{"dynamic": False}]
    again = make("run")
    assert again.step == 1
    assert len(asked) == 1


def test_a_killed_process_goes_on_with_the_losses_of_an_uninterrupted_one(
    make: Make, tmp_path: Path
) -> None:
    whole = make("whole", "schedule.length=16", *EVERYTHING)
    whole.run()
    script = (
        "import sys; from pathlib import Path; from sipvideo.data import CocoPictures\n"
        "from tests.training.conftest import OBJECTIVE, make_trainer, small\n"
        "make_trainer(small(*sys.argv[3:]), CocoPictures(sys.argv[1]), Path(sys.argv[2]), OBJECTIVE).run()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "instances.json")]
    command += [str(tmp_path / "killed"), "schedule.length=16", *EVERYTHING]
    log = tmp_path / "killed" / "log.csv"
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        until(
            lambda: (
                process.poll() is not None
                or (log.exists() and len(log.read_text().splitlines()) > 3)
            )
        )
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    again = make("killed", "schedule.length=16", *EVERYTHING)
    assert 0 < again.step < 16
    again.run()
    assert log.read_text() == (whole.folder / "log.csv").read_text()
    assert_equal(weights(whole), weights(again))


def test_a_finished_run_does_nothing_more(make: Make) -> None:
    trainer = make("run", "schedule.length=1")
    trainer.run()
    again = make("run", "schedule.length=1")
    assert again.ended
    again.run()
    assert again.step == 1
    assert_equal(weights(trainer), weights(again))


def test_a_stopped_run_saves_its_step(make: Make) -> None:
    trainer = make("run", stopped=lambda: True, save_seconds=1e9)
    assert not trainer.run()
    assert make("run").step == 1
    assert not (trainer.folder / "model.safetensors").exists()


def test_only_the_named_parameters_change(make: Make) -> None:
    trainer = make("run")
    before = weights(trainer)
    trainer.run()
    changed = {n for n, v in weights(trainer).items() if not torch.equal(v, before[n])}
    assert {n for n in before if n.startswith(TRAINED)} == changed


def test_all_parameters_are_trained_without_names(make: Make) -> None:
    trainer = make("run", "freeze.trained=[]")
    assert all(p.requires_grad for p in trainer.model.parameters())


def test_the_losses_fall_on_a_few_pictures(make: Make) -> None:
    trainer = make("run", "schedule.length=36", "optimiser.rate=5e-3", save_seconds=1e9)
    trainer.run()
    mask = [float(row["mask"]) for row in rows(trainer)]
    assert np.mean(mask[-10:]) < 0.85 * np.mean(mask[:10])


class Halves:
    """The pairs of another stream's batches one by one."""

    def __init__(self, whole: ClipStream) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def batches(
        self, first: int, stop: int, rank: int, ranks: int, packed: bool
    ) -> Iterator[Batch]:
        for number in range(first, stop):
            batch, k = self.whole.batch(number // 2), number % 2 * 2
            lists = (batch.boxes, batch.labels, batch.masks, batch.object_ids)
            yield Batch(batch.images[k : k + 2], *(values[k : k + 2] for values in lists))


def test_passes_accumulate_the_gradient_of_the_whole_step(make: Make) -> None:
    """With losses that are means over pictures, several passes are one large one."""

    def mean_of_basis(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        return {"mask": model(batch.images).basis_masks.mean()}

    size = ("stream.sizes=[[96, 96]]", "optimiser.name=sgd", "optimiser.clip=null")
    once, twice = (
        make(f"at-once-{n}", f"stream.at_once={n}", *size, objective=mean_of_basis) for n in (2, 1)
    )
    assert (once.passes, twice.passes) == (1, 2)
    twice.stream = Halves(once.stream)  # type: ignore[assignment]
    before = weights(once)
    once.run(2)
    twice.run(2)
    name = "head.basis.output.weight"
    assert not torch.equal(before[name], weights(once)[name])
    for name, value in weights(once).items():
        torch.testing.assert_close(value, weights(twice)[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("pictures", "at_once", "processes", "expected"),
    [(32, 8, 4, 1), (32, 8, 1, 4), (32, 8, 2, 2), (6, 4, 1, 2), (1, 64, 1, 1), (6, 4, 3, 1)],
)
def test_a_step_is_shared_evenly(
    pictures: int, at_once: int, processes: int, expected: int
) -> None:
    recipe = small(f"stream.pictures={pictures}", f"stream.at_once={at_once}")
    assert passes_per_step(recipe, processes) == expected


def test_a_step_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 per step cannot be shared evenly by 2"):
        passes_per_step(small("stream.pictures=3"), 2)


def test_the_best_weights_are_the_result(make: Make) -> None:
    seen: list[dict[str, Tensor]] = []
    figures = iter([0.2, 0.5, 0.4])

    def validate(model: SipMask) -> dict[str, float]:
        seen.append(model.state_dict())
        return {"mask_ap": next(figures), "box_ap": 0.1}

    settings = ("validation.every=2", "validation.unit=steps", "ema=0.5")
    trainer = make("run", *settings, validate=validate)
    trainer.run()
    assert (trainer.best, trainer.best_step) == (0.5, 4)
    result = checkpoint.read(trainer.folder / "model.safetensors")
    assert result.config is not None
    assert result.config.class_names == ("cat", "dog")
    for name, value in seen[1].items():
        torch.testing.assert_close(result.tensors[name], value, rtol=1e-3, atol=1e-4)
    assert not torch.equal(
        seen[2]["head.basis.output.weight"], weights(trainer)["head.basis.output.weight"]
    )
    table = rows(trainer, "validation.csv")
    assert [(int(r["step"]), float(r["mask_ap"])) for r in table] == [(2, 0.2), (4, 0.5), (6, 0.4)]


def test_a_validation_that_was_stopped_is_repeated(make: Make) -> None:
    settings = ("validation.every=3", "validation.unit=steps")
    first = make("run", *settings, validate=lambda model: None)
    assert not first.run()
    second = make("run", *settings, validate=lambda model: {"mask_ap": 0.5})
    assert second.step == 3
    assert second.run()
    assert [int(r["step"]) for r in rows(second, "validation.csv")] == [3, 6]


def test_checkpoints_of_other_settings_and_damaged_ones_are_refused(make: Make) -> None:
    trainer = make("run", "schedule.length=1")
    trainer.run()
    with pytest.raises(CheckpointError, match=r"other settings \(optimiser.rate, seed\)"):
        make("run", "schedule.length=1", "seed=1", "optimiser.rate=1.0")
    make("run", "schedule.length=1", "stream.workers=2", "validation.every=7")
    content = torch.load(trainer.checkpoint, weights_only=True)
    content["settings"]["data"]["pictures"] += 1
    torch.save(content, trainer.checkpoint)
    with pytest.raises(CheckpointError, match=r"other settings \(data.pictures\)"):
        make("run", "schedule.length=1")
    del (
        content["settings"]["data"],
        content["settings"]["whole"]["crowds"],
    )  # as earlier versions wrote it
    torch.save(content, trainer.checkpoint)
    assert make("run", "schedule.length=1").step == 1
    del content["model"]["head.basis.output.weight"]
    torch.save(content, trainer.checkpoint)
    with pytest.raises(CheckpointError, match=r"last\.pt: belongs to a run of another model"):
        make("run", "schedule.length=1")
    trainer.checkpoint.write_bytes(trainer.checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot go on from it"):
        make("run", "schedule.length=1")


@pytest.mark.parametrize("on_card", [False, True])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    make: Make, monkeypatch: pytest.MonkeyPatch, on_card: bool
) -> None:
    calls = 0
    if on_card:  # which is not asked before the figures of some steps are read
        monkeypatch.setattr(trainer_module, "is_host", lambda tensor: False)

    def broken(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        terms = OBJECTIVE(model, batch)
        return {**terms, "mask": terms["mask"] * (float("nan") if calls > 2 else 1)}

    trainer = make("run", objective=broken, read_every=2)
    with pytest.raises(SipVideoError, match=r"the loss \(mask\) of step 2 is not finite.*last\.pt"):
        trainer.run()
    again = make("run")
    assert again.step == 2
    assert all(v.isfinite().all() for v in weights(again).values())


def test_a_gradient_that_is_not_finite_changes_nothing(make: Make) -> None:
    def broken(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        return {"mask": (model(batch.images).basis_masks.sum() * 0).sqrt()}

    trainer = make("run", objective=broken)
    before = weights(trainer)
    with pytest.raises(SipVideoError, match="the gradient of step 0 is not finite"):
        trainer.run()
    assert_equal(before, weights(trainer))


def test_a_picture_that_disappears_stops_the_run(make: Make, pictures: CocoPictures) -> None:
    for path in (pictures.path.parent / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot decode"):
        make("run").run()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_full_disk_is_one_line_and_the_former_checkpoint_stays(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make("run")
    trainer.run(2)

    def full(path: object, mode: str) -> object:
        return open("/dev/full", mode)

    monkeypatch.setattr(state, "open", full, raising=False)
    expected = r"last\.pt: cannot be written: No space left on device; the one before is still"
    with pytest.raises(SinkError, match=expected):
        trainer.run()
    assert make("run").step == 2


def test_half_precision_needs_a_gpu(make: Make) -> None:
    with pytest.raises(ConfigError, match="half needs CUDA"):
        make("run", "objective=whole", "stream.pairs=true", "precision=half")
