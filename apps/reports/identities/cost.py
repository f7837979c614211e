"""What association costs per frame with 10 and 100 objects, everybody in alternation."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sipvideo.apps.reports.identities.trackers import PEERS, subprocess_json

if TYPE_CHECKING:
    from sipvideo.config import TrackerConfig
    from sipvideo.structures import Detections

COUNTS = (10, 100)
HEIGHTS = (360, 2160)
FRAMES, WARM_UP, ROUNDS = 40, 3, 5
FPS = 25.0
EMBEDDING = 256


def crowd(count: int, height: int) -> tuple[list[Detections], np.ndarray[Any, Any]]:
    """Objects that wander over frames of 16:9, with masks, embeddings and grey pictures of a camera that moves.

    Args:
        count: of objects.
        height: of the frames, pixels.

    Returns:
        ``FRAMES`` reports, and the first two pictures, uint8 [2, H, W, 3].
    """
    from sipvideo.masks import CompactMasks
    from sipvideo.structures import Detections

    rng = np.random.default_rng(count)
    width = height * 16 // 9
    side = 0.6 * np.sqrt(height * width / count) * rng.uniform(0.4, 1, count)
    side = np.minimum(side, 0.4 * height)
    centre = rng.uniform(0, 1, (count, 2)) * (width, height)
    velocity = rng.normal(0, 0.02 * height, (count, 2))
    looks = rng.normal(0, 1, (count, EMBEDDING)).astype(np.float32)
    ground = rng.integers(0, 255, (40, 70), np.uint8).repeat(8, 0).repeat(8, 1)
    reports, pictures = [], []
    for t in range(FRAMES):
        where = np.mod(centre + velocity * t, (width, height))
        boxes = np.concatenate((where - side[:, None] / 2, where + side[:, None] / 2), 1)
        boxes += rng.normal(0, 0.02, boxes.shape) * side[:, None]
        crops, origins = [], []
        for x0, y0, x1, y1 in np.rint(boxes).astype(int).tolist():
            y, x = np.ogrid[: max(y1 - y0, 1), : max(x1 - x0, 1)]
            middle = (y1 - y0) / 2, (x1 - x0) / 2
            crops.append(
                ((y - middle[0]) / middle[0]) ** 2 + ((x - middle[1]) / middle[1]) ** 2 <= 1
            )
            origins.append((x0, y0))
        scores = np.sort(rng.uniform(0.3, 1, count).astype(np.float32))[::-1].copy()
        grey = np.ascontiguousarray(ground[2 * t : 2 * t + 144, 3 * t : 3 * t + 256])
        reports.append(
            Detections(
                boxes=boxes.astype(np.float32),
                scores=scores,
                labels=np.zeros(count, np.int64),
                masks=CompactMasks.from_crops(crops, origins, (height, width)),
                embeddings=looks + rng.normal(0, 0.3, looks.shape).astype(np.float32),
                grey=grey,
            )
        )
        if t < 2:
            large = cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)
            pictures.append(np.repeat(large[..., None], 3, 2))
    return reports, np.stack(pictures)


def costs(work: Path, peers: Path | None) -> list[dict[str, Any]]:
    """One row per number of objects and frame height: milliseconds of processor time, by contender.

    Each figure is the median over the frames of a round, and of the rounds, in which all run one after the other.
    """
    from sipvideo.config import TrackerConfig

    ours = {
        "ours": TrackerConfig(),
        "ours, camera motion off": TrackerConfig(camera=False),
        "the paper's rule": TrackerConfig(preset="paper"),
    }
    rows = []
    for height in HEIGHTS:
        for count in COUNTS:
            reports, pictures = crowd(count, height)
            path = work / f"cost{count}_{height}.npz"
            _exchange(path, reports, pictures)
            rounds: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for name, config in ours.items():
                    rounds.setdefault(name, []).append(_middle(_timed(config, reports)))
                if peers:
                    told = json.loads(subprocess_json(peers, "time", str(path)))
                    for name, times in told.items():
                        rounds.setdefault(PEERS[name], []).append(_middle(times))
            found = {name: median(times) for name, times in rounds.items()}
            rows.append({"objects": count, "height": height, "milliseconds": found})
    return rows


def _middle(times: Sequence[float]) -> float:
    return median(times[WARM_UP:])


def _timed(config: TrackerConfig, reports: Sequence[Detections]) -> list[float]:
    from sipvideo.tracker import build_tracker

    tracker, spent = build_tracker(config), []
    for t, report in enumerate(reports):
        fresh = report[np.arange(len(report))]  # nothing that an earlier round counted
        started = time.thread_time()  # others on the machine do not count
        tracker.update(fresh, t / FPS)
        spent.append((time.thread_time() - started) * 1000)
    return spent


def _exchange(path: Path, reports: Sequence[Detections], pictures: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        counts=np.array([len(report) for report in reports], np.int64),
        boxes=np.concatenate([report.boxes for report in reports]),
        scores=np.concatenate([report.scores for report in reports]),
        seconds=np.arange(len(reports)) / FPS,
        pictures=np.array([""] * len(reports)),
        images=pictures,
    )
