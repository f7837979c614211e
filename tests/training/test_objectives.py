"""Masks are learnt where the detector is used, embeddings against all other views."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from sipvideo.data import Batch
from sipvideo.model.mask_crops import CropWindows
from sipvideo.training import IdentitiesOnFrozenDetector, IdentityLoss, MasksOnFrozenDetector
from sipvideo.training.objectives import _overlaps, identity_term
from tests.training.conftest import OBJECTIVE, Make


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
    cells = [
        (level, row, column)
        for level, distances in enumerate(outputs.box_distances)
        for row in range(distances.shape[2])
        for column in range(distances.shape[3])
    ]
    for item, boxes in enumerate(batch.boxes):
        places = objective.places(model, outputs, batch, item)
        for k, box in enumerate(boxes):
            ranked = []
            for level, stride in enumerate(model.head.strides):
                distances = outputs.box_distances[level][item]
                for row in range(distances.shape[1]):
                    for column in range(distances.shape[2]):
                        left, top, right, bottom = distances[:, row, column].tolist()
                        x, y = column * stride, row * stride
                        predicted = torch.tensor([[x - left, y - top, x + right, y + bottom]])
                        predicted[:, 0::2] = predicted[:, 0::2].clamp(0, width - 1)
                        predicted[:, 1::2] = predicted[:, 1::2].clamp(0, height - 1)
                        overlap = float(box_iou(box[None], predicted))
                        label = int(batch.labels[item][k])
                        score = outputs.class_logits[level][item, label, row, column].sigmoid()
                        if overlap >= 0.2:
                            ranked.append((float(score) * overlap, (level, row, column)))
            expected = {cell for _, cell in sorted(ranked, reverse=True)[:4]}
            found = {cells[at] for at in places.at[places.objects == k].tolist()}
            assert found == expected


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 0.5)])
def test_the_identity_loss_is_its_slow_definition(weights: tuple[float, float]) -> None:
    same_class, other_clips = weights
    loss = IdentityLoss(0.2, 0.5, same_class, other_clips)
    torch.manual_seed(0)
    views = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    ids = torch.tensor([0, 1, 2, 1, 0, 0, 1, 0, 1, 2])
    labels = torch.tensor([5, 5, 6, 5, 5, 6, 5, 6, 5, 5])
    embeddings = torch.randn(10, 4)
    losses = []
    for i in range(10):
        new = math.exp(0.5 / 0.2)
        total, wanted = new, new
        for j in range(10):
            if views[i] == views[j]:
                continue
            clip = int(views[i]) // 2 == int(views[j]) // 2
            value = math.exp(float(F.cosine_similarity(embeddings[i], embeddings[j], dim=0)) / 0.2)
            if clip and ids[i] == ids[j]:
                wanted = value
            else:
                value *= (same_class if labels[i] == labels[j] else 1) * (
                    1 if clip else other_clips
                )
            total += value
        losses.append(-math.log(wanted / total))
    got = loss(embeddings, views, ids, labels)
    assert float(got) == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_masks_and_identities_share_the_loss_of_embeddings(make: Make) -> None:
    trainer = make("run")
    loss = IdentityLoss(temperature=0.2)
    masks = MasksOnFrozenDetector(jitter=0.0, track=1.0, identities=loss)
    # Nothing overlaps by more than all of it: every object is read at its own centre.
    alone = IdentitiesOnFrozenDetector(jitter=0.0, min_iou=1.1, identities=loss)
    batch = trainer.stream.batch(1)
    with torch.no_grad():
        got = alone(trainer.model, batch)
        assert float(got["track"]) == pytest.approx(
            float(masks(trainer.model, batch)["track"]), rel=1e-5
        )
    assert set(got) == {"track"}


def test_embeddings_are_learnt_at_the_boxes_that_the_detector_predicts(make: Make) -> None:
    trainer = make("run")
    model, batch = trainer.model, trainer.stream.batch(0)
    objective = IdentitiesOnFrozenDetector(jitter=0.0, min_iou=0.05)
    finder = MasksOnFrozenDetector(cells=1, min_iou=0.05)
    with torch.no_grad():
        outputs = model(batch.images)
        maps = model.head.embedding_map(outputs.embedding_features)
        boxes, moved = [], 0
        for item, annotated in enumerate(batch.boxes):
            places = finder.places(model, outputs, batch, item)
            read = annotated.clone()
            for k, box in zip(places.objects.tolist(), places.boxes, strict=True):
                read[k] = box
            moved += int((read != annotated).any(1).sum())
            boxes.append(read)
        assert moved
        expected = identity_term(objective.identities, maps, batch, boxes)
        assert float(objective(model, batch)["track"]) == pytest.approx(float(expected), rel=1e-5)


def test_a_batch_without_objects_teaches_no_identities(make: Make) -> None:
    model = make("run").model
    (term,) = IdentitiesOnFrozenDetector()(model, empty_batch(2)).values()
    assert float(term.detach()) == 0
    term.backward()  # type: ignore[no-untyped-call]


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


def test_an_expected_overlap_is_learnt_from_the_whole_object_beside_the_box() -> None:
    torch.manual_seed(0)
    whole = torch.rand(2, 20, 24) > 0.5
    logits = torch.randn(2, 20, 24)
    boxes = torch.tensor([[2.0, 3.0, 15.0, 18.0], [0.0, 0.0, 9.0, 20.0]])
    windows = CropWindows.of(boxes, (20, 24))
    index = torch.arange(2)
    found = _overlaps(
        windows.cut(logits, index), windows.cut(whole.float(), index), windows, whole.sum((1, 2))
    )
    for k, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
        predicted = torch.zeros(20, 24, dtype=torch.bool)
        predicted[y0:y1, x0:x1] = logits[k, y0:y1, x0:x1] > 0
        union = (predicted | whole[k]).sum()
        assert float(found[k]) == pytest.approx(float((predicted & whole[k]).sum() / union))


def test_boxes_with_noise_give_other_places_and_the_same_seed_the_same_loss(make: Make) -> None:
    trainer = make("run")
    batch = trainer.stream.batch(0)
    noisy = replace(OBJECTIVE, box_noise=0.2)
    with torch.no_grad():
        values = []
        for objective in (OBJECTIVE, noisy, noisy):
            torch.manual_seed(0)
            values.append(float(objective(trainer.model, batch)["mask"]))
    assert values[0] != values[1] == values[2]
