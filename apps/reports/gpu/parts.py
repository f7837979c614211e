"""The parts of ``make gpu-report``: each measures one thing on one device and returns its figures."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps.reports import CHECKOUT
from sipvideo.structures import Detections, Frame, FrameResult

if TYPE_CHECKING:
    from sipvideo.config import Config
    from sipvideo.engine.cuda import CudaEngine
    from sipvideo.pipeline import VideoSegmenter

STORED = CHECKOUT / "tests" / "fixtures" / "parity"
MORE = Path(os.environ.get("SIPVIDEO_PARITY", CHECKOUT.parent / "shared" / "parity"))
CLIPS = Path(os.environ.get("SIPVIDEO_CLIPS", CHECKOUT.parent / "shared" / "data" / "clips"))
OWN_CLIP = CHECKOUT / "examples" / "pedestrians.mp4"
VIS = "vis_sipmask_r50_caffe_fpn_gn_1x"
COCO = "mmdet_sipmask_r50_caffe_fpn_ssd_6x"

BOX, SCORE, DENSE, PIXELS, MASK_IOU = 5e-3, 5e-5, 1e-3, 10, 0.999
"""Tolerances of the fixtures, those of ``tests/parity``: pixels, scores, embeddings, pixels of a mask or its IoU."""
HELD = 200
"""Decoded frames that are held in memory at most, and repeated."""


@dataclass(frozen=True)
class Setting:
    """Where and how much: device, frames of a run, folder of videos."""

    device: str
    frames: int
    clips: Path

    @property
    def clip(self) -> Path:
        """The video that speed is measured on, 1280x720."""
        wanted = self.clips / "sam2_dog.mp4"
        return wanted if wanted.is_file() else OWN_CLIP


def default_device() -> str:
    """ "cuda" where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def checkpoint(which: str, calibration: str, path: Path) -> Path:
    """The reference's deterministic weights of a published model, written as its training code does."""
    import gzip

    import torch

    sys.path.insert(0, str(CHECKOUT))
    weights: Any = importlib.import_module("tests.parity.weights")
    with gzip.open(STORED / "shapes.json.gz") as file:
        shapes = {name: tuple(shape) for name, shape in json.load(file)[which].items()}
    with np.load(STORED / calibration) as values:
        state = weights.reference_state_dict(shapes, dict(values))
    torch.save({"meta": {"epoch": 12, "CLASSES": ("a", "b")}, "state_dict": state}, path)
    return path


def loaded(model: str, overrides: tuple[str, ...] = ()) -> tuple[Config, Any]:
    """Configuration and network: "nano" (the faster packaged model), "r50" (VIS), or "coco"."""
    from sipvideo import build

    if model == "nano":
        return build.load_model(None, None, overrides, "nano")
    which, calibration, config = {
        "r50": ("vis_r50", "calib.npz", VIS),
        "coco": (COCO, "calib_coco_r50_ssd_6x.npz", COCO),
    }[model]
    if model == "coco":
        which = "mmdet_sipmask_r50_caffe_fpn_ssd_6x"
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint(which, calibration, Path(folder) / "weights.pth")
        return build.load_model(config, path, overrides)


def engine(
    model: str, device: str, runtime: str = "torch", overrides: tuple[str, ...] = ()
) -> CudaEngine:
    """The GPU's engine, also in precisions that are refused elsewhere, and also on the CPU."""
    import torch

    from sipvideo.engine.cuda import CudaEngine, Network
    from sipvideo.runtime.pytorch import object_head

    config, network = loaded(model, overrides)
    head = object_head(network, config)
    return CudaEngine(Network(network, head, runtime, torch.device(device)), config)


def segmenter(found: CudaEngine) -> VideoSegmenter:
    """Engine and tracker."""
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.tracker import build_tracker

    return VideoSegmenter(found, build_tracker(found.config.tracker), found.config.class_names)


def recorded(found: CudaEngine, size: tuple[int, int]) -> bool:
    """Has the usual batches recorded, and waits for it; False on devices that do not record."""
    found.prepare(size)
    found.network.recordings.wait()
    return len(found.network.recordings) > 0


def frames_of(path: Path, count: int) -> list[Frame]:
    """The first frames of a video, at most ``HELD`` of them."""
    from sipvideo.sources import open_source

    with open_source(str(path)) as source:
        return list(islice(source, min(count, HELD)))


def repeated(frames: list[Frame], count: int) -> Iterator[Frame]:
    """Frames over and over, their numbers and times going on."""
    for number, frame in enumerate(islice(cycle(frames), count)):
        yield Frame(frame.image, number, number / 25)


def facts(setting: Setting) -> dict[str, Any]:
    """Device, driver, libraries, processor."""
    import torch
    import torchvision

    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    found |= {"torchvision": torchvision.__version__, "numpy": np.__version__}
    found |= {"cores": os.cpu_count(), "clip": setting.clip.name, "frames": setting.frames}
    if setting.device != "cpu":
        card = torch.cuda.get_device_properties(setting.device)
        found |= {"gpu": card.name, "memory_gb": round(card.total_memory / 1e9, 1)}
        found |= {"cuda": torch.version.cuda, "cudnn": _cudnn()}
        line = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(line, capture_output=True, text=True).stdout.strip()
    return found


def _cudnn() -> Any:
    import torch

    return torch.backends.cudnn.version()  # type: ignore[no-untyped-call]


def _picture(path: Path, index: int, seconds: float) -> Frame:
    import cv2

    return Frame(np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1].copy(), index, seconds)


def fixture_vis(setting: Setting) -> dict[str, Any]:
    """SipMask-VIS R50, recorded, against the reference's twenty frames."""
    from sipvideo.config import TrackerConfig
    from sipvideo.tracker.paper import PaperTracker

    found = engine("r50", setting.device, overrides=("input.size=[256, 144]",))
    with np.load(STORED / "vis.npz") as file:
        stored = dict(file)
    tracker = PaperTracker(TrackerConfig(preset="paper"))
    worst = Worst()
    is_recorded = False
    for facts in json.loads((STORED / "vis.json").read_text()):
        video, index = facts["video"], facts["frame"]
        path = STORED / "videos" / f"v{video}" / f"{index:05d}.png"
        frame = _picture(path, index, index / 6)
        is_recorded = recorded(found, frame.size)
        key = f"v{video}_f{index}__"
        objects = found.detect([frame])[0]
        if index == 0:
            tracker.reset()
        tracker.update(objects, frame.timestamp)
        worst.count(len(objects), facts["n_det"])
        if len(objects) != facts["n_det"] or not len(objects):
            continue
        worst.boxes(objects, stored[key + "det_boxes"], stored[key + "det_labels"])
        if key + "det_feats" in stored:
            expected = stored[key + "det_feats"]
            error = np.abs(objects.embeddings - expected) / (1 + np.abs(expected))
            worst.add("embedding", float(error.max()), DENSE)
        areas = np.abs(objects.masks.areas() - stored[key + "mask_area"])
        worst.add("mask_pixels", int(areas.max()), PIXELS)
        same = np.array_equal(tracker.last_claims, stored[key + "det_obj_ids"])
        worst.add("frames_with_other_ids", 0 if same else 1, 0)
    return worst.values() | {"recorded": is_recorded}


def fixture_coco(setting: Setting) -> dict[str, Any]:
    """The real-time COCO model, recorded, against the reference; its picture is not part of the project."""
    from sipvideo.masks import from_rles

    if not (MORE / "coco_image.png").is_file():
        return {"skipped": f"{MORE / 'coco_image.png'} is not there"}
    size = ("input.size=[288, 288]", "postprocess.score_threshold=0.05")
    found = engine("coco", setting.device, overrides=size)
    with np.load(MORE / "coco_r50_ssd_6x.npz") as file:
        stored = dict(file)
    facts = json.loads((MORE / "coco_r50_ssd_6x.json").read_text())
    frame = _picture(MORE / "coco_image.png", 0, 0.0)
    is_recorded = recorded(found, frame.size)
    objects = found.detect([frame])[0]
    worst = Worst()
    worst.count(len(objects), len(stored["det_labels"]))
    if len(objects) == len(stored["det_labels"]):
        worst.boxes(objects, stored["det_boxes"], stored["det_labels"])
        for label, entry in facts["per_class"].items():
            mine = np.flatnonzero(objects.labels == int(label))
            reference = from_rles(entry["rles"], frame.size)
            for k, ours in enumerate(mine.tolist()):
                worst.mask(objects.masks[[ours]], reference[[k]])
    return worst.values() | {"recorded": is_recorded, "host_ways": found.network.host_ways}


def fixture_default(setting: Setting) -> dict[str, Any]:
    """Nano, recorded, against the host's engine on the CPU, on frames of the example."""
    from sipvideo import build

    frames = frames_of(OWN_CLIP, 40 if setting.device != "cpu" else 4)
    found = engine("nano", setting.device)
    is_recorded = recorded(found, frames[0].size)
    host = build.load(device="cpu", runtime="torch", model="nano")
    worst = Worst()
    for frame in frames:
        objects, expected = found.detect([frame])[0], host.segment(frame)
        worst.count(len(objects), len(expected))
        if len(objects) == len(expected):
            boxes = np.concatenate((expected.boxes, expected.scores[:, None]), 1)
            worst.boxes(objects, boxes, expected.labels)
            for k in range(len(expected)):
                worst.mask(objects.masks[[k]], expected.masks[[k]])
    return worst.values() | {"recorded": is_recorded, "host_ways": found.network.host_ways}


class Worst:
    """The largest differences from what is right, and whether all are within their tolerances."""

    def __init__(self) -> None:
        self._worst: dict[str, float] = {}
        self._right = True
        self._frames = 0

    def add(self, name: str, value: float, most: float) -> None:
        """One more difference, and how large it may be."""
        self._worst[name] = max(self._worst.get(name, 0.0), value)
        self._right &= value <= most

    def count(self, found: int, expected: int) -> None:
        """Numbers of objects in a frame."""
        self._frames += 1
        self.add("count", abs(found - expected), 0)

    def boxes(self, objects: Detections, boxes: Any, labels: Any) -> None:
        """Boxes with their scores, [N, 5], and labels."""
        self.add("box_px", float(np.abs(objects.boxes - boxes[:, :4]).max(initial=0)), BOX)
        self.add("score", float(np.abs(objects.scores - boxes[:, 4]).max(initial=0)), SCORE)
        self.add("labels", int((objects.labels != labels).sum()), 0)

    def mask(self, ours: Any, reference: Any) -> None:
        """One mask each."""
        pixels = int((ours.dense(0) != reference.dense(0)).sum())
        iou = float(ours.iou(reference)[0, 0])
        self.add("mask_pixels", 0 if iou >= MASK_IOU else pixels, PIXELS)

    def values(self) -> dict[str, Any]:
        """All of it."""
        return {"right": self._right and self._frames > 0, "frames": self._frames} | self._worst


def agreement(setting: Setting) -> dict[str, Any]:
    """Identities and masks in every precision against single precision, on all clips; nano."""
    from sipvideo.engine.precision import PRECISIONS

    paths = [OWN_CLIP, *sorted(setting.clips.glob("*.mp4"))]
    count = 100
    if setting.device == "cpu":
        paths, count = paths[:1], 3
    clips = [frames_of(path, count) for path in paths]
    reference: list[list[FrameResult]] = []
    found: dict[str, Any] = {}
    for name in ("torch", *(name for name in PRECISIONS if name != "torch")):
        if setting.device == "cpu" and name == "torch-fp16":
            continue  # minutes per frame
        ready = engine("nano", setting.device, name)
        results = []
        for clip in clips:
            recorded(ready, clip[0].size)
            results.append(list(segmenter(ready).run(clip)))
        if name == "torch":
            reference = results
        else:
            found[name] = compared(reference, results)
            say(found)
    return found


def say(values: dict[str, Any]) -> None:
    """What is known so far, for the case that no time is left."""
    print(json.dumps(values, default=float), flush=True)


def compared(reference: list[list[FrameResult]], found: list[list[FrameResult]]) -> dict[str, Any]:
    """Share of frames whose objects have the same identities, and mean mask IoU of the same objects.

    Objects are matched by their masks. ``same_objects``: every object with an identity has a counterpart whose identity
    is the one that it had so far, and nobody else's. ``same_numbers``: and they have the same number, which also the
    order of new objects of nearly equal scores decides.
    """
    frames = same = numbered = 0
    overlaps: list[float] = []
    for clip, other in zip(reference, found, strict=True):
        names: dict[int, int] = {}
        for a, b in zip(clip, other, strict=True):
            one, two = a.tracked(), b.tracked()
            frames += 1
            if not len(two.detections):
                same += not len(one.detections)
                numbered += not len(one.detections)
                continue
            iou = one.detections.masks.iou(two.detections.masks)
            best = iou.argmax(1)
            overlaps += iou.max(1)[iou.max(1) > 0.5].tolist()
            pairs = list(zip(one.track_ids.tolist(), two.track_ids[best].tolist(), strict=True))
            whole = len(one.detections) == len(two.detections) == len(set(best.tolist()))
            for mine, theirs in pairs:
                if mine not in names and theirs not in names.values():
                    names[mine] = theirs
            same += whole and all(names.get(mine) == theirs for mine, theirs in pairs)
            numbered += whole and all(mine == theirs for mine, theirs in pairs)
    return {
        "frames": frames,
        "same_objects": round(same / frames, 4),
        "same_numbers": round(numbered / frames, 4),
        "mask_iou": round(float(np.mean(overlaps)) if overlaps else 1.0, 4),
    }
