"""Sinks for other programs: YouTube-VIS json, COCO-RLE json lines, MOTS text."""

from __future__ import annotations

import array
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from sipvideo.masks import CompactMasks
from sipvideo.sinks.journal import Journal, JournalFrame, JournalReader
from sipvideo.sinks.layers import owners
from sipvideo.sinks.sink import Kept, Mark, Sink, cut_to_whole_lines, replacing, whole_lines
from sipvideo.structures import Detections, FrameResult


def class_name(class_names: Sequence[str], label: int) -> str:
    """The label's name, or its number where there is none."""
    return class_names[label] if 0 <= label < len(class_names) else str(label)


class YouTubeVISResults(Sink):
    """The result file of the YouTube-VIS benchmark, for one or more videos.

    A list with one entry per track: ``video_id``, ``score`` (mean over the frames in which the track was seen),
    ``category_id`` (of its most frequent label; ties: the smallest label) and ``segmentations`` (per frame of the
    video an RLE or null, by frame index). Untracked objects are left out. While running, masks wait in the hidden
    file; at the end memory grows by 20 bytes per object and frame of a video.

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
        *,
        mark: Mark | None = None,
    ) -> None:
        super().__init__(path, mark=mark)
        self._category_ids = category_ids
        self._journal = Journal(self._open_text())
        if mark is None:
            self.start_video(video_id, length)
        else:
            self._next_index: int = mark["memory"]["next_index"]

    def start_video(self, video_id: int, length: int | None = None) -> None:
        """Ends the current video and begins the next; its frames count from index 0 again."""
        categories = None if self._category_ids is None else list(self._category_ids)
        self._next_index = 0
        with self._guarded():
            self._journal.begin(video_id, length, categories)

    def _write(self, result: FrameResult) -> None:
        index = result.frame.index
        if index < self._next_index:
            raise ValueError(
                f"{self.path}: frame {index} comes after frame {self._next_index - 1};"
                " a new video needs start_video()"
            )
        self._next_index = index + 1
        result = result.tracked()
        found = result.detections
        for k, track_id in enumerate(result.track_ids.tolist()):
            mask = json.dumps(found.masks.rle(k))
            self._journal.add(track_id, int(found.labels[k]), float(found.scores[k]), mask)
        self._journal.end_frame(result.frame)

    def _memory(self) -> dict[str, Any]:
        return {"next_index": self._next_index}

    def _finish(self) -> None:
        pass

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        reader = JournalReader(partial)
        with (
            replacing(path) as new,
            new.open("w", encoding="utf-8") as file,
            partial.open("rb") as masks,
        ):
            separator = "["
            for video in _videos(reader):
                for entry in video.entries(masks):
                    file.write(separator)
                    file.writelines(entry)
                    separator = ",\n"
            file.write("[]\n" if separator == "[" else "]\n")
        if not keep:
            partial.unlink()
        return reader.kept


class _Track:
    """What is known of an identity without its masks."""

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()
        self.scores = array.array("f")
        self.frames = array.array("q")
        self.places = array.array("q")


class _Video:
    """The tracks of one video, and where their masks lie in a journal.

    Args:
        settings: as ``YouTubeVISResults`` wrote them.
    """

    def __init__(self, settings: list[Any]) -> None:
        self._video_id, self._length, self._category_ids = settings
        self._length = self._length or 0
        self._tracks: dict[int, _Track] = {}

    def add(self, frame: JournalFrame) -> None:
        """One more frame."""
        self._length = max(self._length, frame.index + 1)
        for place, line in frame.objects:
            track_id, label, score, _ = line.split(maxsplit=3)
            track = self._tracks.setdefault(int(track_id), _Track())
            track.labels[int(label)] += 1
            track.scores.append(float(score))
            track.frames.append(frame.index)
            track.places.append(place)

    def entries(self, masks: IO[bytes]) -> Iterator[Iterator[str]]:
        """The text of each track, in pieces; ``masks`` is the journal."""
        for track in self._tracks.values():
            yield self._entry(track, masks)

    def _entry(self, track: _Track, masks: IO[bytes]) -> Iterator[str]:
        label = majority(track.labels)
        entry = {
            "video_id": self._video_id,
            "score": float(np.mean(track.scores, dtype=np.float32)),
            "category_id": self._category_ids[label] if self._category_ids else label + 1,
        }
        yield f'{json.dumps(entry)[:-1]}, "segmentations": ['
        places = dict(zip(track.frames, track.places, strict=True))
        for index in range(self._length):
            yield ", " if index else ""
            place = places.get(index)
            if place is None:
                yield "null"
            else:
                masks.seek(place)
                yield masks.readline().split(maxsplit=3)[3].decode().rstrip()
        yield "]}"


def _videos(frames: Iterable[JournalFrame]) -> Iterator[_Video]:
    """Each video when all its frames have come."""
    video = None
    for frame in frames:
        if frame.index < 0:
            if video is not None:
                yield video
            video = _Video(frame.settings)
        elif video is not None:
            video.add(frame)
    if video is not None:
        yield video


class CocoRleLines(Sink):
    """One json object per frame and line (NDJSON), written at once; frames without objects too.

    The keys are those of :func:`result_record`.

    Args:
        path: a file, or ``-`` for standard output.
        class_names: names in label order.
    """

    def __init__(
        self, path: str | Path, class_names: Sequence[str] = (), *, mark: Mark | None = None
    ) -> None:
        super().__init__(path, stdout=str(path) == "-", mark=mark)
        self._class_names = class_names
        self._file = self._open_text()

    def _write(self, result: FrameResult) -> None:
        self._file.write(json.dumps(result_record(result, self._class_names)) + "\n")
        if self._to_stdout:
            self._file.flush()

    def _finish(self) -> None:
        if self._to_stdout:
            self._file.flush()

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        cut_to_whole_lines(partial)
        kept = _count(partial)
        super().assemble(partial, path, keep=keep)
        return kept


def _count(path: Path) -> Kept:
    """Frames of a file of lines, and the time from the first to the last."""
    frames, first, last = 0, b"", b""
    for _, line in whole_lines(path):
        frames, first, last = frames + 1, first or line, line
    if not frames:
        return Kept(0)
    return Kept(frames, json.loads(last)["timestamp"] - json.loads(first)["timestamp"])


def result_record(result: FrameResult, class_names: Sequence[str]) -> dict[str, Any]:
    """One frame's objects as plain values for JSON.

    Keys: ``frame`` (index), ``timestamp`` (seconds), ``name``, ``size`` ([height, width]) and ``objects``, a list of
    ``track_id`` (None for untracked), ``label``, ``class_name``, ``score``, ``bbox`` ([x, y, width, height]) and
    ``segmentation`` (COCO compressed RLE); models that re-score their masks add ``mask_score``. Frames whose objects
    were not detected but carried from an earlier one add ``carried`` (true); objects that were put in afterwards add
    ``filled`` (true), identities that came back just now ``returned`` (seconds that they were away).
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
        if result.seconds_away(k) > 0:
            extra["returned"] = round(result.seconds_away(k), 3)
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
    A track has one class, its most frequent label, known at the end; until then lines wait in the hidden file.
    ``id`` is class_id * 1000 + instance, instances of a class being numbered 1, 2, ... in order of appearance; if a
    class has more than 999 tracks the factor grows to 10000 and so on, for all.

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
        *,
        mark: Mark | None = None,
    ) -> None:
        super().__init__(path, mark=mark)
        self._journal = Journal(self._open_text())
        if mark is not None:
            return
        with self._guarded():
            self._journal.begin(first_frame, None if class_ids is None else list(class_ids.items()))

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        masks = _exclusive(result.detections)
        areas = masks.areas()
        for k, track_id in enumerate(result.track_ids.tolist()):
            if areas[k]:
                rle = masks.rle(k)
                label = int(result.detections.labels[k])
                self._journal.add(track_id, label, *rle["size"], rle["counts"])
        self._journal.end_frame(result.frame)

    def _finish(self) -> None:
        pass

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        reader = JournalReader(partial)
        labels: dict[int, Counter[int]] = {}
        first_frame, class_ids = 1, None
        for frame in reader:
            first_frame, class_ids = frame.settings
            for _, line in frame.objects:
                track_id, label, _ = line.split(maxsplit=2)
                labels.setdefault(int(track_id), Counter())[int(label)] += 1
        ids = _object_ids(labels, None if class_ids is None else dict(class_ids))
        with replacing(path) as new, new.open("w", encoding="utf-8") as file:
            for frame in reader:
                for _, line in frame.objects:
                    key, _, height, width, counts = line.decode().split()
                    if int(key) in ids:
                        object_id, class_id = ids[int(key)]
                        file.write(
                            f"{frame.index + first_frame} {object_id} {class_id} {height} {width} {counts}\n"
                        )
        if not keep:
            partial.unlink()
        return reader.kept


def _object_ids(
    labels: Mapping[int, Counter[int]], class_ids: Mapping[int, int] | None
) -> dict[int, tuple[int, int]]:
    """The object id and class id of each track, by track id; tracks of classes that are left out are not in it."""
    instances: Counter[int] = Counter()
    numbers = {}
    for track_id, counts in labels.items():
        label = majority(counts)
        class_id = label + 1 if class_ids is None else class_ids.get(label)
        if class_id is not None:
            instances[class_id] += 1
            numbers[track_id] = (class_id, instances[class_id])
    most = max(instances.values(), default=0)
    factor = max(1000, 10 ** len(str(most)))
    return {
        track_id: (class_id * factor + number, class_id)
        for track_id, (class_id, number) in numbers.items()
    }


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
