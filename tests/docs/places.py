"""A folder as the pages assume it: a street's video, annotated horses, an archive; all of it tiny."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.apps.main import main
from tests.docs.pages import ROOT
from tests.media import write_video

FRAMES = 5
SIZE = (240, 320)
"""Height and width."""


def make(folder: Path) -> Path:
    """Makes all files that commands of the pages name, and that no command before them makes."""
    with av.open(str(ROOT / "examples" / "pedestrians.mp4")) as source:
        frames = zip(range(FRAMES), source.decode(video=0))  # noqa: B905
        pictures = [f.reformat(SIZE[1], SIZE[0], "rgb24").to_ndarray() for _, f in frames]
    street = write_video(folder / "street.mp4", pictures, ticks=range(0, 10 * FRAMES, 10))
    for place in (
        "clip.mp4",
        "clips/street.mp4",
        "clips/long.mp4",
        "holiday/a.mp4",
        "archive/camera1/monday.mp4",
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(street, folder / place)
    (folder / "inputs.txt").write_text("clips/street.mp4\n", encoding="utf-8")
    (folder / "frames").mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "frames" / f"{number:06d}.png"), picture[..., ::-1])
    _horses(folder, pictures)
    _videos(folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def _horses(folder: Path, pictures: list[NDArray[np.uint8]]) -> None:
    """Annotated pictures, in two files and as two parts of one."""
    (folder / "images").mkdir()
    images, annotations = [], []
    for number, picture in enumerate(pictures):
        name = f"{number}.jpg"
        cv2.imwrite(str(folder / "images" / name), picture[..., ::-1])
        about = {"id": number + 1, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
        images.append(about | {"split": "val" if number % 4 == 3 else "train"})
        corners = [40, 30, 140, 30, 140, 200, 40, 200]
        annotations.append(
            {"id": number + 1, "image_id": number + 1, "category_id": 1, "segmentation": [corners]}
            | {"bbox": [40, 30, 100, 170], "area": 17000, "iscrowd": 0}
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "horse"}],
    }
    for name in ("horses.json", "more.json"):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _videos(folder: Path) -> None:
    """Annotated videos with a file of results, and the truth as MOTS text."""
    words = ["--classes", "coco", "--videos", "3", "--frames", "6", "--size", "160x120"]
    assert main(["data", "synth", *words, "-o", str(folder / "set"), "-q"]) == 0
    content = json.loads((folder / "set" / "instances.json").read_text())
    (folder / "valid.json").write_text(json.dumps(content))
    (folder / "set" / "images").rename(folder / "JPEGImages")
    keys = ("video_id", "category_id", "segmentations")
    results = [{"score": 0.9, **{key: a[key] for key in keys}} for a in content["annotations"]]
    (folder / "results.json").write_text(json.dumps(results))
    shutil.rmtree(folder / "set")
    for name in ("gt", "mine"):
        words = ["--to", "mots", "-o", str(folder / name), "-q"]
        assert main(["data", "convert", str(folder / "valid.json"), *words]) == 0
