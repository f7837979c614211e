"""How well a mended mask is carried to the 24 frames after it, beside the run's own masks.

python apps/reports/studio/carrying.py VIDEOS.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports.studio.clicks import SURE, overlap
from sipvideo.masks import BoolArray, CompactMasks, from_rles

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.studio.refine import OpenFrame, Refiner

FRAMES = 24
LEAST_PIXELS = 900
"""Of an object at the mended frame."""


@dataclass(frozen=True, eq=False)
class Carry:
    """An object in 25 frames in a row, the first of them mended.

    Attributes:
        name: of the video.
        opened: the frames, looked at by the network.
        truth: of each frame, bool [H, W].
        own: the run's masks of the identity that fits the object best in the first frame; None: not there.
    """

    name: str
    opened: list[OpenFrame]
    truth: list[BoolArray]
    own: list[BoolArray | None]


def carries(
    path: Path, refiner: Refiner, segmenter: VideoSegmenter, objects: int
) -> Iterator[Carry]:
    """The first ``objects`` of each annotated video that are there for 25 frames from some frame on."""
    from sipvideo.data import YouTubeVis
    from sipvideo.structures import Frame

    content = json.loads(path.read_text("utf-8"))
    data = YouTubeVis(path)
    for video in data.videos:
        tracks = [a for a in content["annotations"] if a["video_id"] == video.id]
        begin = min(10, max(0, video.length - FRAMES - 1))
        span = range(begin, begin + FRAMES + 1)
        chosen = [t for t in tracks if all(t["segmentations"][k] for k in span if k < video.length)]
        frames = [frame for frame in data.frames(video) if frame.index <= span[-1]]
        if len(frames) <= span[-1] or not chosen:
            continue
        opened, results = [], []
        segmenter.tracker.reset()
        for frame in frames:
            view = refiner.open(Frame(frame.image, frame.index, frame.timestamp))
            sure = view.found[view.found.scores >= SURE]
            results.append(segmenter.associate(frame, sure, 0.0))
            opened.append(view)
        size = frames[0].size
        for track in chosen[:objects]:
            masks = from_rles([track["segmentations"][k] for k in span], size)
            if masks.area(0) < LEAST_PIXELS:
                continue
            truth = [masks.dense(k) for k in range(len(span))]
            own = _own([results[k] for k in span], truth[0])
            yield Carry(str(video.id), [opened[k] for k in span], truth, own)


def _own(results: Sequence[Any], truth: BoolArray) -> list[BoolArray | None]:
    first = results[0]
    overlaps = first.detections.masks.iou(CompactMasks.from_dense(truth[None]))[:, 0]
    if not len(overlaps) or overlaps.max() <= 0:
        return [None] * len(results)
    identity = int(first.track_ids[int(overlaps.argmax())])
    found: list[BoolArray | None] = []
    for result in results:
        rows = np.flatnonzero(result.track_ids == identity)
        found.append(result.detections.masks.dense(int(rows[0])) if len(rows) else None)
    return found


def measured(carry: Carry) -> tuple[float, float]:
    """Mean overlap with the truth over the 24 frames: carried, and the run's own; 0 where there is nothing."""
    from sipvideo.studio.propagate import Followed

    followed = Followed(carry.opened[0], CompactMasks.from_dense(carry.truth[0][None]))
    carried = [
        overlap(followed.to(view).dense(0), t)
        for view, t in zip(carry.opened[1:], carry.truth[1:], strict=True)
    ]
    own = [
        0.0 if mask is None else overlap(mask, t)
        for mask, t in zip(carry.own[1:], carry.truth[1:], strict=True)
    ]
    return float(np.mean(carried)), float(np.mean(own))


def figures(path: Path, objects: int = 1) -> dict[str, Any]:
    """By video, and the means."""
    from sipvideo.build import load
    from sipvideo.studio.refine import Refiner

    segmenter = load(device="cpu")
    rows = []
    for carry in carries(path, Refiner(segmenter.engine), segmenter, objects):
        carried, own = measured(carry)
        rows.append({"video": carry.name, "carried": round(carried, 3), "own": round(own, 3)})
        print(rows[-1], file=sys.stderr, flush=True)
    means = {
        key: round(float(np.mean([row[key] for row in rows])), 3) for key in ("carried", "own")
    }
    return {"frames": FRAMES, "objects": len(rows), **means, "videos": rows}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/studio/carrying.py", description=__doc__)
    parser.add_argument("videos", type=Path, help="annotations in YouTube-VIS format")
    parser.add_argument("--objects", type=int, default=1, help="of each video")
    args = parser.parse_args(argv)

    def run() -> int:
        print(json.dumps(figures(args.videos, args.objects), indent=1))
        return 0

    return command.guarded(run)


if __name__ == "__main__":
    sys.exit(main())
