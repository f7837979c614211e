"""Weights files: recognised, mapped, refused with a clear line, and written so that they come back."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sipvideo import build
from sipvideo.config import Config, available, config_from_values, load_config
from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.model import checkpoint
from sipvideo.model.sipmask import SipMask
from tests.networks import small_config
from tests.parity.conftest import published_shapes

PUBLISHED = sorted(published_shapes())


def config_name(published: str) -> str:
    return "vis_sipmask_r50_caffe_fpn_gn_1x" if published == "vis_r50" else published


def save_published(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    # Expanded scalars: the file has all names and shapes, and hardly any bytes.
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("published", PUBLISHED)
def test_every_published_model_loads_and_is_recognised(published: str, tmp_path: Path) -> None:
    path = save_published(tmp_path / "model.pth", published_shapes()[published])
    file = checkpoint.read(path)
    name = config_name(published)
    assert name in checkpoint.matching_configs(file)
    with torch.device("meta"):
        model = SipMask(load_config(name))
    expected = {n for n in model.state_dict() if not n.endswith("num_batches_tracked")}
    given = {n for n in file.tensors if not n.endswith("num_batches_tracked")}
    assert given == expected
    assert set(file.mapped) == set(published_shapes()[published])


def fcos_names(model: SipMask) -> dict[str, tuple[int, ...]]:
    """The names of the FCOS tree's checkpoints, written the other way round than the reader maps them."""
    names = {}
    for ours, tensor in model.state_dict().items():
        part = ours.split(".")
        if ours.endswith("num_batches_tracked"):
            continue
        if ours.startswith("backbone."):
            stem = part[1] in ("conv1", "bn1")
            theirs = f"module.backbone.body.{'stem.' if stem else ''}{'.'.join(part[1:])}"
        elif part[1] in ("lateral", "output"):
            kind = "inner" if part[1] == "lateral" else "layer"
            theirs = f"module.backbone.fpn.fpn_{kind}{int(part[2]) + 2}.{part[3]}"
        elif part[1] == "extra":
            theirs = f"module.backbone.fpn.top_blocks.p{int(part[2]) + 6}.{part[3]}"
        elif part[1] in ("class_towers", "box_towers"):
            flat = 3 * int(part[3]) + ("conv", "norm").index(part[4])
            theirs = (
                f"module.rpn.head.{'cls' if 'class' in part[1] else 'bbox'}_tower.{flat}.{part[5]}"
            )
        elif ours == "head.scales":
            names |= {f"module.rpn.head.scales.{i}.scale": (1,) for i in range(5)}
            continue
        else:
            table = {
                "class_logits.0": "cls_logits",
                "box_distances.0": "bbox_pred",
                "centerness.0": "centerness",
                "alignment.offset": "feat_align.conv_offset",
                "alignment.conv": "feat_align.conv_adaption",
                "alignment.norm": "feat_align.norm",
                "coefficients": "sip_cof",
                "basis.lateral.conv": "sip_mask_lat0",
                "basis.output": "sip_mask_lat",
            }
            theirs = f"module.rpn.head.{table['.'.join(part[1:-1])]}.{part[-1]}"
        names[theirs] = tuple(tensor.shape)
    return names


@pytest.mark.parametrize("name", ["fcos_sipmask_R_50_FPN_1x", "fcos_sipmask_R_101_FPN_ms_3x"])
def test_checkpoints_of_the_fcos_tree_are_recognised(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        names = fcos_names(SipMask(load_config(name)))
    state = {key: torch.zeros(()).expand(shape) for key, shape in names.items()}
    torch.save({"model": state, "iteration": 90000}, tmp_path / "model.pth")
    file = checkpoint.read(tmp_path / "model.pth")
    assert file.kind == "fcos"
    assert checkpoint.matching_configs(file) == [name]


def test_all_packaged_configurations_are_covered() -> None:
    published = {config_name(name) for name in PUBLISHED}
    others = {"sipmask_nano", "sipmask_small", "vis_sipmask_r50_caffe_fpn_gn_ms_1x"}
    fcos = {"fcos_sipmask_R_50_FPN_1x", "fcos_sipmask_R_101_FPN_ms_3x"}
    assert set(available()) == published | others | fcos


def test_own_format_comes_back_with_its_configuration(tmp_path: Path) -> None:
    config = load_config("sipmask_nano", ["postprocess.max_detections=7"])
    model = SipMask(config)
    checkpoint.save(tmp_path / "own.safetensors", model, config)
    file = checkpoint.read(tmp_path / "own.safetensors")
    assert file.config == config
    again = SipMask(config)
    checkpoint.load_weights(again, file)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=0, atol=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "own.safetensors"]


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    config = load_config("sipmask_nano")
    model = SipMask(config)
    checkpoint.save(tmp_path / "full.safetensors", model, config)
    checkpoint.save(tmp_path / "half.safetensors", model, config, half=True)
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert 0.45 < half / full < 0.55
    tensors = checkpoint.read(tmp_path / "half.safetensors").tensors
    assert all(t.dtype == torch.float32 for t in tensors.values())


def test_missing_unexpected_and_misshapen_names_are_listed(tmp_path: Path) -> None:
    shapes = dict(published_shapes()["mmdet_sipmask_r50_caffe_fpn_ssd_6x"])
    del shapes["bbox_head.sip_cof.bias"]
    shapes["bbox_head.invented.weight"] = (3,)
    shapes["bbox_head.fcos_cls.bias"] = (79,)
    file = checkpoint.read(save_published(tmp_path / "model.pth", shapes))
    assert checkpoint.matching_configs(file) == []
    model = SipMask(load_config("mmdet_sipmask_r50_caffe_fpn_ssd_6x"))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(model, file)
    line = str(caught.value)
    assert "\n" not in line
    assert "1 missing (head.coefficients.bias)" in line
    assert "1 unexpected (bbox_head.invented.weight)" in line
    assert "head.class_logits.0.bias [79] instead of [80]" in line
    with pytest.raises(ConfigError, match="say which model it is with --config"):
        build.load(weights=tmp_path / "model.pth")


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_files_that_are_no_weights_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("not weights at all\n" * 50)
    (tmp_path / "text.safetensors").write_text("not weights at all\n" * 50)
    (tmp_path / "harmful.pth").write_bytes(pickle.dumps({"state_dict": _Harmful()}))
    torch.save({"state_dict": {"some.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    whole = tmp_path / "whole.safetensors"
    config = load_config("sipmask_nano")
    checkpoint.save(whole, SipMask(config), config)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:100_000])
    torch.save(
        {"state_dict": {"bbox_head.sip_cof.bias": torch.zeros(5000)}}, tmp_path / "whole.pth"
    )
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:4000])
    names = "empty.pth text.pth text.safetensors harmful.pth other.pth list.pth foreign.safetensors"
    for name in [*names.split(), "cut.safetensors", "cut.pth", "missing.pth", "."]:
        with pytest.raises(CheckpointError) as caught:
            checkpoint.read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def old_config() -> Config:
    """The configuration of the first default model, on NanoDet-m, as it stands inside its weights files."""
    path = Path(__file__).parents[1] / "fixtures" / "config_nanodet_m.json"
    return config_from_values(json.loads(path.read_text()), path.name)


def test_files_of_the_first_default_model_still_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = SipMask(old_config()).eval()
    path = tmp_path / "old.safetensors"
    tensors = {name: value.half() for name, value in written.state_dict().items()}
    config = (Path(__file__).parents[1] / "fixtures" / "config_nanodet_m.json").read_text()
    safetensors.torch.save_file(tensors, path, {"format": "sipvideo", "config": config})
    config, read = build.load_model(weights=path)
    assert config.neck.name == "pan"
    assert read.head.strides == (8, 16, 32)
    assert config.head.cell_offset(16) == 8
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        outputs, expected = read.eval()(image), written(image)
    assert len(outputs.coefficient_features) == 3
    torch.testing.assert_close(outputs.basis_masks, expected.basis_masks, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(number: float, tmp_path: Path) -> None:
    config = small_config()
    model = SipMask(config)
    path = tmp_path / "own.safetensors"
    with torch.no_grad():
        model.head.class_logits[0].bias[1] = number
    checkpoint.save(path, model, config)
    with pytest.raises(
        CheckpointError, match=r"head.class_logits.0.bias holds numbers that are not"
    ):
        build.load(weights=path, device="cpu")


class Hostile:
    """Becomes a call when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": Hostile(os.system, "touch hacked")},
        {"state_dict": Hostile(eval, "open('hacked', 'w')")},
        Hostile(bytearray, 2**46),
        {"bbox_head.sip_cof.weight": torch.ones(2).to_sparse()},
        {"bbox_head.sip_cof.weight": torch.zeros(2, dtype=torch.complex64)},
        {"bbox_head.sip_cof.weight": torch.ones(2), "bbox_head.scales.0.scale": torch.ones(3)},
    ],
)
def test_hostile_checkpoints_are_one_line_and_run_nothing(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "in.pth")
    with pytest.raises(CheckpointError, match=r"in\.pth: "):
        checkpoint.read("in.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]
