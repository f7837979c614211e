"""The training loop goes on where it stopped, and the losses see what the detector sees."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from sipvideo.config import InputConfig, load_config
from sipvideo.data import Augmentation, Batch, CocoPictures
from sipvideo.errors import CheckpointError, DatasetError, SipVideoError
from sipvideo.model.sipmask import SipMask
from sipvideo.training import MasksOnFrozenDetector, PairStream, Trainer, TrainingConfig
from sipvideo.transforms import FrameTransform
from tests.media import write_coco

TRAINED = ("head.coefficients", "head.basis", "head.track_tower", "head.embedding")
OBJECTIVE = MasksOnFrozenDetector(min_iou=0.05)


@pytest.fixture
def pictures(tmp_path: Path) -> CocoPictures:
    return CocoPictures(write_coco(tmp_path))


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Make = Callable[..., Trainer]


@pytest.fixture
def make(pictures: CocoPictures, tmp_path: Path) -> Make:
    """Makes a trainer of the small default model in a folder of that name."""

    def trainer(folder: str, objective: object = OBJECTIVE, **settings: object) -> Trainer:
        config = load_config("sipmask_nano", ["classes=[cat, dog]"])
        torch.manual_seed(7)
        model = SipMask(config)
        training = replace(
            TrainingConfig(
                steps=6, pictures=2, sizes=(64, 96), warm_up=2, trained=TRAINED, save_seconds=0
            ),
            **settings,  # type: ignore[arg-type]
        )
        stream = PairStream([pictures], Augmentation(), FrameTransform(config.input), training)
        return Trainer(model, objective, stream, tmp_path / folder, lambda line: None)  # type: ignore[arg-type]

    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_a_run_that_was_interrupted_ends_exactly_like_one_that_was_not(make: Make) -> None:
    whole = make("whole")
    whole.run()

    calls = 0

    def interrupted(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return OBJECTIVE(model, batch)

    first = make("parts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make("parts")
    assert second.step == 3
    second.run(5)
    third = make("parts")
    assert third.step == 5
    third.run()
    assert_equal(weights(whole), weights(third))
    logs = [(t.folder / "log.csv").read_text() for t in (whole, third)]
    assert logs[0] == logs[1]
    rows = list(csv.DictReader(logs[0].splitlines()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_does_nothing_more(make: Make) -> None:
    trainer = make("run", steps=1)
    trainer.run()
    again = make("run", steps=1)
    again.run()
    assert again.step == 1
    assert_equal(weights(trainer), weights(again))


def test_only_the_named_parameters_change(make: Make) -> None:
    trainer = make("run")
    before = weights(trainer)
    trainer.run()
    for name, value in weights(trainer).items():
        if not name.startswith(TRAINED):
            assert torch.equal(value, before[name]), name
    changed = {n for n, v in weights(trainer).items() if not torch.equal(v, before[n])}
    assert {n for n in before if n.startswith(TRAINED)} == changed


def test_all_parameters_are_trained_without_names(make: Make) -> None:
    trainer = make("run", trained=())
    assert all(p.requires_grad for p in trainer.model.parameters())


def test_the_losses_fall_on_a_few_pictures(make: Make) -> None:
    trainer = make("run", steps=60, learning_rate=5e-3, save_seconds=1e9)
    trainer.run()
    rows = list(csv.DictReader((trainer.folder / "log.csv").read_text().splitlines()))
    mask = [float(row["mask"]) for row in rows]
    assert np.mean(mask[-10:]) < 0.7 * np.mean(mask[:10])


def test_checkpoints_of_other_settings_and_damaged_ones_are_refused(make: Make) -> None:
    trainer = make("run", steps=1)
    trainer.run()
    with pytest.raises(CheckpointError, match=r"other settings \(learning_rate, seed\)"):
        make("run", steps=1, seed=1, learning_rate=1.0)
    trainer.checkpoint.write_bytes(trainer.checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot go on from it"):
        make("run", steps=1)


def test_a_loss_that_is_not_finite_stops_the_run(make: Make) -> None:
    def broken(model: SipMask, batch: Batch) -> dict[str, Tensor]:
        return {"mask": OBJECTIVE(model, batch)["mask"] * float("nan")}

    with pytest.raises(SipVideoError, match="step 0 is not finite"):
        make("run", broken).run()


def test_a_picture_that_disappears_stops_the_run(make: Make, pictures: CocoPictures) -> None:
    for path in pictures.folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot decode"):
        make("run").run()


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    config = TrainingConfig(steps=100, warm_up=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) in (8, 9)
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3


def stream(source: CocoPictures, **settings: object) -> PairStream:
    config = replace(TrainingConfig(sizes=(64, 128)), **settings)  # type: ignore[arg-type]
    return PairStream([source], Augmentation(), FrameTransform(InputConfig()), config)


def test_every_epoch_shows_every_picture_once(pictures: CocoPictures) -> None:
    one = stream(pictures, pictures=1)
    for epoch in range(3):
        seen = []
        for step in range(epoch * 5, epoch * 5 + 5):
            ids = torch.cat(one.batch(step).object_ids).tolist()
            seen += [k for k in range(5) if set(pictures[k].object_ids.tolist()) & set(ids)]
        # An object can leave both views, so a picture may not be recognised, but none comes twice.
        assert len(set(seen)) == len(seen) >= 4


def test_a_step_always_gives_the_same_batch(pictures: CocoPictures) -> None:
    a, b = stream(pictures), stream(pictures)
    for step, batch in enumerate(a.batches(0, 4)):
        again = b.batch(step)
        assert torch.equal(batch.images, again.images)
        assert len(batch.boxes) == 4
    assert not torch.equal(stream(pictures, seed=1).batch(0).images, a.batch(0).images)


def test_pictures_without_objects_of_the_classes_are_no_training_data(
    pictures: CocoPictures,
) -> None:
    dogs = CocoPictures(pictures.path, classes=("dog",))
    assert len(stream(dogs)) == 2
    with pytest.raises(DatasetError, match="no picture shows an object"):
        stream(CocoPictures(pictures.path, classes=("unicorn",)))


def empty_batch(count: int) -> Batch:
    none = [torch.zeros(0, dtype=torch.int64) for _ in range(count)]
    return Batch(
        torch.randn(count, 3, 64, 96),
        [torch.zeros(0, 4) for _ in range(count)],
        none,
        [torch.zeros(0, 64, 96, dtype=torch.bool) for _ in range(count)],
        none,
    )


def test_a_batch_without_objects_costs_nothing_and_has_a_gradient(make: Make) -> None:
    trainer = make("run")
    terms = OBJECTIVE(trainer.model, empty_batch(2))
    total = terms["mask"] + terms["track"]
    assert float(total.detach()) == 0
    total.backward()  # type: ignore[no-untyped-call]


def test_masks_are_learnt_at_the_best_cells(make: Make) -> None:
    trainer = make("run")
    batch = trainer.stream.batch(0)
    model, objective = trainer.model, MasksOnFrozenDetector(min_iou=0.2, cells=4)
    with torch.no_grad():
        outputs = model(batch.images)
    height, width = batch.images.shape[-2:]
    for item, boxes in enumerate(batch.boxes):
        places = objective.places(model, outputs, batch, item)
        assert places.level.tolist() == sorted(places.level.tolist())
        for k, box in enumerate(boxes):
            ranked = []
            for level, stride in enumerate(model.head.strides):
                distances = outputs.box_distances[level][item]
                for row in range(distances.shape[1]):
                    for column in range(distances.shape[2]):
                        left, top, right, bottom = distances[:, row, column].tolist()
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        predicted = torch.tensor([[x - left, y - top, x + right, y + bottom]])
                        predicted[:, 0::2] = predicted[:, 0::2].clamp(0, width - 1)
                        predicted[:, 1::2] = predicted[:, 1::2].clamp(0, height - 1)
                        overlap = float(box_iou(box[None], predicted))
                        label = int(batch.labels[item][k])
                        score = outputs.class_logits[level][item, label, row, column].sigmoid()
                        if overlap >= 0.2:
                            ranked.append((float(score) * overlap, (level, row, column)))
            expected = {cell for _, cell in sorted(ranked, reverse=True)[:4]}
            cells = torch.stack((places.level, places.row, places.column), 1)
            found = {tuple(cell) for cell in cells[places.objects == k].tolist()}
            assert found == expected


def test_the_track_loss_is_its_slow_definition(make: Make) -> None:
    trainer = make("run")
    objective = MasksOnFrozenDetector(jitter=0.0, track=1.0, temperature=0.2)
    batch = trainer.stream.batch(1)
    assert len(batch.boxes) == 4
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = trainer.model(batch.images)
        maps = trainer.model.head.embedding_map(outputs.embedding_features)
        got = objective(trainer.model, batch)["track"]
    everything = [
        (
            view,
            int(ids[k]),
            F.normalize(
                maps[view, :, int(box[1] + box[3]) // 16, int(box[0] + box[2]) // 16], dim=0
            ),
        )
        for view, (boxes, ids) in enumerate(zip(batch.boxes, batch.object_ids, strict=True))
        for k, box in enumerate(boxes)
    ]
    losses = []
    for view, object_id, embedding in everything:
        logits, wanted = [0.5 / 0.2], 0
        for other_view, other_id, other in everything:
            if other_view != view:
                if other_view // 2 == view // 2 and other_id == object_id:
                    wanted = len(logits)
                logits.append(float(embedding @ other) / 0.2)
        losses.append(-torch.tensor(logits).log_softmax(0)[wanted])
    assert len(losses) > 3
    torch.testing.assert_close(got, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def test_half_precision_changes_the_losses_only_a_little(make: Make) -> None:
    trainer = make("run")
    batch = trainer.stream.batch(0)
    with torch.no_grad():
        torch.manual_seed(0)
        single = OBJECTIVE(trainer.model, batch)
        torch.manual_seed(0)
        half = replace(OBJECTIVE, bfloat16=True)(trainer.model, batch)
    for name, value in single.items():
        assert float(half[name]) == pytest.approx(float(value), rel=0.1)
