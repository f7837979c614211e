"""Ultralytics YOLO11n-seg with its tracker over a clip: track, plot and write, as its guide does. Prints JSON.

The weights are random, made from its yaml, as only the speed is asked for. They find next to nothing, so that the
peer is spared masks, association and drawing: its figures are better than they would be at work.

    python benchmarks/ultralytics_track.py CLIP --backend openvino
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

import cv2
import torch
import ultralytics
from clip import Annotated, Watch, pictures, rate
from ultralytics import YOLO

SIZE = (384, 640)
BACKENDS = ("torch", "onnxruntime", "openvino", "openvino-int8")
WARM_UP = 20


def main() -> int:
    """Runs once over the clip after a warm-up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--backend", choices=BACKENDS, default="openvino")
    parser.add_argument("--frames", type=int, help="default: the whole clip")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "sipvideo-peers",
        help="folder for exported models and the annotated video",
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    clip = args.clip.resolve()
    os.chdir(args.work)
    model = YOLO(exported(args.backend, clip), task="segment")
    for picture in pictures(clip, WARM_UP):
        model.track(picture, imgsz=SIZE, persist=True, verbose=False)
    model.predictor.trackers[0].reset()

    video = Annotated(args.work / "yolo11n-seg.mp4", rate(clip))
    watch = Watch()
    for result in model.track(str(clip), imgsz=SIZE, stream=True, persist=True, verbose=False):
        video.write(result.plot())
        watch.objects.append(len(result.boxes))
        if len(watch.objects) == args.frames:
            break
    video.close()
    watch.tell(
        f"yolo11n-seg, {args.backend}",
        "reading the clip, network, tracker, drawing, annotated video; no other results",
        f"ultralytics {ultralytics.__version__}, {SIZE[1]}x{SIZE[0]}, random weights",
    )
    return 0


def exported(backend: str, clip: Path) -> str:
    """The model's file for a backend; made once."""
    weights = Path("yolo11n-seg.pt")
    if not weights.exists():
        torch.manual_seed(0)
        YOLO("yolo11n-seg.yaml").save(weights)
    found = {
        "torch": weights,
        "onnxruntime": Path("yolo11n-seg.onnx"),
        "openvino": Path("yolo11n-seg_openvino_model"),
        "openvino-int8": Path("yolo11n-seg_int8_openvino_model"),
    }[backend]
    if not found.exists():
        form = "onnx" if backend == "onnxruntime" else "openvino"
        more = {"int8": True, "data": str(calibration(clip))} if "int8" in backend else {}
        YOLO(weights).export(format=form, imgsz=SIZE, verbose=False, **more)
    return str(found)


def calibration(clip: Path) -> Path:
    """The clip's frames as a data set without labels, for the quantisation."""
    folder = Path("calibration").resolve()
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures(clip, 64)):
            cv2.imwrite(str(folder / "images" / split / f"{number}.jpg"), picture)
            outline = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n"
            (folder / "labels" / split / f"{number}.txt").write_text(outline)
    content = f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n  0: thing\n"
    (folder / "data.yaml").write_text(content)
    return folder / "data.yaml"


if __name__ == "__main__":
    sys.exit(main())
