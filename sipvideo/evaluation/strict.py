"""What would make figures silently wrong, refused with the track, video and frame in question."""

from __future__ import annotations

import math
from typing import Any

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.ytvos import YTVOS


def check_strictly(truth: YTVOS, found: YTVOS, kind: str) -> None:
    """Checks all tracks of a ground truth and of results.

    Args:
        truth: the ground truth.
        found: the results.
        kind: segm or bbox.

    Raises:
        DatasetError: an annotation id that is 0 or not unique, a track of an unknown video or category, a list that
            does not have one entry per frame, a mask of another size than its video, or a score that is no number.
    """
    seen = set()
    for annotation in truth.dataset.get("annotations") or []:
        key = annotation["id"]
        if key == 0 or key in seen:
            what = "id 0 means 'no match' in the published figures" if key == 0 else "used twice"
            raise DatasetError(
                f"{truth.name}: annotation {key} (video {annotation['video_id']}): {what};"
                " expected unique ids from 1"
            )
        seen.add(key)
    for source, what in ((truth, "annotation"), (found, "track")):
        for track in source.dataset.get("annotations") or []:
            where = f"{source.name}: {what} {track['id']} (video {track['video_id']})"
            if what == "track" and not math.isfinite(track["score"]):
                raise DatasetError(f"{where}: the score {track['score']} is not a finite number")
            _check_track(truth, track, where, "segmentations" if kind == "segm" else "bboxes")


def frame_count(video: Json) -> int | None:
    """Number of frames of a video, None where its entry does not say."""
    names = video.get("file_names")
    count: Any = len(names) if isinstance(names, list) else video.get("length")
    return count if isinstance(count, int) else None


def _check_track(truth: YTVOS, track: Json, where: str, key: str) -> None:
    video = truth.vids.get(track["video_id"])
    if video is None:
        raise DatasetError(f"{where}: there is no such video")
    if track["category_id"] not in truth.cats:
        raise DatasetError(f"{where}: there is no category {track['category_id']!r}")
    entries = track.get(key)
    if not isinstance(entries, list):
        raise DatasetError(f"{where}: expected a list of {key}")
    frames = frame_count(video)
    if frames is None:
        raise DatasetError(f"{where}: the video has neither file_names nor length")
    if len(entries) != frames:
        t = min(len(entries), frames)
        raise DatasetError(
            f"{where}: expected {frames} {key}, one per frame or null, got {len(entries)};"
            f" the first {'missing' if t < frames else 'excess'} one is frame {t}"
        )
    if key == "bboxes":
        return
    size = [video.get("height"), video.get("width")]
    for t, mask in enumerate(entries):
        if isinstance(mask, dict) and mask and list(mask.get("size", ())) != size:
            raise DatasetError(
                f"{where}: frame {t}: expected a mask of {size[0]} x {size[1]} (height x width),"
                f" got {mask.get('size')}"
            )
