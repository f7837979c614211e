"""Masks are learnt where the detector is used, embeddings against all other views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from sipvideo.data import Batch
from sipvideo.training import MasksOnFrozenDetector
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
