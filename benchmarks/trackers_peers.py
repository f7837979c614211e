"""ByteTrack, BoT-SORT and OC-SORT of the library ``trackers`` on reports that another program found.

    PYTHON trackers_peers.py run FOLDER          identities for every FOLDER/*.npz, written beside as NAME.TRACKER.npy
    PYTHON trackers_peers.py time FILE.npz       milliseconds per frame of each tracker, one line of JSON
    PYTHON trackers_peers.py run FOLDER --set track_activation_threshold=0.5 --only bytetrack

PYTHON is the interpreter of a virtual environment with what trackers.txt lists. A file holds ``counts`` [T], and,
frame after frame, ``boxes`` [N, 4] and ``scores`` [N]; ``seconds`` [T] and ``pictures`` [T], file names, or
``images``, pictures that take turns. Written are identities int64 [N], -1 for none. ``make identity-report``
writes the former and reads the latter.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import supervision as sv
from trackers import BoTSORTTracker, ByteTrackTracker, OCSORTTracker

BOTSORT = {
    "high_conf_det_threshold": 0.3,
    "track_activation_threshold": 0.5,
    "minimum_consecutive_frames": 2,
    "lost_track_buffer": 60,
    "minimum_iou_threshold_first_assoc": 0.05,
    "minimum_iou_threshold_second_assoc": 0.1,
    "minimum_iou_threshold_unconfirmed_assoc": 0.3,
}
FITTED: dict[str, dict[str, Any]] = {
    "bytetrack": {
        "high_conf_det_threshold": 0.4,
        "track_activation_threshold": 0.4,
        "minimum_consecutive_frames": 2,
        "lost_track_buffer": 30,
        "minimum_iou_threshold": 0.1,
    },
    "botsort": BOTSORT,
    "botsort-camera": BOTSORT,
    "ocsort": {
        "high_conf_det_threshold": 0.4,
        "minimum_consecutive_frames": 1,
        "lost_track_buffer": 60,
        "minimum_iou_threshold": 0.2,
        "direction_consistency_weight": 0.2,
    },
}
"""Best HOTA for the default model's reports of rendered films of other seeds (401 medium, 402 hard, six each): one
setting after the other, twice over all of them. ``lost_track_buffer`` counts thirtieths of a second."""
TRACKERS = {
    "bytetrack": (ByteTrackTracker, {}),
    "botsort": (BoTSORTTracker, {"enable_cmc": False}),
    "botsort-camera": (BoTSORTTracker, {"enable_cmc": True}),
    "ocsort": (OCSORTTracker, {}),
}


def made(name: str, changes: dict[str, Any], seconds: np.ndarray) -> Any:
    """A fresh tracker by its name, with the fitted settings, for frames at these times."""
    kind, fixed = TRACKERS[name]
    steps = np.diff(seconds)
    rate = {"frame_rate": float(1 / np.median(steps))} if len(steps) else {}
    return kind(**{**rate, **FITTED[name], **changes, **fixed})


def video(path: Path) -> dict[str, np.ndarray]:
    """The content of a file of reports."""
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def frames(content: dict[str, np.ndarray]) -> list[sv.Detections]:
    """Reports frame by frame; ``data["row"]`` is their place in the frame."""
    found, first = [], 0
    for count in content["counts"].tolist():
        part = slice(first, first + count)
        first += count
        found.append(
            sv.Detections(
                xyxy=content["boxes"][part].astype(np.float64),
                confidence=content["scores"][part].astype(np.float64),
                class_id=np.zeros(count, int),
                data={"row": np.arange(count)},
            )
        )
    return found


def identities(
    tracker: Any, content: dict[str, np.ndarray], *, with_pictures: bool
) -> tuple[np.ndarray, list[float]]:
    """Identities of all reports, and the milliseconds of processor time of each frame, without reading pictures."""
    ids, spent = [], []
    pictures = content["pictures"].tolist()
    images = content.get("images")
    for k, (report, second) in enumerate(
        zip(frames(content), content["seconds"].tolist(), strict=True)
    ):
        image = None
        if with_pictures:
            image = images[k % len(images)] if images is not None else cv2.imread(pictures[k])
        own = np.full(len(report), -1, np.int64)
        started = time.thread_time()
        done = tracker.update(report, frame=image, timestamp=second)
        spent.append((time.thread_time() - started) * 1000)
        if len(done):
            own[done.data["row"]] = done.tracker_id
        ids.append(own)
    return np.concatenate(ids), spent


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "time"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--only", default=",".join(TRACKERS), metavar="NAME,...")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    changes = {k: json.loads(v) for k, v in (pair.split("=") for pair in args.set)}
    names = args.only.split(",")
    if args.what == "time":
        content, times = video(args.path), {}
        for name in names:
            tracker = made(name, changes, content["seconds"])
            times[name] = identities(tracker, content, with_pictures=name == "botsort-camera")[1]
        print(json.dumps(times))
        return
    for path in sorted(args.path.glob("*.npz")):
        content = video(path)
        for name in names:
            target = path.with_name(f"{path.stem}.{name}.npy")
            if not target.exists():
                camera = name == "botsort-camera"
                tracker = made(name, changes, content["seconds"])
                ids, _ = identities(tracker, content, with_pictures=camera)
                np.save(target, ids)
                print(f"{path.stem} {name}", flush=True)


if __name__ == "__main__":
    main()
