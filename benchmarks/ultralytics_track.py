"""An Ultralytics segmenter with its tracker over a clip: track, plot and write, as its guide does. Prints JSON.

The weights are random, made from its yaml, as only the speed is asked for. They find next to nothing, so that the
peer is spared masks, association and drawing: its figures are better than they would be at work.

    python benchmarks/ultralytics_track.py CLIP --model yolo11n-seg --size 640 --backend openvino
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

BACKENDS = ("torch", "onnxruntime", "openvino", "openvino-int8")
WARM_UP = 20


def main() -> int:
    """Runs once over the clip after a warm-up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="yolo11n-seg", help="default: yolo11n-seg")
    parser.add_argument(
        "--size", type=int, default=640, help="long side of the input; default: 640"
    )
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
    size = fitted(clip, args.size)
    model = YOLO(exported(args.model, args.backend, size, clip), task="segment")
    for picture in pictures(clip, WARM_UP):
        model.track(picture, imgsz=size, persist=True, verbose=False)
    model.predictor.trackers[0].reset()

    video = Annotated(args.work / f"{args.model}.mp4", rate(clip))
    watch = Watch()
    for result in model.track(str(clip), imgsz=size, stream=True, persist=True, verbose=False):
        video.write(result.plot())
        watch.objects.append(len(result.boxes))
        if len(watch.objects) == args.frames:
            break
    video.close()
    watch.tell(
        f"{args.model}, {args.backend}",
        "reading the clip, network, tracker, drawing, annotated video; no other results",
        f"ultralytics {ultralytics.__version__}, {size[1]}x{size[0]}, random weights",
    )
    return 0


def fitted(clip: Path, long_side: int) -> tuple[int, int]:
    """(height, width) of an input with the clip's aspect, multiples of 32."""
    height, width = next(pictures(clip, 1)).shape[:2]
    scale = long_side / max(height, width)
    return tuple(-(-round(side * scale) // 32) * 32 for side in (height, width))  # type: ignore[return-value]


def exported(name: str, backend: str, size: tuple[int, int], clip: Path) -> str:
    """The path of a model for a backend and an input size; made once, in a folder of its own."""
    folder = Path(f"{name}-{size[1]}x{size[0]}").resolve()
    folder.mkdir(exist_ok=True)
    weights = folder / f"{name}.pt"
    if not weights.exists():
        torch.manual_seed(0)
        YOLO(f"{name}.yaml").save(weights)
    found = {
        "torch": weights,
        "onnxruntime": folder / f"{name}.onnx",
        "openvino": folder / f"{name}_openvino_model",
        "openvino-int8": folder / f"{name}_int8_openvino_model",
    }[backend]
    if not found.exists():
        form = "onnx" if backend == "onnxruntime" else "openvino"
        more = {"int8": True, "data": str(calibration(clip))} if "int8" in backend else {}
        YOLO(weights).export(format=form, imgsz=size, verbose=False, **more)
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
