"""Weights files: published checkpoints as they are, and our own safetensors with the configuration inside.

Nothing in a weights file is ever executed: pickles are read with ``weights_only=True``.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sipvideo.config import Config, available, config_from_values, load_config
from sipvideo.errors import CheckpointError
from sipvideo.model.sipmask import SipMask

Kind = Literal["sipvideo", "mmdetection", "fcos"]

_TOWERS = {"cls": "class_towers.0", "reg": "box_towers.0", "track": "track_tower"}

# Published name (regular expression) -> ours, for the two mmdetection trees (video and COCO).
_MMDETECTION = (
    (r"backbone\.(.*)", r"backbone.\1"),
    (r"neck\.lateral_convs\.(\d)\.conv\.(.*)", r"neck.lateral.\1.\2"),
    (r"neck\.fpn_convs\.([012])\.conv\.(.*)", r"neck.output.\1.\2"),
    (r"neck\.fpn_convs\.3\.conv\.(.*)", r"neck.extra.0.\1"),
    (r"neck\.fpn_convs\.4\.conv\.(.*)", r"neck.extra.1.\1"),
    (r"bbox_head\.(cls|reg|track)_convs\.(\d)\.conv\.(.*)", r"head.{\1}.\2.conv.\3"),
    (r"bbox_head\.(cls|reg|track)_convs\.(\d)\.gn\.(.*)", r"head.{\1}.\2.norm.\3"),
    (r"bbox_head\.fcos_cls\.(.*)", r"head.class_logits.0.\1"),
    (r"bbox_head\.fcos_reg\.(.*)", r"head.box_distances.0.\1"),
    (r"bbox_head\.fcos_centerness\.(.*)", r"head.centerness.0.\1"),
    (r"bbox_head\.scales\.(\d)\.scale", r"head.scales#\1"),
    (r"bbox_head\.feat_align\.conv_offset\.(.*)", r"head.alignment.offset.\1"),
    (r"bbox_head\.feat_align\.conv_adaption\.(.*)", r"head.alignment.conv.\1"),
    (r"bbox_head\.feat_align\.norm\.(.*)", r"head.alignment.norm.\1"),
    (r"bbox_head\.sip_cof\.(.*)", r"head.coefficients.\1"),
    (r"bbox_head\.sip_mask_lat0\.(.*)", r"head.basis.lateral.conv.\1"),
    (r"bbox_head\.sip_mask_lat\.(.*)", r"head.basis.output.\1"),
    (r"bbox_head\.sipmask_track\.(.*)", r"head.embedding.conv.\1"),
    (r"bbox_head\.convs_scoring\.(\d)\.conv\.(.*)", r"head.mask_scoring.convs.\1.\2"),
    (r"bbox_head\.mask_scoring\.(.*)", r"head.mask_scoring.output.\1"),
)

# The same for the FCOS tree; towers are flat sequences convolution, norm, activation.
_FCOS = (
    (r"backbone\.body\.stem\.(.*)", r"backbone.\1"),
    (r"backbone\.body\.(.*)", r"backbone.\1"),
    (r"backbone\.fpn\.fpn_inner([234])\.(.*)", r"neck.lateral.(\1-2).\2"),
    (r"backbone\.fpn\.fpn_layer([234])\.(.*)", r"neck.output.(\1-2).\2"),
    (r"backbone\.fpn\.top_blocks\.p6\.(.*)", r"neck.extra.0.\1"),
    (r"backbone\.fpn\.top_blocks\.p7\.(.*)", r"neck.extra.1.\1"),
    (r"rpn\.head\.cls_tower\.(\d+)\.(.*)", r"head.class_towers.0.<\1>.\2"),
    (r"rpn\.head\.bbox_tower\.(\d+)\.(.*)", r"head.box_towers.0.<\1>.\2"),
    (r"rpn\.head\.cls_logits\.(.*)", r"head.class_logits.0.\1"),
    (r"rpn\.head\.bbox_pred\.(.*)", r"head.box_distances.0.\1"),
    (r"rpn\.head\.centerness\.(.*)", r"head.centerness.0.\1"),
    (r"rpn\.head\.scales\.(\d)\.scale", r"head.scales#\1"),
    (r"rpn\.head\.feat_align\.conv_offset\.(.*)", r"head.alignment.offset.\1"),
    (r"rpn\.head\.feat_align\.conv_adaption\.(.*)", r"head.alignment.conv.\1"),
    (r"rpn\.head\.feat_align\.norm\.(.*)", r"head.alignment.norm.\1"),
    (r"rpn\.head\.sip_cof\.(.*)", r"head.coefficients.\1"),
    (r"rpn\.head\.sip_mask_lat0\.(.*)", r"head.basis.lateral.conv.\1"),
    (r"rpn\.head\.sip_mask_lat\.(.*)", r"head.basis.output.\1"),
)


@dataclass(frozen=True)
class Checkpoint:
    """A weights file in memory, names already ours.

    Attributes:
        path: where it came from.
        kind: "sipvideo" (own format), "mmdetection" (published video and COCO trees) or "fcos".
        tensors: name in :class:`SipMask` -> tensor.
        config: the configuration inside, own format only.
        mapped: published name -> ours.
        meta: what else the file says about itself.
    """

    path: Path
    kind: Kind
    tensors: dict[str, Tensor]
    config: Config | None
    mapped: dict[str, str]
    meta: dict[str, str]


def read(path: str | Path) -> Checkpoint:
    """Reads a weights file, whatever of the known kinds it is.

    Raises:
        CheckpointError: missing or damaged file, or not a SipMask checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path}: is a folder, as of an exported model; expected a weights file"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    return _read_own(path) if path.suffix == ".safetensors" else _read_published(path)


def matching_configs(file: Checkpoint) -> list[str]:
    """Names of the packaged configurations whose network has exactly these weights.

    Published models that differ only in their training match several; at inference those are the same.
    """
    given = {name: tensor.shape for name, tensor in file.tensors.items() if not _optional(name)}
    prefix = {"mmdetection": ("vis_", "mmdet_"), "fcos": ("fcos_",), "sipvideo": ("sipmask_",)}
    names = []
    for name in available():
        if not name.startswith(prefix[file.kind]):
            continue
        with torch.device("meta"):
            expected = SipMask(load_config(name)).state_dict()
        if given == {key: t.shape for key, t in expected.items() if not _optional(key)}:
            names.append(name)
    return names


def loaded(config: Config, checkpoint: Checkpoint) -> SipMask:
    """The network of a configuration with those weights; errors as :func:`load_weights`.

    No memory is taken for a network that does not fit, whatever sizes a damaged configuration may ask for.
    """
    with torch.device("meta"):
        _check_fit(SipMask(config), checkpoint)
    model = SipMask(config)
    load_weights(model, checkpoint)
    return model


def load_weights(model: SipMask, checkpoint: Checkpoint) -> None:
    """Copies all weights into the model.

    Raises:
        CheckpointError: names that are missing, unexpected or of another shape, listed; numbers that are not finite.
    """
    _check_fit(model, checkpoint)
    for name, tensor in checkpoint.tensors.items():
        # What such a network finds is nothing, or nonsense, and nobody would be told why.
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{checkpoint.path}: damaged: {name} holds numbers that are not finite"
            )
    model.load_state_dict(checkpoint.tensors, strict=False)


def _check_fit(model: SipMask, checkpoint: Checkpoint) -> None:
    expected = model.state_dict()
    given = checkpoint.tensors
    problems = _listed("missing", {n for n in expected.keys() - given.keys() if not _optional(n)})
    problems += _listed("unexpected", given.keys() - expected.keys())
    problems += _listed(
        "of another shape",
        {
            f"{name} {list(given[name].shape)} instead of {list(expected[name].shape)}"
            for name in given.keys() & expected.keys()
            if given[name].shape != expected[name].shape
        },
    )
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: does not fit the configuration: {'; '.join(problems)}"
        )


def save(path: str | Path, model: SipMask, config: Config, half: bool = False) -> None:
    """Writes the own format: safetensors with the configuration inside.

    Args:
        path: ends in ``.safetensors``.
        model: weights to write.
        config: stored as JSON in the header.
        half: store kernels and matrices in float16; what has one number per channel stays in float32.
    """
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor)
        for name, tensor in model.state_dict().items()
    }
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "sipvideo", "config": config.model_dump_json(exclude_unset=True)}
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(safetensors.torch.save(tensors, metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _optional(name: str) -> bool:
    """Whether a tensor plays no part in inference and may be absent."""
    return name.endswith("num_batches_tracked")


def _listed(what: str, names: set[str], most: int = 8) -> list[str]:
    if not names:
        return []
    shown = ", ".join(sorted(names)[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} {what} ({shown}{more})"]


def _read_own(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != "sipvideo":
        raise CheckpointError(f"{path}: a safetensors file, but not written by sipvideo")
    try:
        values = json.loads(metadata.pop("config"))
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the configuration inside is missing or damaged") from error
    config = config_from_values(values, f"{path} (configuration inside)")
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return Checkpoint(path, "sipvideo", tensors, config, {}, metadata)


def _read_published(path: Path) -> Checkpoint:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign pickles; the checks below say it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read: {error}") from error
    except Exception as error:
        # Damaged pickles end in errors of every type. PyTorch's own text advises to load the file unsafely.
        raise CheckpointError(
            f"{path}: not a readable checkpoint: damaged, or it holds more than tensors and plain values"
        ) from error
    state = content
    if isinstance(content, Mapping):
        state = next((content[k] for k in ("state_dict", "model") if k in content), content)
    if not isinstance(state, Mapping) or not all(map(_is_plain, state.values())):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors under 'state_dict' or 'model'"
        )
    named = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    if any(name.startswith("bbox_head.sip_") for name in named):
        kind: Kind = "mmdetection"
    elif any(name.startswith("rpn.head.sip_") for name in named):
        kind = "fcos"
    else:
        some = ", ".join(list(named)[:3]) or "no tensors"
        raise CheckpointError(f"{path}: not a SipMask checkpoint (it holds {some} ...)")
    rules = _MMDETECTION if kind == "mmdetection" else _FCOS
    mapped = {name: _renamed(name, rules) for name in named}
    scales = {ours: named[name] for name, ours in mapped.items() if "#" in ours}
    tensors = {ours: named[name] for name, ours in mapped.items() if "#" not in ours}
    if scales:
        if any(scale.numel() != 1 for scale in scales.values()):
            raise CheckpointError(f"{path}: expected one number in each of bbox_head.scales")
        tensors["head.scales"] = torch.stack([scales[k].reshape(()) for k in sorted(scales)])
    meta = content.get("meta", {}) if isinstance(content, Mapping) else {}
    return Checkpoint(path, kind, tensors, None, mapped, _plain(meta))


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of real numbers that are all there."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Our name for a published one; unknown names stay, so that they are reported as unexpected."""
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            ours = match.expand(replacement)
            ours = re.sub(r"\{(\w+)\}", lambda m: _TOWERS[m[1]], ours)
            ours = re.sub(r"\((\d)-2\)", lambda m: str(int(m[1]) - 2), ours)
            return re.sub(r"<(\d+)>", lambda m: _flat_unit(int(m[1])), ours)
    return name


def _flat_unit(index: int) -> str:
    """Position in a flat tower (convolution, norm, activation, ...) to unit and part."""
    return f"{index // 3}.{('conv', 'norm', 'activation')[index % 3]}"


def _plain(meta: Any) -> dict[str, str]:
    if not isinstance(meta, Mapping):
        return {}
    return {
        str(k): str(v) for k, v in meta.items() if isinstance(v, (str, int, float, list, tuple))
    }
