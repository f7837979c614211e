"""Writes films as a YouTube-VIS dataset, video by video, so that a stopped run can go on.

DIR/instances.json        the whole dataset in the official layout
DIR/images/VIDEO/*.jpg    the frames
DIR/videos/VIDEO.json     the same annotations video by video, written when a video's frames are complete
DIR/recipe.json           how it was made; a run with other settings is refused
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sipvideo.errors import DatasetError, SinkError
from sipvideo.masks import CompactMasks
from sipvideo.synth.film import Film, Shot

QUALITY = 92
ABSENCE = 3.0
"""Seconds unseen from which an object that comes back was away."""
SLIGHT, SEVERE = 1e-4, 0.5
"""Hidden shares from which OVIS speaks of slight and of severe occlusion."""


class SyntheticDataset:
    """A dataset folder that grows by whole videos.

    Videos are numbered; number k is the same film however many there are, so that a dataset can also be made larger.

    Args:
        folder: new, empty, or of an earlier run with the same settings.
        settings: what determines the films, as JSON; kept to refuse a mixture.
        classes: category names; their ids are 1, 2, ...
        size: (height, width) of the frames.

    Raises:
        DatasetError: the folder holds something else, or was made with other settings.
        SinkError: it cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: dict[str, Any],
        classes: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        self.folder = Path(folder)
        self._categories = [
            {"id": k, "name": name, "supercategory": "object"} for k, name in enumerate(classes, 1)
        ]
        self._ids = {name: k for k, name in enumerate(classes, 1)}
        self._size = size
        recipe = self.folder / "recipe.json"
        with _written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not recipe.is_file():
                if any(self.folder.iterdir()):
                    raise DatasetError(
                        f"{self.folder}: is not empty and holds no synthetic dataset"
                    )
                (self.folder / "images").mkdir()
                (self.folder / "videos").mkdir()
                _replace(recipe, settings)
        self._check(recipe, settings)

    def _check(self, recipe: Path, settings: dict[str, Any]) -> None:
        earlier = _load(recipe)
        for key in sorted({*earlier, *settings}):
            if earlier.get(key) != settings.get(key):
                raise DatasetError(
                    f"{self.folder}: was made with {key} {earlier.get(key)}, not "
                    f"{settings.get(key)}: choose another folder or the same settings"
                )

    def frames(self, name: str) -> Path:
        """Folder of a video's frames."""
        return self.folder / "images" / name

    def seconds(self, name: str) -> list[float]:
        """The time of every frame of a complete video."""
        return [float(second) for second in _load(self._part(name))["video"]["seconds"]]

    def has(self, name: str) -> bool:
        """Whether a video is complete."""
        return self._part(name).is_file() and self.frames(name).is_dir()

    def add(self, name: str, film: Film, shown: Callable[[], None] = lambda: None) -> None:
        """Shoots a film and saves it; an interruption leaves no half video behind.

        Args:
            name: of the video.
            film: to shoot.
            shown: called after every frame.

        Raises:
            SinkError: the disk is full and the like.
        """
        partial = self.folder / "images" / f".{name}.partial"
        with _written(self.folder):
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(self.frames(name), ignore_errors=True)
            partial.mkdir()
            try:
                tracks = _Tracks(film.class_names, self._size)
                for shot in film.shots():
                    _save_picture(partial / f"{len(tracks):05d}.jpg", shot)
                    tracks.add(shot)
                    shown()
                os.replace(partial, self.frames(name))
                _replace(self._part(name), tracks.part(name, self._ids))
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def finish(self, names: Sequence[str]) -> dict[str, Any]:
        """Writes ``instances.json`` from complete videos, and returns it.

        Raises:
            DatasetError: a video's annotations are damaged.
            SinkError: it cannot be written.
        """
        videos: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for video_id, name in enumerate(names, 1):
            part = _load(self._part(name))
            videos.append({"id": video_id, **part["video"]})
            for annotation in part["annotations"]:
                ids = {"id": len(annotations) + 1, "video_id": video_id}
                annotations.append({**ids, **annotation})
        dataset = {
            "info": {"description": "rendered by sipvideo data synth", "version": "1"},
            "licenses": [],
            "videos": videos,
            "categories": self._categories,
            "annotations": annotations,
        }
        with _written(self.folder):
            _replace(self.folder / "instances.json", dataset)
        return dataset

    def _part(self, name: str) -> Path:
        return self.folder / "videos" / f"{name}.json"


class _Tracks:
    """The annotations of one video, frame by frame."""

    def __init__(self, class_names: Sequence[str], size: tuple[int, int]) -> None:
        self._class_names = class_names
        self._size = size
        self._seconds: list[float] = []
        self._cuts: list[int] = []
        self._rows: list[dict[str, list[Any]]] = [
            {"segmentations": [], "bboxes": [], "areas": [], "occlusion": []} for _ in class_names
        ]

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, shot: Shot) -> None:
        if shot.cut:
            self._cuts.append(len(self))
        self._seconds.append(shot.second)
        for k, row in enumerate(self._rows):
            mask = _visible(shot, k)
            row["areas"].append(int(mask.areas()[0]) or None)
            if row["areas"][-1] is None:
                for key in ("segmentations", "bboxes", "occlusion"):
                    row[key].append(None)
                continue
            x0, y0, x1, y1 = (float(v) for v in mask.windows[0])
            row["segmentations"].append(mask.rle(0))
            row["bboxes"].append([x0, y0, x1 - x0, y1 - y0])
            row["occlusion"].append(_occlusion(float(shot.hidden[k])))

    def part(self, name: str, ids: dict[str, int]) -> dict[str, Any]:
        """The video and its annotations without ids; objects that are never seen have none."""
        height, width = self._size
        video = {
            "file_names": [f"{name}/{t:05d}.jpg" for t in range(len(self))],
            "length": len(self),
            "height": height,
            "width": width,
            "seconds": self._seconds,
        }
        if self._cuts:
            video["cuts"] = self._cuts
        annotations = [
            {
                "category_id": ids[class_name],
                "iscrowd": 0,
                "height": height,
                "width": width,
                "length": len(self),
                **row,
                "absences": _absences(row["areas"], self._seconds),
            }
            for class_name, row in zip(self._class_names, self._rows, strict=True)
            if any(row["areas"])
        ]
        return {"video": video, "annotations": annotations}


def video_names(kind: str, seed: int, count: int) -> list[str]:
    """Names of the first videos of a dataset."""
    return [f"{kind}_{seed}_{k:05d}" for k in range(count)]


def pictures(folder: Path) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    """The saved frames of a video, uint8 [H, W, 3], RGB.

    Raises:
        DatasetError: a frame is damaged.
    """
    yield from map(picture, sorted(folder.glob("*.jpg")))


def picture(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A saved frame, uint8 [H, W, 3], RGB. Raises DatasetError: it is damaged."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path}: is not a readable picture")
    return np.ascontiguousarray(image[..., ::-1])


def _visible(shot: Shot, number: int) -> CompactMasks:
    """The pixels of one object, one mask with a tight window."""
    owned = shot.owners == number
    rows, columns = np.flatnonzero(owned.any(1)), np.flatnonzero(owned.any(0))
    if not len(rows):
        return CompactMasks.from_crops([owned[:0, :0]], [(0, 0)], owned.shape)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return CompactMasks.from_crops([owned[y0:y1, x0:x1]], [(x0, y0)], owned.shape)


def _absences(areas: Sequence[int | None], seconds: Sequence[float]) -> list[list[float]]:
    """From when to when an object was unseen for a while before it came back: [last seen, seen again], seconds."""
    seen = [second for area, second in zip(areas, seconds, strict=True) if area]
    pairs = itertools.pairwise(seen)
    return [[gone, back] for gone, back in pairs if back - gone >= ABSENCE]


def _occlusion(hidden: float) -> str:
    """OVIS' word for a hidden share."""
    if hidden < SLIGHT:
        return "no_occlusion"
    return "slight_occlusion" if hidden < SEVERE else "severe_occlusion"


def _save_picture(path: Path, shot: Shot) -> None:
    bgr = cv2.cvtColor(shot.image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    assert done
    path.write_bytes(data.tobytes())


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON under a hidden name first, so that a file with its right name is whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object")
    return content


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise SinkError(f"{where}: cannot be written: {error.strerror or error}") from error
