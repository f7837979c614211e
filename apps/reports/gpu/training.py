"""Training, for ``make gpu-report``: pictures a second, with everything that ``sipvideo train`` does for each."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np

from sipvideo.apps.reports.gpu.parts import Setting, frames_of, say
from sipvideo.data import ClipStream, Sample, StreamConfig
from sipvideo.data.loading import processes_for
from sipvideo.masks import CompactMasks
from sipvideo.transforms import FrameTransform

OBJECTS = 7
"""Of each made-up picture, as many as in COCO on average."""
KINDS = {
    "nano": ("finetune", "sipmask_nano", 544, ()),
    "r50_544": ("coco_1x", "mmdet_sipmask_r50_caffe_fpn_gn_1x", 544, ()),
    "r50_1333": ("coco_1x", "mmdet_sipmask_r50_caffe_fpn_gn_1x", 1333, ("stream.pairs=false",)),
}
"""Recipe, model, long side, and changes."""


class Pictures:
    """Frames of a clip with ellipses as objects."""

    classes = ("cat", "dog")

    def __init__(self, images: list[np.ndarray[Any, Any]]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def size(self, index: int) -> tuple[int, int]:
        """See :class:`sipvideo.data.ClipSource`."""
        height, width = self.images[index].shape[:2]
        return height, width

    def count(self, index: int) -> int:
        """See :class:`sipvideo.data.ClipSource`."""
        return OBJECTS

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """See :class:`sipvideo.data.ClipSource`."""
        image = self.images[index]
        height, width = image.shape[:2]
        place = np.random.default_rng(index)
        y, x = np.mgrid[:height, :width]
        masks = np.zeros((OBJECTS, height, width), bool)
        for mask in masks:
            radius = place.uniform(0.04, 0.25, 2) * (height, width)
            centre = place.uniform(0.1, 0.9, 2) * (height, width)
            mask[:] = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
        sample = Sample(
            image,
            CompactMasks.from_dense(masks),
            np.arange(OBJECTS) % 2,
            np.zeros(OBJECTS, bool),
            np.arange(OBJECTS),
        )
        return sample, sample


def training(setting: Setting) -> dict[str, Any]:
    """Pictures a second of nano and of R50 at two sizes, eight pictures a step; the first steps apart."""
    result: dict[str, Any] = {}
    for name in KINDS:
        result |= _speed(name, setting)
        say(result)
    return result


def _speed(name: str, setting: Setting) -> dict[str, Any]:
    import torch

    from sipvideo.model.sipmask import SipMask
    from sipvideo.training import Surroundings, Trainer, load_recipe

    device = torch.device(setting.device)
    small = device.type == "cpu"
    warm_up, measured, pictures = (1, 1, 1) if small else (12, 40, 8)
    kind, model, side, changes = KINDS[name]
    side = 96 if small else side
    sizes = f"[{side}, {side}]" if kind == "finetune" else f"[[{side * 3 // 5}, {side}]]"
    settings = [f"model={model}", f"stream.pictures={pictures}", "stream.at_once=8"]
    settings += [f"stream.sizes={sizes}", "schedule.unit=steps", "schedule.milestones=[]"]
    settings += [f"schedule.length={warm_up + measured}", *changes]
    settings += ["precision=single" if small else "precision=bfloat16", "schedule.kind=cosine"]
    settings += ["whole.views=all"] if "stream.pairs=false" in changes else []
    recipe = load_recipe(kind, settings)
    config = recipe.model_config_for(Pictures.classes)
    torch.manual_seed(0)
    stream_config = StreamConfig(
        pictures,
        recipe.stream.sizes,
        processes=processes_for(device),
        buckets=6,
        pairs=recipe.stream.pairs,
    )
    source = Pictures([frame.image for frame in frames_of(setting.clip, 2 if small else 24)])
    stream = ClipStream([source], recipe.augmentation, FrameTransform(config.input), stream_config)
    seconds: dict[int, float] = {}

    def asked() -> bool:  # between two steps
        if trainer.step in (warm_up, warm_up + measured) and trainer.step not in seconds:
            if not small:
                torch.cuda.synchronize(device)
            seconds[trainer.step] = time.perf_counter()
        return False

    around = Surroundings(device, save_seconds=1e9, stopped=asked, report=lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        network = SipMask(config), config
        trainer = Trainer(network, recipe.whole, stream, recipe, folder, around)
        started = time.perf_counter()
        trainer.run()
    memory = 0 if small else torch.cuda.max_memory_allocated(device) // 2**20
    return {
        f"{name}_pictures_per_s": pictures
        * measured
        / (seconds[warm_up + measured] - seconds[warm_up]),
        f"{name}_first_steps_s": seconds[warm_up] - started,
        f"{name}_most_memory_mb": memory,
        f"{name}_input_sizes": len(stream.buckets),
    }
