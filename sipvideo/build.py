"""Configuration, weights and device to a ready segmenter: one of two places that know all parts."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.classes import labels_of
from sipvideo.config import Config, load_config
from sipvideo.engine import (
    Area,
    Engine,
    HostEngine,
    SelectingEngine,
    TilingEngine,
    parse_tiles,
)
from sipvideo.engine.foreign import foreign_engine
from sipvideo.errors import ConfigError
from sipvideo.extras import absence, absent
from sipvideo.pipeline import VideoSegmenter
from sipvideo.postprocess.objects import FILE as OBJECTS_FILE
from sipvideo.postprocess.objects import load as read_objects
from sipvideo.runtime import EXPORT_NAMES, TORCH_NAMES, check_name, make_runtime
from sipvideo.structures import Frame
from sipvideo.tracker import build_tracker
from sipvideo.transforms import FrameTransform
from sipvideo.veil import Veil

if TYPE_CHECKING:
    from sipvideo.model.checkpoint import Checkpoint
    from sipvideo.model.sipmask import SipMask

MODELS = ("nano", "small")
"""What comes with the package, fastest first: weights, and the same exported."""
DEFAULT_MODEL = "small"
NETWORK_SECTIONS = ("classes", "backbone", "neck", "head")
"""Sections of the configuration that an exported network cannot follow."""


def load(
    config: str | Path | Config | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    runtime: str = "auto",
    *,
    model: str | None = None,
    classes: Sequence[str | int] = (),
    area: Area | None = None,
    tiles: str | None = None,
    min_score: float | None = None,
    max_objects: int | None = None,
    privacy: Sequence[str | int] | None = None,
    blur_all: bool = False,
    segmenter: str | None = None,
) -> VideoSegmenter:
    """A ready segmenter. Without arguments: the default model that comes with the package.

    Args:
        config: name of a configuration, path of a YAML file, or a configuration; by default the one inside
            the weights file, or the packaged one that a published checkpoint fits.
        weights: a ``.safetensors`` file of this project, a published SipMask checkpoint, or the folder of an
            exported model, which has its configuration inside and needs no PyTorch; by default those of ``model``.
        device: "cpu", "cuda", "cuda:1", ... or "auto": CUDA where there is one, else the CPU.
        overrides: ``section.key=value`` changes of the configuration.
        runtime: the engine that runs the network, one of :func:`sipvideo.runtime.available`; "auto": the fastest.
        model: one of ``MODELS`` where no weights are given; by default ``DEFAULT_MODEL``.
        classes: names or numbers of the only classes that are wanted; the tracker sees no others.
        area: part of the picture that is looked at, x0, y0, x1, y1 in 0..1.
        tiles: the picture is looked at in overlapping tiles too, "3x2" across and down, so that smaller objects are
            found; "auto": by its size and the model's. Takes longer by the number of tiles.
        min_score: score from which an object is reported and may begin an identity.
        max_objects: most objects of a frame, the best ones.
        privacy: names or numbers of classes whose objects are made unrecognisable before anything else sees the
            picture, doubtful ones too; see :mod:`sipvideo.veil`. None: nobody is.
        blur_all: every frame is made unrecognisable as a whole.
        segmenter: ``module:name`` of an engine or a function from frame to detections that takes the model's place, see
            :func:`sipvideo.engine.foreign.foreign_engine`; the rest of the configuration is that of the default model.

    Raises:
        ConfigError: wrong configuration, unknown model or class, a checkpoint that fits none, or a runtime that cannot
            run here.
        CheckpointError: unreadable weights, or weights of another model.
    """
    check_name(runtime)
    cut = None if tiles is None else parse_tiles(tiles)
    overrides = [*overrides, *_limits(min_score, max_objects), *_veiling(privacy, blur_all)]
    if segmenter is None:
        ready = _loaded(config, weights, device, overrides, runtime, model)
    elif (config, weights, model, device, runtime) != (None, None, None, "auto", "auto"):
        raise ConfigError(
            f"--segmenter {segmenter}: takes the model's place; leave --model, --weights, --config, --device and"
            " --runtime away"
        )
    else:
        base = load_config(f"sipmask_{DEFAULT_MODEL}").with_overrides(overrides)
        engine, names = foreign_engine(segmenter, min_score, max_objects)
        ready = _assembled(engine, base, names)
    if tiles is not None:
        ready.engine = TilingEngine(ready.engine, cut, max_objects)
    if not classes and area is None:
        return ready
    labels = labels_of(classes, ready.class_names, "classes: ") if classes else None
    if area is not None and not (0 <= area[0] < area[2] <= 1 and 0 <= area[1] < area[3] <= 1):
        raise ConfigError(
            f"area: expected x0, y0, x1, y1 in 0..1 with x0 < x1, y0 < y1, got {area}"
        )
    if ready.veil is None:
        ready.engine = SelectingEngine(ready.engine, labels, area)
        return ready
    if area is not None:
        raise ConfigError("area: with privacy the whole picture has to be looked at")
    ready.veil.shown = labels  # what is to be covered must be found too
    return ready


def _limits(min_score: float | None, max_objects: int | None) -> list[str]:
    """What the two mean in the configuration."""
    limits = []
    if min_score is not None:
        if not 0 <= min_score <= 1:
            raise ConfigError(f"min_score: expected 0 to 1, got {min_score}")
        keys = ("postprocess.score_threshold", "tracker.birth_score", "tracker.keep_score")
        limits += [f"{key}={min_score:g}" for key in keys]
    if max_objects is not None:
        limits.append(f"postprocess.max_detections={max_objects}")
    return limits


def _veiling(privacy: Sequence[str | int] | None, blur_all: bool) -> list[str]:
    """What the two mean in the configuration."""
    classes = [] if privacy is None else [f"veil.classes={json.dumps(list(privacy))}"]
    return [*classes, *(["veil.everything=true"] if blur_all else [])]


def _loaded(
    config: str | Path | Config | None,
    weights: str | Path | None,
    device: str,
    overrides: Sequence[str],
    runtime: str,
    model: str | None,
) -> VideoSegmenter:
    """The segmenter of a model, which reports everything."""
    if weights is not None and Path(weights).is_dir():
        if config is not None:
            raise ConfigError(
                f"{weights}: an exported model has its configuration inside; leave --config away"
            )
        if model is not None:
            raise ConfigError(f"--model {model}: has weights of its own; leave --weights away")
        return load_export(Path(weights), device, overrides, runtime)
    if weights is None and config is None:
        engine = exported_runtime(runtime, device)
        if engine and _is_exported(overrides):
            ready = load_export(packaged_export(model), device, overrides, engine)
            if runtime == device == "auto" and _has_gpu() and not _has_torch():
                ready.engine.notes = (f"the GPU is not used: {absence('torch')}",)
            return ready
    return build_segmenter(*load_model(config, weights, overrides, model), device, runtime)


def exported_runtime(runtime: str, device: str) -> str | None:
    """The engine for the packaged export of a model, which starts in a fraction of the time; None: PyTorch.

    Args:
        runtime: as asked for; "auto" is the fastest engine that is installed.
        device: as asked for; with "auto" PyTorch, where it is installed, decides where there may be a GPU.
    """
    if runtime != "auto":
        return runtime if runtime in EXPORT_NAMES else None
    if device != "cpu" and (device != "auto" or (_has_gpu() and _has_torch())):
        return None
    return next((n for n in ("openvino", "onnxruntime") if importlib.util.find_spec(n)), None)


def _has_gpu() -> bool:
    """Whether there may be one."""
    return os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _is_exported(overrides: Sequence[str]) -> bool:
    """Whether changes of the configuration leave the network as it was exported."""
    return not any(text.split(".")[0].split("=")[0] in NETWORK_SECTIONS for text in overrides)


def load_model(
    config: str | Path | Config | None = None,
    weights: str | Path | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
) -> tuple[Config, SipMask]:
    """A network with its weights, as loaded, and its configuration; arguments and errors as :func:`load`."""
    try:
        from sipvideo.model import checkpoint
    except ModuleNotFoundError as error:
        missing = absent(error)
        if missing is None:
            raise
        raise ConfigError(
            f"{missing}; without it the models that come with sipvideo and exported ones (--weights FOLDER) run,"
            " on the CPU"
        ) from error
    if weights is not None and model is not None:
        raise ConfigError(f"--model {model}: has weights of its own; leave --weights away")
    file = checkpoint.read(packaged_weights(model) if weights is None else weights)
    if config is None:
        config = file.config or recognised(file)
    if not isinstance(config, Config):
        config = load_config(config)
    if overrides:
        config = config.with_overrides(overrides)
    return config, checkpoint.loaded(config, file)


def packaged_weights(model: str | None = None) -> Path:
    """The weights of one of ``MODELS``, by default of the default model.

    Raises:
        ConfigError: no such model.
    """
    return packaged(f"sipmask_{_known(model)}.safetensors")


def packaged_export(model: str | None = None) -> Path:
    """The folder of the same model exported; errors as :func:`packaged_weights`."""
    return packaged(f"sipmask_{_known(model)}_onnx")


def _known(model: str | None) -> str:
    model = DEFAULT_MODEL if model is None else model
    if model not in MODELS:
        raise ConfigError(f"--model {model!r}: expected one of {', '.join(MODELS)}")
    return model


def packaged(name: str) -> Path:
    """A file or folder of ``sipvideo/weights``."""
    return Path(str(resources.files("sipvideo") / "weights" / name))


def recognised(file: Checkpoint) -> Config:
    """The packaged configuration of a published checkpoint.

    Raises:
        ConfigError: no packaged model has these weights.
    """
    from sipvideo.model import checkpoint

    names = checkpoint.matching_configs(file)
    if not names:
        raise ConfigError(
            f"{file.path}: no packaged configuration has these weights; say which model it is with --config"
        )
    return load_config(names[0])


def with_random_weights(config: Config, frame: Frame) -> SipMask:
    """An untrained network for speed measurements, whose class bias lets about ``max_detections`` objects through.

    Args:
        config: its configuration.
        frame: the picture on which the bias is found.
    """
    import torch

    from sipvideo.model.sipmask import SipMask

    torch.manual_seed(0)
    model = SipMask(config).eval()
    for conv in model.head.box_distances:
        torch.nn.init.constant_(conv.bias, 3.0)  # type: ignore[arg-type]
    image, _ = FrameTransform(config.input)(frame)
    with torch.no_grad():
        outputs = model(torch.from_numpy(image)[None])
    best = torch.cat([logits.flatten() for logits in outputs.class_logits])
    wanted = torch.tensor(config.postprocess.score_threshold * 4).clamp(max=0.9).logit()
    shift = wanted - best.topk(min(len(best), 20 * config.postprocess.max_detections)).values[-1]
    for conv in model.head.class_logits:
        conv.bias.data += shift  # type: ignore[operator]
    return model


def build_segmenter(
    config: Config, model: SipMask, device: str = "auto", runtime: str = "auto"
) -> VideoSegmenter:
    """Network, post-processing and tracker of one configuration put together.

    The model is rearranged for inference (:meth:`SipMask.for_inference`): train a copy, not this one.

    Raises:
        ConfigError: a device or runtime that is unknown or absent.
    """
    return _assembled(_engine(_seeing(config), model, device, runtime), config)


def _seeing(config: Config) -> Config:
    """The configuration of an engine that finds what is to be covered too, however doubtful."""
    veil, reported = config.veil, config.postprocess.score_threshold
    if not veil.classes or veil.doubtful >= reported:
        return config
    return config.with_overrides([f"postprocess.score_threshold={veil.doubtful}"])


def _assembled(
    engine: Engine, config: Config, names: Sequence[str] | None = None
) -> VideoSegmenter:
    """An engine with tracker and veil; names of classes are the configuration's where nobody says others."""
    names = config.class_names if names is None else names
    veil = None
    if config.veil.classes or config.veil.everything:
        labels = labels_of(config.veil.classes, names, "veil.classes: ")
        veil = Veil(config.veil, labels, config.postprocess.score_threshold)
    tracker = build_tracker(config.tracker)
    return VideoSegmenter(engine, tracker, names, veil, config=config)


def _engine(config: Config, model: SipMask, device: str, runtime: str) -> Engine:
    """The GPU's engine on CUDA, the host's one elsewhere, and for networks that PyTorch compiles or others run."""
    from sipvideo.runtime.pytorch import choose_device, object_head

    objects = object_head(model, config)
    if runtime in ("auto", *TORCH_NAMES) and runtime != "torch-compile":
        where = choose_device(device)
        if where.type == "cuda":
            from sipvideo.engine.cuda import CudaEngine

            return CudaEngine.of(model, objects, config, where, runtime)
    return HostEngine(make_runtime(runtime, model, config, device), objects, config)


def load_export(
    folder: Path, device: str = "auto", overrides: Sequence[str] = (), runtime: str = "auto"
) -> VideoSegmenter:
    """A ready segmenter of an exported model; arguments and errors as :func:`load`. Does without PyTorch."""
    config, objects = read_objects(folder / OBJECTS_FILE)
    if overrides:
        changed = config.with_overrides(overrides)
        for section in NETWORK_SECTIONS:
            if getattr(changed, section) != getattr(config, section):
                raise ConfigError(
                    f"--set {section}...: the network of {folder} is exported as it is"
                )
        config = changed
    ready = make_runtime(runtime, folder, config, device)
    return _assembled(HostEngine(ready, objects, _seeing(config)), config)
