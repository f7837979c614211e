"""A dataset as a run needs it: in parts that are saved one by one, videos or some still pictures each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sipvideo.errors import DatasetError

if TYPE_CHECKING:
    from sipvideo.data import CocoPictures, Video, YouTubeVis
    from sipvideo.data.instances import AnnotationFile
    from sipvideo.evaluation import YTVOS
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Frame, FrameResult

Json = dict[str, Any]
PICTURES_PER_PART = 50
Found = tuple[int, Json, frozenset[Any] | None]
"""The model's label, a result without its category, and the category ids that were annotated there (None: all)."""


class TrackRecorder:
    """The tracks of one video, masks as RLE, and what the benchmark wants to know of each.

    Args:
        length: number of frames of the video.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._scores: dict[int, dict[int, list[float]]] = {}
        self._masks: dict[int, list[Json | None]] = {}

    def add(self, result: FrameResult) -> None:
        """One more frame; objects without identity are left out."""
        result = result.tracked()
        found = result.detections
        for k, track in enumerate(result.track_ids.tolist()):
            label, score = int(found.labels[k]), float(found.scores[k])
            self._scores.setdefault(track, {}).setdefault(label, []).append(score)
            masks = self._masks.setdefault(track, [None] * self.length)
            masks[result.frame.index] = found.masks.rle(k)

    def results(self, video_id: Any, classes_per_track: int = 1) -> Iterator[tuple[int, Json]]:
        """The label of each track and its result without category.

        As published, a track has the label of most of its frames (ties: the lowest) and the mean of its frames'
        scores. With several classes each has its share of that mean: the sum of the scores of its own frames
        over the number of all.
        """
        for track, by_label in self._scores.items():
            frames = sum(map(len, by_label.values()))
            shares = {label: sum(scores) / frames for label, scores in by_label.items()}
            if classes_per_track == 1:
                label = min(by_label, key=lambda key: (-len(by_label[key]), key))
                shares = {label: sum(shares.values())}
            best = sorted(shares, key=lambda key: (-shares[key], key))[:classes_per_track]
            for label in best:
                entry = {"video_id": video_id, "score": shares[label]}
                yield label, {**entry, "segmentations": self._masks[track]}


class Part(Protocol):
    """What is saved at once: a video, or some pictures.

    Attributes:
        key: the name of its file.
        title: for people.
        length: number of frames.
    """

    key: str
    title: str
    length: int

    def steps(self, segmenter: VideoSegmenter) -> Iterator[object]:
        """Segments it, one frame after the other."""

    def results(self) -> Iterator[Found]:
        """What was found; it is forgotten then."""


class VideoPart:
    """One video.

    Args:
        data: the dataset.
        video: one of its videos.
        seconds: time of each frame.
        classes_per_track: see :class:`TrackRecorder`.
    """

    def __init__(
        self, data: YouTubeVis, video: Video, seconds: Sequence[float], classes_per_track: int
    ) -> None:
        self.key, self.length = f"video_{video.id}", video.length
        self.title = video_title({"id": video.id, "file_names": video.file_names})
        self._data, self._video, self._seconds = data, video, seconds
        self._classes = classes_per_track
        self._tracks = TrackRecorder(video.length)

    def steps(self, segmenter: VideoSegmenter) -> Iterator[object]:
        """See :class:`Part`."""
        for result in segmenter.run(self._frames()):
            self._tracks.add(result)
            yield result

    def _frames(self) -> Iterator[Frame]:
        for frame, second in zip(self._data.frames(self._video), self._seconds, strict=True):
            yield replace(frame, timestamp=second)

    def results(self) -> Iterator[Found]:
        """See :class:`Part`."""
        labels, ids = self._video.labelled, self._data.category_ids
        labelled = None if labels is None else frozenset(ids[label] for label in labels)
        tracks, self._tracks = self._tracks, TrackRecorder(self.length)
        for label, entry in tracks.results(self._video.id, self._classes):
            yield label, entry, labelled


class PicturePart:
    """Some still pictures, each segmented on its own.

    Args:
        data: the dataset.
        places: of the pictures in it.
        image_ids: the dataset's id of each of them.
        category_ids: the dataset's id of each of its classes.
    """

    def __init__(
        self, data: CocoPictures, places: range, image_ids: Sequence[Any], category_ids: list[Any]
    ) -> None:
        self.key = f"pictures_{places.start:06d}"
        self.title = f"pictures {places.start + 1} to {places.stop}"
        self.length = len(places)
        self._data, self._pictures = data, list(zip(places, image_ids, strict=True))
        self._category_ids = category_ids
        self._found: list[Found] = []

    def steps(self, segmenter: VideoSegmenter) -> Iterator[object]:
        """See :class:`Part`."""
        from sipvideo.structures import Frame

        for index, image_id in self._pictures:
            sample = self._data[index]
            found = segmenter.segment(Frame(sample.image, index, 0.0, self._data.name(index)))
            mask_scores = found.mask_scores
            labelled = sample.labelled
            ids = None if labelled is None else frozenset(self._category_ids[k] for k in labelled)
            for k, label in enumerate(found.labels.tolist()):
                x0, y0, x1, y1 = (float(v) for v in found.boxes[k])
                entry = {"image_id": image_id, "score": float(found.scores[k])}
                if mask_scores is not None:
                    entry["mask_score"] = float(mask_scores[k])
                entry |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": found.masks.rle(k)}
                self._found.append((label, entry, ids))
            yield found

    def results(self) -> Iterator[Found]:
        """See :class:`Part`."""
        found, self._found = self._found, []
        return iter(found)


def video_title(entry: Mapping[str, Any]) -> str:
    """The folder of a video's frames where it has one of its own, else its number."""
    names = entry.get("file_names") or ["-"]
    return Path(str(names[0])).parent.name or f"video {entry['id']}"


@dataclass(frozen=True)
class Dataset:
    """An annotation file, and what of it is scored.

    Attributes:
        file: as it is.
        content: of the chosen split; annotations of unknown class, which nobody can find, left out.
        args: of the command.
    """

    file: AnnotationFile
    content: Json
    args: argparse.Namespace

    @classmethod
    def of(cls, args: argparse.Namespace) -> Dataset:
        """Parses the file.

        Raises:
            DatasetError: as the readers.
        """
        from sipvideo.data.instances import AnnotationFile

        file = AnnotationFile.load(args.dataset)
        kind, key = ("videos", "video_id") if file.of_videos else ("images", "image_id")
        if not file.content.get(kind):
            raise DatasetError(f"{file.path}: not an annotation file: neither videos nor images")
        entries = file.entries(args.split)
        chosen = {entry.get("id") for entry in entries}
        annotations = [
            a
            for a in file.content.get("annotations") or []
            if a.get("category_id", 0) is not None and (args.split is None or a.get(key) in chosen)
        ]
        return cls(file, {**file.content, kind: entries, "annotations": annotations}, args)

    @property
    def annotated(self) -> bool:
        """Whether anything can be scored."""
        return bool(self.content["annotations"])

    def count(self, names: Sequence[str] | None = None) -> int:
        """Number of annotated objects, of the classes with these names or of all."""
        categories = self.content["categories"]
        chosen = {c["id"] for c in categories if names is None or str(c["name"]) in names}
        return sum(a["category_id"] in chosen for a in self.content["annotations"])

    def titles(self) -> dict[Any, str]:
        """What people call each video, by id."""
        return {entry["id"]: video_title(entry) for entry in self.content["videos"]}

    def truth(self) -> YTVOS:
        """The videos' annotations."""
        from sipvideo.evaluation import YTVOS

        truth = YTVOS()
        truth.dataset, truth.name = self.content, str(self.file.path)
        truth.createIndex()
        return truth

    def pictures(self) -> CocoPictures | YouTubeVis:
        """The pictures, as they are; memory is not spent on keeping them.

        Raises:
            DatasetError: they are not there.
        """
        from sipvideo.data import open_dataset

        args = self.args
        upright = not args.ignore_orientation
        return open_dataset(self.file, args.images, args.split, cache_bytes=0, upright=upright)

    def parts(self) -> list[Part]:
        """What the model is run on, in pieces that are saved one by one."""
        from sipvideo.data import YouTubeVis

        data = self.pictures()
        if isinstance(data, YouTubeVis):
            fps, count = self.args.fps, self.args.classes_per_track
            return [
                VideoPart(data, video, _seconds(entry, video, fps), count)
                for entry, video in zip(self.content["videos"], data.videos, strict=True)
            ]
        ids = [entry["id"] for entry in self.content["images"]]
        # As the readers number the classes.
        categories = list(dict.fromkeys(c["id"] for c in self.content["categories"]))
        places = [
            range(first, min(first + PICTURES_PER_PART, len(data)))
            for first in range(0, len(data), PICTURES_PER_PART)
        ]
        return [PicturePart(data, p, ids[p.start : p.stop], categories) for p in places]


def _seconds(entry: Mapping[str, Any], video: Video, fps: float | None) -> Sequence[float]:
    """The time of each frame: as the file says it, else by its rate or the one given."""
    if "seconds" in entry or "fps" in entry or fps is None:
        return video.seconds
    return [frame / fps for frame in range(video.length)]
