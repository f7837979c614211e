"""A segmenter that knows the truth of a dataset, and ``sipvideo eval`` with it in place of the network."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.apps import command
from sipvideo.apps.eval import command as eval
from sipvideo.apps.main import main
from sipvideo.masks import from_rles
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame, IntArray

Json = dict[str, Any]


class Oracle:
    """Sees exactly what is annotated, and who it is.

    Args:
        dataset: annotation file of videos.
        names: the classes that it knows, in label order; objects of others are not seen.
        delay: seconds for each frame.
    """

    def __init__(self, dataset: Path, names: Sequence[str], delay: float = 0.0) -> None:
        content = json.loads(dataset.read_text())
        labels = {
            c["id"]: names.index(c["name"]) for c in content["categories"] if c["name"] in names
        }
        self.frames: dict[str, list[tuple[int, int, Json]]] = {}
        self.timestamps: list[float] = []
        self.delay = delay
        videos = {video["id"]: video for video in content["videos"]}
        for video in content["videos"]:
            self.frames.update({name: [] for name in video["file_names"]})
        for a in content["annotations"]:
            if a["category_id"] in labels:
                named = zip(videos[a["video_id"]]["file_names"], a["segmentations"], strict=True)
                for name, mask in named:
                    if mask is not None:
                        self.frames[name].append((a["id"], labels[a["category_id"]], mask))

    def __call__(self, frame: Frame) -> Detections:
        time.sleep(self.delay)
        self.timestamps.append(frame.timestamp)
        seen = self.frames[frame.name]
        self.ids = np.array([key for key, _, _ in seen], np.int64)
        masks = from_rles([mask for _, _, mask in seen], frame.size)
        return Detections(
            masks.windows.astype(np.float32),
            np.full(len(seen), 0.9, np.float32),
            np.array([label for _, label, _ in seen], np.int64),
            masks,
            np.zeros((len(seen), 0), np.float32),
        )

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        return self.ids

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        return detections.labels

    def returned(self, track_ids: IntArray) -> None:
        pass

    def reset(self) -> None:
        pass


def synth(folder: Path, *arguments: str) -> Path:
    """A small rendered dataset; its annotation file."""
    small = ["--videos", "3", "--frames", "4", "--size", "128x72", "--objects", "3"]
    assert main(["data", "synth", "-q", "-o", str(folder), *small, *arguments]) == 0
    return folder / "instances.json"


def class_names(dataset: Path) -> list[str]:
    return [c["name"] for c in json.loads(dataset.read_text())["categories"]]


def saved(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [s for s in capsys.readouterr().err.splitlines() if s.startswith("sipvideo: error: ")]


def run(
    dataset: Path, *arguments: str | Path, names: Sequence[str] = (), delay: float = 0.0
) -> int:
    """``sipvideo eval`` with the oracle; by default it knows all classes of the dataset."""
    args = eval.parse([str(dataset), *map(str, arguments)])
    known = list(names) or class_names(dataset)

    def load(_: object) -> VideoSegmenter:
        oracle = Oracle(dataset, known, delay)
        return VideoSegmenter(oracle, oracle, known)

    return command.guarded(lambda: eval.run(args, load))


if __name__ == "__main__":
    # For tests that need a process of its own: python -m tests.apps.oracle DELAY DATASET ARGUMENT...
    sys.exit(run(Path(sys.argv[2]), *sys.argv[3:], delay=float(sys.argv[1])))
