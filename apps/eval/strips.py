"""The worst videos as strips of pictures: ground truth above, predictions below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sipvideo.apps.eval.parts import Json, video_title
from sipvideo.draw import TAGS, Picture, Style, draw
from sipvideo.evaluation.html import Strip
from sipvideo.evaluation.names import counted, number
from sipvideo.masks import from_rles
from sipvideo.structures import Detections, Frame, FrameResult

if TYPE_CHECKING:
    from sipvideo.data import Video, YouTubeVis
    from sipvideo.evaluation import YTVOS, Report

FRAMES = 6
WIDTH, TALLEST, QUALITY = 300, 400, 72
"""Of the pictures: pixels, and JPEG quality."""
MOST = 12
"""Predictions shown of one video, unless it has more objects."""


def worst_videos(report: Report, data: YouTubeVis, count: int) -> list[Strip]:
    """Strips of the videos with objects that have the lowest AP; ties: those with more objects.

    Raises:
        DatasetError: a picture cannot be read.
    """
    videos = sorted(
        (v for v in report.videos if v.objects), key=lambda v: (v.ap, -v.objects, v.video_id)
    )
    first, places = 0, {}
    for video in data.videos:
        places[video.id] = video, first
        first += video.length
    strips = []
    for figures in videos[:count]:
        video, start = places[figures.video_id]
        rows = _Rows(report, video)
        caption = f"AP {number(figures.ap)}, {counted(figures.objects, 'object')}"
        caption += f", {counted(figures.predictions, 'prediction')}"
        if len(rows.predictions) < figures.predictions:
            caption += f" (the best {len(rows.predictions)} are shown)"
        frames = []
        for t in _spread(video.length):
            truth, found = rows.pictures(data[start + t].image, t)
            frames.append((f"frame {t}", _jpeg(truth), _jpeg(found)))
        title = video_title({"id": video.id, "file_names": video.file_names})
        strips.append(Strip(title, caption, frames))
    return strips


def _spread(length: int) -> list[int]:
    """Frames from the first to the last, evenly."""
    count = min(FRAMES, length)
    return [round(k * (length - 1) / max(count - 1, 1)) for k in range(count)]


class _Rows:
    """The tracks of one video that are shown, and their numbers."""

    def __init__(self, report: Report, video: Video) -> None:
        evaluation = report.evaluation
        self.truth, self.found = evaluation.cocoGt, evaluation.cocoDt
        self.size = video.size
        self.classes = list(self.truth.cats)
        self.names = [str(c.get("name", key)) for key, c in self.truth.cats.items()]
        self.objects = list(self.truth.vidToAnns.get(video.id, ()))
        predictions = sorted(self.found.vidToAnns.get(video.id, ()), key=lambda p: -p["score"])
        predictions = [p for p in predictions if p["category_id"] in self.truth.cats]
        self.predictions = predictions[: max(MOST, len(self.objects))]
        self.object_numbers = list(range(1, len(self.objects) + 1))
        number_of = {o["id"]: n for o, n in zip(self.objects, self.object_numbers, strict=True)}
        hits = _matches(report, video.id)
        # Crowds may be found by several; only the best of these has the crowd's number.
        taken: set[int] = set()
        self.prediction_numbers = []
        for n, prediction in enumerate(self.predictions, len(self.objects) + 1):
            own = number_of.get(hits.get(prediction["id"]), n)
            self.prediction_numbers.append(n if own in taken else own)
            taken.add(own)

    def pictures(self, image: Picture, t: int) -> tuple[Picture, Picture]:
        """Frame ``t`` with the objects, and with the predictions."""
        truth = self._drawn(image, t, self.truth, self.objects, self.object_numbers)
        found = self._drawn(image, t, self.found, self.predictions, self.prediction_numbers)
        return truth, found

    def _drawn(
        self, image: Picture, t: int, source: YTVOS, tracks: Sequence[Json], numbers: Sequence[int]
    ) -> Picture:
        shown = []
        for track, own in zip(tracks, numbers, strict=True):
            masks = track.get("segmentations") or ()
            rle = source.annToRLE(track, t) if t < len(masks) and masks[t] else None
            # Compat mode scores masks of other sizes; they fit no picture.
            if rle is not None and tuple(rle["size"]) == self.size:
                shown.append((track, rle, own))
        masks = from_rles([rle for _, rle, _ in shown], self.size)
        objects = Detections(
            masks.windows.astype(np.float32),
            np.array([track.get("score", 1.0) for track, _, _ in shown], np.float32),
            np.array([self.classes.index(track["category_id"]) for track, _, _ in shown], np.int64),
            masks,
            np.zeros((len(shown), 0), np.float32),
        )
        ids = np.array([own for _, _, own in shown], np.int64)
        scale = _scale(self.size)
        tags = TAGS if source is self.found else ("class", "id")
        style = Style(tags=tags, text_scale=0.9 / scale)
        picture = draw(FrameResult(Frame(image, t, 0.0), objects, ids, 0.0), self.names, style)
        height, width = (max(1, round(side * scale)) for side in self.size)
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _matches(report: Report, video: Any) -> dict[Any, Any]:
    """The object that each prediction of a video matches at the lowest IoU threshold, by ids."""
    evaluation = report.evaluation
    p = evaluation.params
    subsets = len(p.areaRng) * len(p.occRng) * len(p.vidIds)
    place = p.vidIds.index(video)
    hits = {}
    for record in evaluation.evalVids[place::subsets]:
        if record is not None:
            pairs = zip(record["dtIds"], record["dtMatches"][0].tolist(), strict=True)
            hits.update({own: int(other) for own, other in pairs if other})
    return hits


def _scale(size: tuple[int, int]) -> float:
    return min(1.0, WIDTH / size[1], TALLEST / size[0])


def _jpeg(picture: Picture) -> bytes:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
