"""Training starts from what fits: same names and shapes, and classes of the same name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sipvideo.config import load_config
from sipvideo.errors import CheckpointError
from sipvideo.model.sipmask import SipMask
from sipvideo.training.start import read_backbone, start_from


def nano(*classes: str) -> SipMask:
    return SipMask(load_config("sipmask_nano", [f"classes=[{', '.join(classes)}]"]))


def test_classes_are_taken_over_by_name() -> None:
    former, model = nano("cat", "dog", "cow"), nano("horse", "cow", "cat")
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    start = start_from(model, former.state_dict(), ("horse", "cow", "cat"), ("cat", "dog", "cow"))
    assert start.kept_classes == ("cow", "cat")
    assert start.unused == ()
    assert start.fresh == tuple(n for n in begun if n.startswith("head.class_logits."))
    given = former.state_dict()
    for name, value in model.state_dict().items():
        if name in start.fresh:
            assert torch.equal(value[0], begun[name][0])
            assert torch.equal(value[1:], given[name][[2, 0]])
        else:
            assert torch.equal(value, given[name])


def test_without_former_classes_all_classes_are_new() -> None:
    former, model = nano("cat", "dog"), nano("cat", "dog")
    begun = model.head.class_logits[0].weight.clone()
    start = start_from(model, former.state_dict(), ("cat", "dog"), None)
    assert start.kept_classes == ()
    assert torch.equal(model.head.class_logits[0].weight, begun)


def test_a_coco_model_is_the_start_of_the_video_model() -> None:
    """As published: towers from their first units, classes, track branch and its tower anew."""
    with torch.device("meta"):
        coco = SipMask(load_config("mmdet_sipmask_r50_caffe_fpn_gn_1x")).state_dict()
        config = load_config("vis_sipmask_r50_caffe_fpn_gn_1x")
        start = start_from(SipMask(config), coco, config.class_names, None)
    tops = {name.rsplit(".", 3)[0] if "tower" in name else name for name in start.unused}
    assert tops == {"head.class_towers.0", "head.box_towers.0"}
    assert {name.split(".")[1] for name in start.fresh} == {
        "class_logits",
        "track_tower",
        "embedding",
    }


def test_a_backbone_is_read_without_its_classifier(tmp_path: Path) -> None:
    model = SipMask(load_config("vis_sipmask_r50_caffe_fpn_gn_1x"))
    state = model.backbone.state_dict()
    torch.save({"state_dict": {**state, "fc.weight": torch.zeros(2, 2)}}, tmp_path / "r50.pth")
    found = read_backbone(tmp_path / "r50.pth")
    assert found.keys() == {f"backbone.{name}" for name in state}
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    for path in (tmp_path / "other.pth", tmp_path / "none.pth"):
        with pytest.raises(CheckpointError):
            read_backbone(path)
