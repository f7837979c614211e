"""What the model learns from 30 corrected frames of a clip, measured on the clip's last part."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.apps import command, flags

CORRECTED, HELD_OUT = 30, 20
"""Frames of a clip: to learn from, evenly out of its first two thirds; to measure on, evenly out of the last."""


def lessons_of(film: Path, folder: Path) -> Any:
    """A rendered film's true masks as if somebody had corrected some of its frames."""
    from sipvideo.studio.lessons import Lessons

    content = json.loads((film / "instances.json").read_text("utf-8"))
    video = content["videos"][0]
    count = len(video["file_names"])
    parts = {
        "corrected": np.linspace(0, count * 2 // 3 - 1, CORRECTED),
        "held_out": np.linspace(count * 2 // 3, count - 1, HELD_OUT),
    }
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name, places in parts.items():
        images, annotations = list[Any](), list[Any]()
        for frame in sorted({int(place) for place in places}):
            picture = f"pictures/{frame:08d}.jpg"
            shutil.copyfile(film / "images" / video["file_names"][frame], folder / picture)
            size = {"height": video["height"], "width": video["width"]}
            images.append({"id": len(images) + 1, "file_name": picture, **size})
            for track in content["annotations"]:
                if track["video_id"] == video["id"] and track["segmentations"][frame]:
                    x, y, w, h = track["bboxes"][frame]
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": len(images),
                            "category_id": track["category_id"],
                            "segmentation": track["segmentations"][frame],
                            "bbox": [x, y, w, h],
                            "area": track["areas"][frame],
                            "iscrowd": 0,
                        }
                    )
        written = {
            "images": images,
            "annotations": annotations,
            "categories": content["categories"],
        }
        (folder / f"{name}.json").write_text(json.dumps(written), "utf-8")
    corrected, others, held_out = (
        folder / f"{name}.json" for name in ("corrected", "others", "held_out")
    )
    return Lessons(corrected, others, held_out, (CORRECTED, 0, HELD_OUT))


def figures(film: Path, data: Path, work: Path, steps: int | None) -> dict[str, Any]:
    """Before and after, on the film's last part and on coco_choice."""
    from sipvideo.studio.learning import Course, learn

    found = lessons_of(film, work / film.name / "lessons")
    known, kept = (data / name / "instances.json" for name in ("coco_more", "coco_choice"))
    course = Course(known=known, kept=kept, steps=steps)

    def told(share: float, what: str) -> None:
        print(f"{film.name} {share:.2f} {what}", file=sys.stderr, flush=True)

    result: dict[str, Any] = learn(found, course, work / film.name / "run", told, threading.Event())
    return {"clip": film.name, "held_out": result["held_out"], "kept": result["kept"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/studio/taught.py", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with coco_more/ and coco_choice/")
    parser.add_argument("films", type=Path, nargs="+", help="folders of sipvideo data synth")
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--steps", type=int, help="of each training; default: the recipe's")
    args = parser.parse_args(argv)

    def run() -> int:
        for film in args.films:
            print(json.dumps(figures(film, args.data, args.work, args.steps)), flush=True)
        return 0

    return command.guarded(run)


if __name__ == "__main__":
    sys.exit(main())
