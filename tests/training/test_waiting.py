"""On a card nothing in a step asks for a value, and what is computed there equals what a CPU computes.

Tensors of PyTorch's device "meta" have sizes but no values: whoever asks for one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sipvideo.config import load_config
from sipvideo.data import Batch
from sipvideo.model import waiting
from sipvideo.model.criterion import LossConfig
from sipvideo.model.sipmask import SipMask
from sipvideo.training import IdentitiesOnFrozenDetector, MasksOnFrozenDetector, WholeModel

Objective = Callable[[SipMask, Batch], dict[str, Tensor]]
NARROW = ["neck.channels=64", "head.basis_channels=32", "head.embedding=16"]
MODELS = {
    "sipmask_nano": [],
    "vis_sipmask_r50_caffe_fpn_gn_1x": NARROW,
    "mmdet_sipmask++_r101_caffe_fpn_ssd_6x": ["neck.channels=64", "input.size=[544,544]"],
}
OURS = LossConfig(class_loss="quality", box_loss="giou", box_unit="stride", box_pixel=0)
BOXES = [[0.0, 0, 30, 40], [10, 10, 100, 90], [5, 60, 60, 120]]
CASES: Sequence[tuple[str, Objective]] = [
    ("sipmask_nano", MasksOnFrozenDetector(min_iou=0.05, box_noise=0.1)),
    ("sipmask_nano", IdentitiesOnFrozenDetector(min_iou=0.05)),
    ("sipmask_nano", WholeModel(losses=OURS, views="all", crowds="ignored", closed_boxes=False)),
    ("vis_sipmask_r50_caffe_fpn_gn_1x", WholeModel()),
    ("mmdet_sipmask++_r101_caffe_fpn_ssd_6x", WholeModel(views="first")),
]
IDS = ["masks", "identities", "fine-tuning", "published", "re-scoring"]


def model_of(name: str) -> SipMask:
    torch.manual_seed(0)
    return SipMask(load_config(name, MODELS[name]))


def batch_of(side: int = 128) -> Batch:
    """Two views with three objects each; the second knows two classes only, and shows a crowd."""
    masks = torch.zeros(3, side, side, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, BOXES, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    crowd = torch.zeros(side, side, dtype=torch.bool)
    crowd[90:, 90:] = True
    torch.manual_seed(1)
    return Batch(
        torch.randn(2, 3, side, side),
        [torch.tensor(BOXES)] * 2,
        [torch.arange(3)] * 2,
        [masks] * 2,
        [torch.arange(3), torch.tensor([1, 2, 7])],
        [torch.zeros_like(crowd), crowd],
        [None, frozenset([1, 2])],
    )


class BlockingCopies(TorchDispatchMode):
    """Notes transfers for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        crossed = isinstance(result, Tensor) and any(g.device != result.device for g in given)
        # A number of the host is a part of the launch.
        numbers = all(g.ndim == 0 for g in given if g.device.type == "cpu")
        if crossed and not numbers and not (kwargs or {}).get("non_blocking"):
            self.found.append(str(func))
        return result


@pytest.mark.parametrize(("name", "objective"), CASES, ids=IDS)
def test_a_step_on_a_card_never_waits(name: str, objective: Objective) -> None:
    card = torch.device("meta")
    model = model_of(name).to(card)
    side = 544 if "++" in name else 128
    with BlockingCopies() as copies:
        terms = objective(model, batch_of(side).to(card))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert not copies.found
    assert all(value.device == card for value in terms.values())


def test_values_that_are_asked_for_are_noticed() -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(3, device="meta").nonzero()
    with pytest.raises(RuntimeError):
        float(torch.zeros((), device="meta"))
    with BlockingCopies() as copies:
        torch.zeros(3).to("meta", non_blocking=True)
        assert not copies.found
        torch.zeros(3).to("meta")
    assert copies.found


@pytest.mark.parametrize(("name", "objective"), CASES[:4], ids=IDS[:4])
def test_losses_and_gradients_in_the_form_for_cards_are_those_of_a_cpu(
    name: str, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = model_of(name), []
    for on_card in (False, True):
        if on_card:
            monkeypatch.setattr(waiting, "is_host", lambda tensor: False)
        torch.manual_seed(2)
        model.zero_grad()
        terms = objective(model, batch_of())
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((terms, gradients))
    (terms, gradients), (card_terms, card_gradients) = found
    assert terms.keys() == card_terms.keys()
    for key, value in terms.items():
        torch.testing.assert_close(card_terms[key], value, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == card_gradients.keys()
    for key, value in gradients.items():
        scale = float(value.abs().max()) + 1e-6
        torch.testing.assert_close(card_gradients[key] / scale, value / scale, rtol=0, atol=2e-3)
