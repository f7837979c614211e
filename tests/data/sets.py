"""Small annotated videos in YouTube-VIS' layout, on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

SIZE = (48, 64)


def disc(centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside: NDArray[np.bool_] = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    return inside


def truth(video: int, frame: int) -> list[NDArray[np.bool_] | None]:
    """Two discs per video; the second is absent in the first frame."""
    left = disc((20 + 2 * frame, 16 + 3 * video), 9)
    return [left, None if frame == 0 else disc((24, 44 - 2 * frame), 8)]


def uncompressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    flat = np.concatenate(([0], mask.T.reshape(-1).astype(int)))
    steps = np.flatnonzero(np.diff(flat))
    return {"size": list(SIZE), "counts": np.diff([0, *steps.tolist(), mask.size]).tolist()}


def compressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def frame_picture(video: int, frame: int) -> NDArray[np.uint8]:
    """RGB; the red value tells video and frame."""
    image = np.full((*SIZE, 3), 60, np.uint8)
    image[..., 0] = 100 * video + 20 * frame
    for mask in truth(video, frame):
        if mask is not None:
            image[mask, 1] = 200
    return image


def content(lengths: tuple[int, ...] = (4, 3)) -> dict[str, Any]:
    """Videos with ids 5, 8, ... and categories 3 (cat) and 7 (dog)."""
    videos: list[Any] = []
    annotations: list[Any] = []
    for v, length in enumerate(lengths):
        names = [f"clip{v}/{k:05}.png" for k in range(length)]
        size = {"height": SIZE[0], "width": SIZE[1]}
        videos.append({"id": 5 + 3 * v, **size, "length": length, "file_names": names})
        for k in range(2):
            masks = [truth(v, f)[k] for f in range(length)]
            kind = uncompressed if k == 0 else compressed
            boxes = [_box(m) if m is not None else None for m in masks]
            annotations.append(
                {
                    **{"id": 10 + len(annotations), "video_id": 5 + 3 * v},
                    **{"category_id": (7, 3)[k], "iscrowd": 0},
                    "segmentations": [kind(m) if m is not None else None for m in masks],
                    "areas": [int(m.sum()) if m is not None else None for m in masks],
                    "bboxes": boxes,
                }
            )
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    return {"videos": videos, "annotations": annotations, "categories": categories}


def _box(mask: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def write_frames(folder: Path, lengths: tuple[int, ...] = (4, 3)) -> None:
    for v, length in enumerate(lengths):
        (folder / f"clip{v}").mkdir(parents=True)
        for k in range(length):
            name = str(folder / f"clip{v}" / f"{k:05}.png")
            cv2.imwrite(name, np.ascontiguousarray(frame_picture(v, k)[..., ::-1]))


def write_json(folder: Path, values: Any) -> Path:
    path = folder / "instances.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path
