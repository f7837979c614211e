"""The losses of the paper as an objective: references are paired by object, and training makes them fall."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sipvideo.config import load_config
from sipvideo.data import Batch
from sipvideo.model.criterion import LossConfig, Predictions, SipMaskLoss
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import GroundTruth
from sipvideo.training import WholeModel
from tests.training.conftest import Make

SMALL = ["input.size=[96, 64]", "classes=[cat, dog]"]


def published(*overrides: str) -> SipMask:
    torch.manual_seed(0)
    narrow = ["neck.channels=64", "head.basis_channels=32", "head.embedding=16"]
    return SipMask(load_config("vis_sipmask_r50_caffe_fpn_gn_1x", [*SMALL, *narrow, *overrides]))


def view(boxes: list[list[int]], labels: list[int], ids: list[int]) -> tuple[Tensor, ...]:
    masks = torch.zeros(len(boxes), 64, 96, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return (
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.tensor(labels),
        masks,
        torch.tensor(ids),
    )


def batch_of(*views: tuple[Tensor, ...]) -> Batch:
    torch.manual_seed(1)
    columns = [list(column) for column in zip(*views, strict=True)]
    return Batch(torch.randn(len(views), 3, 64, 96), *columns)


EMPTY = view([], [], [])
PAIR = (
    view([[8, 8, 40, 40], [50, 10, 90, 60]], [0, 1], [11, 12]),
    view([[52, 12, 92, 62], [0, 0, 20, 20]], [1, 1], [12, 13]),
)


def test_references_are_paired_by_object_and_boxes_are_closed() -> None:
    model, batch = published(), batch_of(*PAIR)
    torch.manual_seed(3)
    terms = WholeModel()(model, batch)
    predictions = Predictions.of(model, batch.images[:1], batch.images[1:])
    last_pixel = torch.tensor([0, 0, 1, 1])
    truth = GroundTruth(
        batch.boxes[0] - last_pixel,
        batch.labels[0],
        batch.masks[0],
        batch.boxes[1] - last_pixel,
        torch.tensor([0, 1]),
    )
    jitter = torch.empty(2, 4).uniform_(-0.05, 0.05, generator=torch.Generator().manual_seed(3))
    criterion = SipMaskLoss(model.neck.strides, model.head.basis_stride)
    expected = criterion(predictions, [truth], [jitter]).terms
    assert terms.keys() == expected.keys() == {"class", "box", "centerness", "mask", "track"}
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


@pytest.mark.parametrize(
    ("views", "pictures", "names"),
    [
        ("references", 1, {"class", "box", "centerness", "mask", "track"}),
        ("first", 1, {"class", "box", "centerness", "mask"}),
        ("all", 2, {"class", "box", "centerness", "mask"}),
    ],
)
def test_views_are_used_as_asked(views: str, pictures: int, names: set[str]) -> None:
    model = published()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    terms = WholeModel(views=views)(model, batch_of(*PAIR))  # type: ignore[arg-type]
    assert seen == [pictures]
    assert terms.keys() == names


@pytest.mark.parametrize("views", ["references", "first", "all"])
@pytest.mark.parametrize("pair", [(EMPTY, EMPTY), (PAIR[0], EMPTY), (EMPTY, PAIR[1])])
def test_pictures_without_objects_have_finite_losses_and_gradients(
    views: str, pair: tuple[tuple[Tensor, ...], ...]
) -> None:
    model = published()
    terms = WholeModel(views=views)(model, batch_of(*pair))  # type: ignore[arg-type]
    total = torch.stack(list(terms.values())).sum()
    assert total.isfinite()
    total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_half_precision_changes_the_losses_only_a_little() -> None:
    model, batch = published(), batch_of(*PAIR)
    with torch.no_grad():
        single = WholeModel()(model, batch)
        half = WholeModel(precision="bfloat16")(model, batch)
    for name, value in single.items():
        assert half[name].dtype == torch.float32
        assert float(half[name]) == pytest.approx(float(value), rel=0.1)


def test_crowds_and_classes_that_were_not_annotated_are_background_or_ignored() -> None:
    model, batch = published(), batch_of(*PAIR)
    crowd = torch.zeros(64, 96, dtype=torch.bool)
    crowd[40:] = True
    batch = replace(batch, ignored=[crowd, crowd], labelled=[None, frozenset({1})])
    with torch.no_grad():
        everything = WholeModel(views="all")(model, batch)
        less = WholeModel(views="all", crowds="ignored")(model, batch)
    assert less["class"] < everything["class"]
    assert all(less[name] == everything[name] for name in ("box", "centerness", "mask"))


def test_half_precision_reaches_coefficients_that_are_read_at_few_places(make: Make) -> None:
    trainer = make("run")
    batch, settings = trainer.stream.batch(0), {"views": "all", "closed_boxes": False}
    single = WholeModel(**settings)(trainer.model, batch)  # type: ignore[arg-type]
    half = WholeModel(**settings, precision="bfloat16")(trainer.model, batch)  # type: ignore[arg-type]
    assert trainer.model.head.config.alignment == "box_grid"
    assert single["mask"].item() > 0
    for name, value in single.items():
        assert half[name].item() == pytest.approx(value.item(), rel=0.1)
    torch.stack(list(half.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in trainer.model.head.coefficients.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_the_default_model_learns_its_detector_too(make: Make) -> None:
    losses = LossConfig(
        class_loss="quality",
        box_loss="giou",
        box_unit="stride",
        box_pixel=0,
        mask_loss="bce_and_dice",
    )
    objective = WholeModel(losses, views="all", closed_boxes=False)
    settings = ("freeze.trained=[head]", "schedule.length=40", "optimiser.rate=1e-3")
    trainer = make("run", *settings, objective=objective, save_seconds=1e9)
    batch = trainer.stream.batch(0)
    with torch.no_grad():
        before = objective(trainer.model, batch)
    trainer.run()
    with torch.no_grad():
        after = objective(trainer.model, batch)
    assert after.keys() == {"class", "box", "mask"}
    # Masks are learnt at other places once the boxes have moved, so their loss is not the same question.
    for name in ("class", "box"):
        assert after[name] < before[name], name
