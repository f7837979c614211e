"""Configuration, weights and device to a ready segmenter: one of two places that know all parts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch

from sipvideo.config import Config, load_config
from sipvideo.errors import ConfigError
from sipvideo.model import checkpoint
from sipvideo.model.head import HeadOutputs
from sipvideo.model.sipmask import SipMask
from sipvideo.pipeline import VideoSegmenter
from sipvideo.segmenter import FrameSegmenter
from sipvideo.structures import Frame
from sipvideo.tracker import build_tracker

DEFAULT_WEIGHTS = "sipmask_nano.safetensors"


def load(
    config: str | Path | Config | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> VideoSegmenter:
    """A ready segmenter. Without arguments: the default model that comes with the package.

    Args:
        config: name of a configuration, path of a YAML file, or a configuration; by default the one inside
            the weights file, or the packaged one that a published checkpoint fits.
        weights: a ``.safetensors`` file of this project or a published SipMask checkpoint; by default the
            packaged weights.
        device: "cpu", "cuda", "cuda:1", ... or "auto": CUDA where there is one, else the CPU.
        overrides: ``section.key=value`` changes of the configuration.

    Raises:
        ConfigError: wrong configuration, or a checkpoint that fits none.
        CheckpointError: unreadable weights, or weights of another model.
    """
    return build_segmenter(*load_model(config, weights, overrides), device)


def load_model(
    config: str | Path | Config | None = None,
    weights: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Config, SipMask]:
    """A network with its weights, as loaded, and its configuration; arguments and errors as :func:`load`."""
    file = checkpoint.read(packaged_weights() if weights is None else weights)
    if config is None:
        config = file.config or recognised(file)
    if not isinstance(config, Config):
        config = load_config(config)
    if overrides:
        config = config.with_overrides(overrides)
    model = SipMask(config)
    checkpoint.load_weights(model, file)
    return config, model


def packaged_weights() -> Path:
    """The weights of the default model."""
    return Path(str(resources.files("sipvideo") / "weights" / DEFAULT_WEIGHTS))


def recognised(file: checkpoint.Checkpoint) -> Config:
    """The packaged configuration of a published checkpoint.

    Raises:
        ConfigError: no packaged model has these weights.
    """
    names = checkpoint.matching_configs(file)
    if not names:
        raise ConfigError(
            f"{file.path}: no packaged configuration has these weights; say which model it is with --config"
        )
    return load_config(names[0])


@torch.no_grad()
def with_random_weights(config: Config, frame: Frame) -> SipMask:
    """An untrained network for speed measurements, whose class bias lets about ``max_detections`` objects through.

    Args:
        config: its configuration.
        frame: the picture on which the bias is found.
    """
    torch.manual_seed(0)
    model = SipMask(config).eval()
    for conv in model.head.box_distances:
        torch.nn.init.constant_(conv.bias, 3.0)  # type: ignore[arg-type]
    outputs: HeadOutputs = model(FrameSegmenter(model, config).inputs([frame])[0])
    best = torch.cat([logits.flatten() for logits in outputs.class_logits])
    wanted = torch.tensor(config.postprocess.score_threshold * 4).clamp(max=0.9).logit()
    shift = wanted - best.topk(min(len(best), 20 * config.postprocess.max_detections)).values[-1]
    for conv in model.head.class_logits:
        conv.bias.data += shift  # type: ignore[operator]
    return model


def build_segmenter(config: Config, model: SipMask, device: str = "auto") -> VideoSegmenter:
    """Network, post-processing and tracker of one configuration put together.

    The model is rearranged for inference (:meth:`SipMask.for_inference`): train a copy, not this one.
    """
    return VideoSegmenter(
        FrameSegmenter(model.for_inference(), config, choose_device(device)),
        build_tracker(config.tracker),
        config.class_names,
    )


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: unknown or absent device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: not available here") from error
    return device
