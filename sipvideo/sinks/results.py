"""Sinks for other programs: YouTube-VIS json, COCO-RLE json lines, MOTS text."""

from __future__ import annotations

import array
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from sipvideo.masks import CompactMasks
from sipvideo.sinks.layers import owners
from sipvideo.sinks.sink import Sink
from sipvideo.structures import Detections, FrameResult


def class_name(class_names: Sequence[str], label: int) -> str:
    """The label's name, or its number where there is none."""
    return class_names[label] if 0 <= label < len(class_names) else str(label)


class YouTubeVISResults(Sink):
    """The result file of the YouTube-VIS benchmark, for one or more videos.

    A list with one entry per track: ``video_id``, ``score`` (mean over the frames in which the track was seen),
    ``category_id`` (of its most frequent label; ties: the smallest label) and ``segmentations`` (per frame of the
    video an RLE or null, by frame index). Untracked objects are left out. While running, masks wait in an
    unnamed temporary file: memory grows by 20 bytes per object and frame.

    Args:
        path: a ``.json`` file.
        video_id: of the first video.
        category_ids: dataset category of each label; label + 1 by default.
        length: number of frames of the first video; by default up to the last frame written.
    """

    def __init__(
        self,
        path: str | Path,
        video_id: int = 1,
        category_ids: Sequence[int] | None = None,
        length: int | None = None,
    ) -> None:
        super().__init__(path)
        self._category_ids = category_ids
        self._separator = "["
        self._file = self._open_text()
        with self._guarded():
            self._begin(video_id, length)

    def start_video(self, video_id: int, length: int | None = None) -> None:
        """Ends the current video and begins the next; its frames count from index 0 again."""
        with self._guarded():
            self._end()
            self._begin(video_id, length)

    def _begin(self, video_id: int, length: int | None) -> None:
        self._video_id, self._length = video_id, length
        self._tracks: dict[int, _Track] = {}
        self._next_index = 0
        self._spool = self._handles.enter_context(_spool(self.path.parent))

    def _write(self, result: FrameResult) -> None:
        index = result.frame.index
        if index < self._next_index:
            raise ValueError(
                f"{self.path}: frame {index} comes after frame {self._next_index - 1};"
                " a new video needs start_video()"
            )
        self._next_index = index + 1
        result = result.tracked()
        for k, track_id in enumerate(result.track_ids.tolist()):
            track = self._tracks.setdefault(track_id, _Track())
            track.labels[int(result.detections.labels[k])] += 1
            track.scores.append(float(result.detections.scores[k]))
            track.frames.append(index)
            track.places.append(self._spool.tell())
            self._spool.write(json.dumps(result.detections.masks.rle(k)).encode() + b"\n")

    def _end(self) -> None:
        length = max(self._next_index, self._length or 0)
        for track in self._tracks.values():
            label = majority(track.labels)
            entry = {
                "video_id": self._video_id,
                "score": float(np.mean(track.scores, dtype=np.float32)),
                "category_id": self._category_ids[label] if self._category_ids else label + 1,
            }
            places = dict(zip(track.frames, track.places, strict=True))
            self._file.write(f'{self._separator}{json.dumps(entry)[:-1]}, "segmentations": [')
            for index in range(length):
                comma = ", " if index else ""
                self._file.write(comma + self._segmentation(places.get(index)))
            self._file.write("]}")
            self._separator = ",\n"
        self._spool.close()

    def _segmentation(self, place: int | None) -> str:
        if place is None:
            return "null"
        self._spool.seek(place)
        return self._spool.readline().decode().rstrip()

    def _finish(self) -> None:
        self._end()
        self._file.write("[]\n" if self._separator == "[" else "]\n")


class _Track:
    """What is known of an identity without its masks."""

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()
        self.scores = array.array("f")
        self.frames = array.array("q")
        self.places = array.array("q")


class CocoRleLines(Sink):
    """One json object per frame and line (NDJSON), written at once; frames without objects too.

    The keys are those of :func:`result_record`.

    Args:
        path: a file, or ``-`` for standard output.
        class_names: names in label order.
    """

    def __init__(self, path: str | Path, class_names: Sequence[str] = ()) -> None:
        super().__init__(path, stdout=str(path) == "-")
        self._class_names = class_names
        self._file = self._open_text()

    def _write(self, result: FrameResult) -> None:
        self._file.write(json.dumps(result_record(result, self._class_names)) + "\n")
        self._file.flush()

    def _finish(self) -> None:
        self._file.flush()


def result_record(result: FrameResult, class_names: Sequence[str]) -> dict[str, Any]:
    """One frame's objects as plain values for JSON.

    Keys: ``frame`` (index), ``timestamp`` (seconds), ``name``, ``size`` ([height, width]) and ``objects``, a list of
    ``track_id`` (None for untracked), ``label``, ``class_name``, ``score``, ``bbox`` ([x, y, width, height]) and
    ``segmentation`` (COCO compressed RLE); models that re-score their masks add ``mask_score``. Frames whose objects
    were not detected but carried from an earlier one add ``carried`` (true); objects that were put in afterwards add
    ``filled`` (true).
    """
    frame, detections = result.frame, result.detections
    objects = []
    for k, track_id in enumerate(result.track_ids.tolist()):
        x0, y0, x1, y1 = detections.boxes[k]
        label = int(detections.labels[k])
        extra: dict[str, Any] = {}
        if detections.mask_scores is not None:
            extra["mask_score"] = _short(detections.mask_scores[k])
        if result.filled is not None and result.filled[k]:
            extra["filled"] = True
        objects.append(
            {
                "track_id": track_id if track_id >= 0 else None,
                "label": label,
                "class_name": class_name(class_names, label),
                "score": _short(detections.scores[k]),
                **extra,
                "bbox": [_short(value) for value in (x0, y0, x1 - x0, y1 - y0)],
                "segmentation": detections.masks.rle(k),
            }
        )
    about = {"frame": frame.index, "timestamp": frame.timestamp, "name": frame.name}
    carried = {"carried": True} if result.carried else {}
    return about | carried | {"size": list(frame.size), "objects": objects}


class MotsText(Sink):
    """The text format of the MOTS challenge: ``frame id class_id height width rle``, one object per line.

    MOTS forbids overlaps: where masks meet the higher score wins, and masks without a pixel left are not written.
    A track has one class, its most frequent label, known at the end; until then lines wait in an unnamed
    temporary file. ``id`` is class_id * 1000 + instance, instances of a class being numbered 1, 2, ... in order
    of appearance; if a class has more than 999 tracks the factor grows to 10000 and so on, for all.

    Args:
        path: a ``.txt`` file.
        class_ids: MOTS class of each label (cars are 1, pedestrians 2), labels left out are not written; label + 1
            by default.
        first_frame: number of the frame with index 0: 1 in MOTSChallenge, 0 in KITTI MOTS.
    """

    def __init__(
        self,
        path: str | Path,
        class_ids: Mapping[int, int] | None = None,
        first_frame: int = 1,
    ) -> None:
        super().__init__(path)
        self._class_ids = class_ids
        self._first_frame = first_frame
        self._labels: dict[int, Counter[int]] = {}
        self._file = self._open_text()
        with self._guarded():
            self._spool = self._handles.enter_context(_spool(self.path.parent))

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        masks = _exclusive(result.detections)
        areas = masks.areas()
        for k, track_id in enumerate(result.track_ids.tolist()):
            if not areas[k]:
                continue
            self._labels.setdefault(track_id, Counter())[int(result.detections.labels[k])] += 1
            rle = masks.rle(k)
            row = [track_id, result.frame.index + self._first_frame, *rle["size"], rle["counts"]]
            self._spool.write(" ".join(map(str, row)).encode() + b"\n")

    def _finish(self) -> None:
        classes = {track_id: self._class_of(label) for track_id, label in self._winners()}
        instances: Counter[int] = Counter()
        numbers = {}
        for track_id, class_id in classes.items():
            if class_id is not None:
                instances[class_id] += 1
                numbers[track_id] = instances[class_id]
        factor = max(1000, 10 ** len(str(max(numbers.values(), default=0))))
        self._spool.seek(0)
        for line in self._spool:
            track, frame, height, width, counts = line.decode().split()
            class_id = classes[int(track)]
            if class_id is not None:
                object_id = class_id * factor + numbers[int(track)]
                self._file.write(f"{frame} {object_id} {class_id} {height} {width} {counts}\n")

    def _winners(self) -> Iterator[tuple[int, int]]:
        return ((track_id, majority(counts)) for track_id, counts in self._labels.items())

    def _class_of(self, label: int) -> int | None:
        return label + 1 if self._class_ids is None else self._class_ids.get(label)


def majority(labels: Counter[int]) -> int:
    """The most frequent label of a track; ties: the smallest."""
    return min(labels, key=lambda label: (-labels[label], label))


def _exclusive(detections: Detections) -> CompactMasks:
    """The same masks without overlaps."""
    owner = owners(detections)
    crops, origins = [], []
    for k, (x0, y0, x1, y1) in enumerate(detections.masks.windows.tolist()):
        crops.append(owner[y0:y1, x0:x1] == k + 1)
        origins.append((x0, y0))
    return CompactMasks.from_crops(crops, origins, detections.masks.frame_size)


def _short(value: np.float32) -> float:
    """The number with the fewest digits that reads back to the same 32 bits."""
    return float(str(value))


def _spool(folder: Path) -> IO[bytes]:
    """A file without a name next to the output, gone when closed."""
    return tempfile.TemporaryFile(dir=folder)
