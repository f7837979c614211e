"""The whole criterion: against the published rules written out plainly, and where there is nothing to learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sipvideo.config import Config, config_from_values
from sipvideo.errors import DatasetError
from sipvideo.model.criterion import LossConfig, LossValues, Predictions, SipMaskLoss
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import GroundTruth, box_distances, centerness, locations
from tests.model.assigning import assign

STRIDES = (8, 16, 32, 64, 128)
HEIGHT, WIDTH = 96, 160
CLASSES, BASES, EMBEDDING = 5, 4, 6
SIZES = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in STRIDES]


def objects(boxes: Sequence[Sequence[float]], references: int | None = None) -> GroundTruth:
    """Objects whose masks are ellipses in their boxes; object k is reference object k - 1, the first is new."""
    tensor = torch.tensor(boxes).reshape(-1, 4)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    centres, sides = (tensor[:, :2] + tensor[:, 2:]) / 2, tensor[:, 2:] - tensor[:, :2]
    across = (x - centres[:, 0, None, None]) / sides[:, 0, None, None]
    down = (y - centres[:, 1, None, None]) / sides[:, 1, None, None]
    masks = across**2 + down**2 < 0.25
    labels = torch.arange(len(tensor)) % CLASSES
    if references is None:
        return GroundTruth(tensor, labels, masks)
    index = torch.arange(len(tensor)).clamp(max=references)
    elsewhere = torch.arange(references).view(-1, 1) * 20 + torch.tensor([[0.0, 5.0, 40.0, 70.0]])
    return GroundTruth(tensor, labels, masks, elsewhere, index)


TWO = objects([[10.0, 12.0, 58.0, 70.0], [70.0, 20.0, 150.0, 90.0]], 1)
THREE = objects(
    [[20.0, 20.0, 50.0, 44.0], [60.5, 10.25, 120.0, 60.0], [90.0, 40.0, 158.0, 95.0]], 2
)
NONE = objects([], 2)


def predictions(truths: Sequence[GroundTruth], seed: int = 0, noise: float = 6.0) -> Predictions:
    """Random outputs with gradient; at positives the boxes are near the objects' boxes."""
    generator = torch.Generator().manual_seed(seed)

    def levels(channels: int, scale: float) -> list[Tensor]:
        shape = (len(truths), channels)
        return [
            (torch.randn(*shape, h, w, generator=generator) * scale).requires_grad_()
            for h, w in SIZES
        ]

    distances = levels(4, noise)
    for item, truth in enumerate(truths):
        points = locations(SIZES, STRIDES)
        found = assign(points, STRIDES, truth)
        at = 0
        for level, (h, w) in zip(distances, SIZES, strict=True):
            piece = found.distances[at : at + h * w]
            level.data[item] += piece.t().view(4, h, w)
            at += h * w
    size = (len(truths), EMBEDDING, HEIGHT // 8, WIDTH // 8)
    return Predictions(
        levels(CLASSES, 2.0),
        levels(1, 2.0),
        distances,
        levels(4 * BASES, 1.0),
        torch.rand(
            len(truths), BASES, HEIGHT // 2, WIDTH // 2, generator=generator
        ).requires_grad_(),
        torch.randn(size, generator=generator).requires_grad_(),
        torch.randn(size, generator=generator).requires_grad_(),
    )


def certain_of_classes(inputs: Predictions, truth: GroundTruth, logit: float) -> None:
    """Makes the class logits of the only picture say what is wanted, +-logit."""
    found = assign(locations(SIZES, STRIDES), STRIDES, truth)
    assert (found.labels >= 0).any()
    sizes = [h * w for h, w in SIZES]
    for maps, labels in zip(inputs.class_logits, torch.split(found.labels, sizes), strict=True):
        hot = F.one_hot(labels + 1, CLASSES + 1)[:, 1:].t()
        maps.data[0] = ((hot * 2 - 1) * logit).view(maps.shape[1:])


def leaves(inputs: Predictions) -> list[Tensor]:
    """All tensors of the predictions."""
    result: list[Tensor] = []
    for value in vars(inputs).values():
        result += [value] if isinstance(value, Tensor) else list(value or ())
    return result


def criterion(**options: object) -> SipMaskLoss:
    return SipMaskLoss(STRIDES, config=LossConfig(**options))  # type: ignore[arg-type]


def jitters(truths: Sequence[GroundTruth]) -> list[Tensor]:
    counts = [0 if t.reference_boxes is None else len(t.reference_boxes) for t in truths]
    return [torch.linspace(-0.05, 0.05, count * 4).view(count, 4) for count in counts]


def closed_iou(a: Sequence[float], b: Sequence[Tensor]) -> Tensor:
    """Overlap of two boxes whose x1, y1 are the last pixel."""
    w = (torch.min(torch.as_tensor(a[2]), b[2]) - torch.max(torch.as_tensor(a[0]), b[0]) + 1).clamp(
        min=0
    )
    h = (torch.min(torch.as_tensor(a[3]), b[3]) - torch.max(torch.as_tensor(a[1]), b[1]) + 1).clamp(
        min=0
    )
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    return w * h / (area_a + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - w * h)


def plain_mask(logits: Tensor, box: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Four full maps [4, H, W] and a box in basis pixels: the mask's probabilities, and which pixels are inside."""
    x0, y0, x1, y1 = box
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in logits.shape[1:]), indexing="ij")
    right = (x >= x0 + (x1 - x0 + 0.1) / 2).long()
    below = (y >= y0 + (y1 - y0 + 0.1) / 2).long()
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    chosen = logits.sigmoid().gather(0, (2 * below + right).unsqueeze(0))[0]
    return torch.where(inside, chosen, 0.0), inside


def plain_losses(
    inputs: Predictions, truths: Sequence[GroundTruth], shifts: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The published rules, one location and one object at a time."""
    zero = torch.zeros(())
    sums = dict.fromkeys(("class", "box", "centerness", "mask", "track"), zero)
    positives, central_sum = 0, zero
    points = locations(SIZES, STRIDES)
    for item, truth in enumerate(truths):
        found = assign(points, STRIDES, truth)
        kept: list[tuple[Tensor, Tensor, Tensor, int, Tensor]] = []
        at = -1
        for level, level_points in enumerate(points):
            w = SIZES[level][1]
            for cell, point in enumerate(level_points):
                at += 1
                row, column = cell // w, cell % w
                logits = inputs.class_logits[level][item, :, row, column]
                label = int(found.labels[at])
                for c in range(CLASSES):
                    p = logits[c].sigmoid()
                    if c == label:
                        sums["class"] = sums["class"] - 0.25 * (1 - p) ** 2 * F.logsigmoid(
                            logits[c]
                        )
                    else:
                        sums["class"] = sums["class"] - 0.75 * p**2 * F.logsigmoid(-logits[c])
                if label < 0:
                    continue
                positives += 1
                annotated = truth.boxes[found.objects[at]]
                x, y = point
                left, top, right, bottom = inputs.box_distances[level][item, :, row, column]
                box = torch.stack((x - left, y - top, x + right, y + bottom))
                central = centerness(box_distances(point, annotated).view(1, 4))[0]
                central_sum = central_sum + central
                iou = closed_iou(annotated.tolist(), list(box)).clamp(min=1e-6)
                sums["box"] = sums["box"] - iou.log() * central
                logit = inputs.centerness_logits[level][item, 0, row, column]
                sums["centerness"] = sums["centerness"] + F.binary_cross_entropy_with_logits(
                    logit, central
                )
                half = box.detach() / 2
                if (half[2] - half[0]) * (half[3] - half[1]) > 1:
                    score = logits[label].detach().sigmoid()
                    score = score * closed_iou((annotated / 2).tolist(), list(half))
                    coefficients = inputs.coefficients[level][item, :, row, column]
                    kept.append((half, score, coefficients, int(found.objects[at]), box.detach()))
        if not kept:
            continue
        total_score = sum((score for _, score, *_ in kept), zero) + 1e-4
        quarter = truth.masks.float().view(-1, HEIGHT // 2, 2, WIDTH // 2, 2).sum((2, 4))
        for half, score, coefficients, k, _ in kept:
            maps = torch.einsum(
                "qk,khw->qhw", coefficients.view(4, BASES), inputs.basis_masks[item]
            )
            predicted, inside = plain_mask(maps, half.tolist())
            target = ((quarter[k] > 2) & inside).float()
            loss = F.binary_cross_entropy(predicted, target, reduction="sum")
            loss = loss / (half[2] - half[0]) / (half[3] - half[1]) / len(kept)
            sums["mask"] = sums["mask"] + loss * score / total_score * len(kept)
        assert truth.reference_boxes is not None
        assert truth.reference_index is not None
        assert inputs.embeddings is not None
        assert inputs.reference_embeddings is not None
        others = []
        for box, shift in zip(truth.reference_boxes, shifts[item], strict=True):
            x = (box[0] + box[2]) / 2 + shift[0] * (box[2] - box[0])
            y = (box[1] + box[3]) / 2 + shift[1] * (box[3] - box[1])
            others.append(inputs.reference_embeddings[item, :, int(y // 8), int(x // 8)])
        for *_, k, box in kept:
            column = min(max(int((box[0] + box[2]) / 2 // 8), 0), WIDTH // 8 - 1)
            row = min(max(int((box[1] + box[3]) / 2 // 8), 0), HEIGHT // 8 - 1)
            own = inputs.embeddings[item, :, row, column]
            similarities = torch.stack([zero, *(own @ other for other in others)])
            entropy = torch.logsumexp(similarities, 0) - similarities[truth.reference_index[k]]
            sums["track"] = sums["track"] + entropy / len(kept)
    return {
        "class": sums["class"] / (positives + len(truths)),
        "box": sums["box"] / max(float(central_sum), 1e-9),
        "centerness": sums["centerness"] / max(positives, 1),
        "mask": sums["mask"] / len(truths),
        "track": sums["track"] / len(truths),
    }


def test_all_losses_and_gradients_equal_the_rules_written_out() -> None:
    truths = [TWO, NONE, THREE]
    inputs = predictions(truths, noise=9.0)
    shifts = jitters(truths)
    found = criterion()(inputs, truths, shifts).terms
    plain = plain_losses(inputs, truths, shifts)
    assert found.keys() == plain.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6, msg=name)
        pairs = zip(
            torch.autograd.grad(found[name], leaves(inputs), allow_unused=True, retain_graph=True),
            torch.autograd.grad(expected, leaves(inputs), allow_unused=True, retain_graph=True),
            strict=True,
        )
        for mine, theirs in pairs:
            mine = torch.zeros(1) if mine is None else mine
            theirs = torch.zeros_like(mine) if theirs is None else theirs
            torch.testing.assert_close(
                mine.expand_as(theirs), theirs, rtol=1e-4, atol=1e-6, msg=name
            )


def total_gradients(inputs: Predictions, values: LossValues) -> list[Tensor]:
    gradients = torch.autograd.grad(values.total, leaves(inputs), allow_unused=True)
    return [torch.zeros(1) if g is None else g for g in gradients]


def test_a_batch_without_objects_has_a_class_loss_and_nothing_else() -> None:
    inputs = predictions([NONE, NONE])
    values = criterion()(inputs, [NONE, NONE])
    assert values.terms.pop("class") > 0
    assert [term.item() for term in values.terms.values()] == [0.0] * 4
    assert values.track_accuracy is None
    assert all(
        g.isfinite().all() for g in total_gradients(inputs, criterion()(inputs, [NONE, NONE]))
    )


def test_what_is_neither_object_nor_background_has_no_class_gradient() -> None:
    ignored = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    ignored[:, : WIDTH // 2] = True
    truth = dataclasses.replace(TWO, ignored=ignored, labelled=frozenset({0}))
    inputs = predictions([TWO])
    before = criterion(class_normaliser="positives")(inputs, [TWO]).terms
    plain = torch.autograd.grad(before["class"], list(inputs.class_logits))
    after = criterion(class_normaliser="positives")(inputs, [truth]).terms
    found = torch.autograd.grad(after["class"], list(inputs.class_logits))
    points = locations(SIZES, STRIDES)
    labels = torch.split(assign(points, STRIDES, TWO).labels, [h * w for h, w in SIZES])
    seen = set()
    for one, other, at, label in zip(plain, found, points, labels, strict=True):
        for cell, (x, label_here) in enumerate(zip(at[:, 0], label.tolist(), strict=True)):
            for k in range(CLASSES):
                learnt = k == label_here or (k == 0 and (x >= WIDTH // 2 or label_here >= 0))
                expected = one[0, k].flatten()[cell] if learnt else torch.tensor(0.0)
                torch.testing.assert_close(other[0, k].flatten()[cell], expected)
                seen.add((bool(learnt), label_here >= 0))
    assert len(seen) == 4
    for name in ("box", "centerness", "mask"):
        torch.testing.assert_close(after[name], before[name])


def test_positives_without_a_predicted_area_learn_no_mask_and_no_track() -> None:
    inputs = predictions([TWO])
    for level in inputs.box_distances:
        level.data.zero_()
    values = criterion()(inputs, [TWO])
    assert values.terms["box"] > 0
    assert values.terms["mask"].item() == values.terms["track"].item() == 0
    assert values.track_accuracy is None
    assert all(g.isfinite().all() for g in total_gradients(inputs, values))


@pytest.mark.parametrize(("side", "learns"), [(1.9, False), (2.1, True)])
def test_masks_need_a_predicted_box_of_more_than_one_basis_pixel(side: float, learns: bool) -> None:
    inputs = predictions([TWO])
    for level in inputs.box_distances:
        level.data.fill_(side / 2)
    values = criterion(mask_alignment=False)(inputs, [TWO])
    assert (values.terms["mask"].item() > 0) == learns
    assert (values.track_accuracy is not None) == learns


def test_boxes_far_outside_the_picture_read_the_nearest_embedding() -> None:
    for shift in (-1e4, 1e4):
        inputs = predictions([TWO])
        for level in inputs.box_distances:
            level.data[:, :2] -= shift
            level.data[:, 2:] += shift
        values = criterion()(inputs, [TWO])
        assert values.total.isfinite()
        assert values.terms["mask"].item() == 0
        assert values.terms["track"] > 0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_predicted_boxes_that_are_not_finite_learn_no_mask(value: float) -> None:
    inputs = predictions([TWO])
    for level in inputs.box_distances:
        level.data.fill_(value)
    assert criterion()(inputs, [TWO]).terms["mask"].item() == 0


def test_order_of_objects_does_not_matter() -> None:
    order = torch.tensor([2, 0, 1])
    assert THREE.reference_index is not None
    shuffled = GroundTruth(
        THREE.boxes[order],
        THREE.labels[order],
        THREE.masks[order],
        THREE.reference_boxes,
        THREE.reference_index[order],
    )
    inputs = predictions([THREE])
    one = criterion()(inputs, [THREE], jitters([THREE]))
    other = criterion()(inputs, [shuffled], jitters([THREE]))
    for name, term in one.terms.items():
        torch.testing.assert_close(term, other.terms[name])
    assert one.track_accuracy == other.track_accuracy


def test_mask_and_track_losses_of_a_batch_are_the_mean_of_its_pictures() -> None:
    truths = [TWO, THREE]
    both = predictions(truths)
    values = criterion()(both, truths, jitters(truths))
    single = []
    for item, truth in enumerate(truths):
        fields: dict[str, Any] = {
            name: field[item : item + 1]
            if isinstance(field, Tensor)
            else [level[item : item + 1] for level in field]
            for name, field in vars(both).items()
            if field is not None
        }
        single.append(criterion()(Predictions(**fields), [truth], jitters([truth])))
    for name in ("mask", "track"):
        mean = (single[0].terms[name] + single[1].terms[name]) / 2
        torch.testing.assert_close(values.terms[name], mean)


def test_coefficients_may_be_read_only_where_masks_are_learnt() -> None:
    inputs = predictions([TWO])
    assert not callable(inputs.coefficients)
    rows = torch.cat([level.flatten(2).transpose(1, 2) for level in inputs.coefficients], 1)
    lazy = dataclasses.replace(inputs, coefficients=lambda item, at: rows[item, at])
    ours, expected = (criterion()(one, [TWO], jitters([TWO])) for one in (lazy, inputs))
    assert ours.terms == expected.terms


def test_perfect_predictions_have_almost_no_loss() -> None:
    inputs = predictions([THREE], noise=0.0)
    certain_of_classes(inputs, THREE, 20.0)
    values = criterion()(inputs, [THREE])
    assert values.terms["class"].item() < 1e-6
    assert values.terms["box"].item() < 1e-6


def test_jitter_is_drawn_like_the_published_code_does() -> None:
    # The first numbers of the reference run: seed 1234, one draw of [R, 4] per picture, after the forward pass.
    truths = [THREE, TWO]
    inputs = predictions(truths)
    torch.manual_seed(1234)
    drawn = [torch.empty(2, 4).uniform_(-0.05, 0.05), torch.empty(1, 4).uniform_(-0.05, 0.05)]
    torch.manual_seed(1234)
    values = criterion()(inputs, truths)
    expected = criterion()(inputs, truths, drawn)
    torch.testing.assert_close(values.terms["track"], expected.terms["track"], rtol=0, atol=0)


def test_without_alignment_every_mask_counts_the_same() -> None:
    inputs = predictions([TWO])
    aligned = criterion()(inputs, [TWO]).terms["mask"]
    equal = criterion(mask_alignment=False)(inputs, [TWO]).terms["mask"]
    assert not torch.isclose(aligned, equal)
    for level in inputs.class_logits:
        level.data += 3.0
    again = criterion(mask_alignment=False)(inputs, [TWO]).terms["mask"]
    torch.testing.assert_close(equal, again)
    (gradient,) = torch.autograd.grad(again, inputs.class_logits[0], allow_unused=True)
    assert gradient is None


def test_dice_adds_between_zero_and_one_to_the_mask_loss() -> None:
    inputs = predictions([TWO])
    plain = criterion(mask_alignment=False)(inputs, [TWO]).terms["mask"]
    both = criterion(mask_alignment=False, mask_loss="bce_and_dice")(inputs, [TWO]).terms["mask"]
    assert 0 < both - plain < 1


def test_box_loss_in_strides_adds_the_pixel_in_strides() -> None:
    # One object learnt at stride 8 only: dividing by 8 is the same as making the pixel 8 times larger.
    truth = objects([[20.0, 20.0, 50.0, 44.0]])
    inputs = predictions([truth])
    strides = criterion(box_unit="stride")(inputs, [truth]).terms["box"]
    pixels = criterion(box_pixel=8.0)(inputs, [truth]).terms["box"]
    torch.testing.assert_close(strides, pixels)


def test_giou_replaces_the_box_loss() -> None:
    inputs = predictions([TWO], noise=0.0)
    values = criterion(box_loss="giou", box_unit="stride")(inputs, [TWO])
    assert values.terms["box"].item() == pytest.approx(0, abs=1e-6)
    inputs = predictions([TWO], noise=9.0)
    values = criterion(box_loss="giou", box_unit="stride")(inputs, [TWO])
    assert 0 < values.terms["box"].item() < 2


def test_class_loss_by_positives_alone_is_larger_and_never_divides_by_zero() -> None:
    inputs = predictions([TWO, NONE])
    count = int((assign(locations(SIZES, STRIDES), STRIDES, TWO).labels >= 0).sum())
    both = criterion()(inputs, [TWO, NONE]).terms["class"]
    alone = criterion(class_normaliser="positives")(inputs, [TWO, NONE]).terms["class"]
    torch.testing.assert_close(alone * count, both * (count + 2))
    nothing = criterion(class_normaliser="positives")(predictions([NONE]), [NONE])
    assert nothing.terms["class"].isfinite()


def test_quality_focal_loss_wants_the_overlap_as_score() -> None:
    inputs = predictions([TWO], noise=0.0)
    certain_of_classes(inputs, TWO, 30.0)
    # The boxes are exact, so the wanted score is 1.
    values = criterion(class_loss="quality", box_pixel=0.0)(inputs, [TWO])
    assert values.terms["class"].item() == pytest.approx(0, abs=1e-6)
    for level in inputs.box_distances:
        level.data *= 0.7
    worse = criterion(class_loss="quality", box_pixel=0.0)(inputs, [TWO])
    assert worse.terms["class"].item() > 0.1
    (gradient,) = torch.autograd.grad(
        worse.terms["class"], inputs.box_distances[0], allow_unused=True
    )
    assert gradient is None


def test_mask_suppression_keeps_fewer_masks_and_large_losses_can_be_halved() -> None:
    inputs = predictions([TWO], noise=0.5)
    for level in inputs.coefficients:
        level.data *= 20
    whole = criterion()(inputs, [TWO]).terms["mask"]
    assert whole > 1
    halved = criterion(halve_large_mask_loss=True)(inputs, [TWO]).terms["mask"]
    torch.testing.assert_close(halved, whole / 2)
    suppressed = criterion(mask_nms_iou=0.5, mask_weight_epsilon=0.0)(inputs, [TWO])
    (kept,) = torch.autograd.grad(
        suppressed.terms["mask"], inputs.coefficients[0], retain_graph=True
    )
    (every,) = torch.autograd.grad(whole, inputs.coefficients[0])
    learnt = [int(g.any(1).sum()) for g in (kept, every)]
    assert 0 < learnt[0] < learnt[1]


def test_models_without_centerness_or_tracking_have_no_such_terms() -> None:
    inputs = predictions([TWO])
    still = dataclasses.replace(
        inputs, centerness_logits=[], embeddings=None, reference_embeddings=None
    )
    values = criterion()(still, [TWO])
    assert set(values.terms) == {"class", "box", "mask"}
    assert values.track_accuracy is None


def test_pictures_without_reference_do_not_count_in_the_accuracy() -> None:
    alone = objects(TWO.boxes.tolist())
    values = criterion()(predictions([alone]), [alone])
    assert values.terms["track"].item() == 0
    assert values.track_accuracy is None


def test_every_weight_scales_its_own_term() -> None:
    inputs = predictions([TWO])
    names = ("class", "box", "centerness", "mask", "track")
    before = criterion()(inputs, [TWO], jitters([TWO]))
    for name in names:
        after = criterion(**{f"{name}_weight": 3.0})(inputs, [TWO], jitters([TWO]))
        factors = {n: (after.terms[n] / before.terms[n]).item() for n in names}
        assert factors == pytest.approx({n: 3.0 if n == name else 1.0 for n in names})
        torch.testing.assert_close(after.total, sum(after.terms.values(), torch.zeros(())))


def test_rescoring_learns_the_overlap_of_the_predicted_masks() -> None:
    truths = [TWO, NONE]
    seen = []

    def constant(score: float) -> Callable[[Tensor], Tensor]:
        def scoring(masks: Tensor) -> Tensor:
            seen.append(masks)
            return torch.full((len(masks), CLASSES), score)

        return scoring

    inputs = predictions(truths)
    inputs.basis_masks.data.fill_(1.0)
    for level in inputs.coefficients:
        level.data.fill_(10.0)  # every pixel of every box
    loss = []
    for score in (0.0, 0.5, 1.0):
        with_scoring = dataclasses.replace(inputs, mask_scoring=constant(score))
        loss.append(criterion()(with_scoring, truths).terms["rescoring"].item())
    assert seen[0].shape[1:] == (1, HEIGHT // 2, WIDTH // 2)
    assert not seen[0].requires_grad
    assert len(seen[1]) == 0
    # A sum of squares of (score - overlap) is a parabola in the score whose second difference is 10 * 0.5 by weight.
    share = (loss[0] - 2 * loss[1] + loss[2]) / 5
    assert share == pytest.approx(len(seen[0]) / (len(seen[0]) + 0.1), rel=1e-3)
    mean_overlap = 0.5 + (loss[0] - loss[2]) / 20 / share
    assert 0.3 < mean_overlap < 0.9


def test_a_label_that_the_model_does_not_have_is_an_error() -> None:
    wrong = dataclasses.replace(TWO, labels=torch.tensor([0, CLASSES]))
    with pytest.raises(
        DatasetError, match=r"labels: expected 0\.\.4, the model's classes, got \[0, 5\]"
    ):
        criterion()(predictions([TWO]), [wrong])


def test_half_precision_outputs_are_taken() -> None:
    inputs = predictions([TWO])
    halves: dict[str, Any] = {
        name: field.bfloat16()
        if isinstance(field, Tensor)
        else [level.bfloat16() for level in field]
        for name, field in vars(inputs).items()
        if field is not None
    }
    values = criterion()(Predictions(**halves), [TWO], jitters([TWO]))
    expected = criterion()(inputs, [TWO], jitters([TWO]))
    assert values.total.dtype == torch.float32
    assert values.total.item() == pytest.approx(expected.total.item(), rel=0.05)


def small_config(**head: object) -> Config:
    names = ["cat", "dog", "cow"]
    nano = {
        "name": "small",
        "classes": names,
        "backbone": {"name": "shufflenet_v2_x1_0"},
        "neck": {"name": "pan", "channels": 96},
        "head": {"unit": "separable", "norm": "none", "basis_channels": 64, "bases": 8} | head,
    }
    return config_from_values(nano, "test")


@pytest.mark.parametrize("sub_regions", [1, 2, 3])
def test_a_model_trains_on_its_predictions_in_every_branch(sub_regions: int) -> None:
    torch.manual_seed(0)
    config = small_config(
        sub_regions=sub_regions, embedding=16, rescoring=True, box_distances="relu"
    )
    model = SipMask(config)
    images = torch.randn(2, 3, 256, 256)
    box = torch.tensor([[40.0, 40.0, 200.0, 190.0]])
    masks = torch.zeros(1, 256, 256, dtype=torch.bool)
    masks[:, 60:180, 60:180] = True
    truth = GroundTruth(box, torch.tensor([1]), masks, box, torch.tensor([1]))
    loss = SipMaskLoss(
        model.neck.strides,
        model.head.basis_stride,
        config.head.sub_regions,
        LossConfig(mask_loss="bce_and_dice"),
    )
    values = loss(Predictions.of(model, images, images), [truth, truth])
    assert set(values.terms) == {"class", "box", "centerness", "mask", "track", "rescoring"}
    torch.autograd.backward(values.total)
    silent = {
        n for n, p in model.head.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    }
    # The published models without norms carry these, unused.
    assert silent == {"alignment.norm.weight", "alignment.norm.bias"}
    still = loss(Predictions.of(model, images), [truth, truth])
    assert "track" not in still.terms
