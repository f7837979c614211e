"""Reads annotated videos: files in the layout of YouTube-VIS 2019, 2021, 2022 and OVIS."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sipvideo.annotations import Json, to_rle
from sipvideo.data.coco import CACHE_BYTES
from sipvideo.data.instances import (
    AnnotationFile,
    Instance,
    Labels,
    SampleCache,
    checked_mask,
    make_sample,
    needed,
    unique,
)
from sipvideo.data.pictures import VIDEO_SUFFIXES, Picture, VideoFiles, find_pictures
from sipvideo.data.sample import Sample
from sipvideo.errors import DatasetError
from sipvideo.structures import Frame

FPS = 6.0
"""Annotated frames per second of YouTube-VIS: every fifth of 30."""


class Track(NamedTuple):
    """One object of a video.

    Attributes:
        id: of the annotation.
        label: 0..C-1 or UNKNOWN.
        crowd: whether it stands for several objects.
        segmentations: polygons, RLE or None per frame.
        occlusion: OVIS' word per frame, None where the file has none.
    """

    id: int
    label: int
    crowd: bool
    segmentations: list[Any]
    occlusion: list[str | None] | None = None


@dataclass(frozen=True, eq=False)
class Video:
    """One video of a file.

    Attributes:
        id: the file's own.
        size: (height, width).
        file_names: of the frames, or the video's name and a frame number each (``clip.mp4/12``).
        fps: frames per second.
        seconds: time of each frame.
        labelled: the labels that were annotated in it, None for all.
        tracks: its objects.
        movie: the video file that holds the frames, None where they are pictures.
    """

    id: int
    size: tuple[int, int]
    file_names: tuple[str, ...]
    fps: float
    seconds: tuple[float, ...]
    labelled: frozenset[int] | None = None
    tracks: list[Track] = field(default_factory=list, repr=False)
    movie: Path | None = None

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.file_names)

    def instances(self, frame: int) -> list[Instance]:
        """The objects that are annotated in a frame."""
        return [
            Instance(track.id, track.label, track.crowd, track.segmentations[frame])
            for track in self.tracks
            if track.segmentations[frame] is not None
        ]


class YouTubeVis:
    """The videos of one annotation file; as clips, its frames together with another one of their video.

    Frames are pictures in a folder or an archive, or lie in video files: a video's ``file_name`` (or its folder's
    name in ``file_names``, or its id) is then that of the video file, and ``file_names`` are the frame numbers
    (``00012.jpg`` is frame 12) or missing. A video may give its ``fps``, or the ``seconds`` of its frames.

    Args:
        annotations: path of the json file, or the file itself; ``annotations`` may be missing in it.
        images: folder, tar or zip file of the frames; by default the usual places near the file.
        split: keep only videos with this value of ``split``.
        classes: names in label order; categories with other names are left out. By default all
            categories in the file's order.
        reach: longest time between the two frames of a clip, seconds.
        cache_bytes: decoded frames kept in memory take at most this much.
        upright: apply orientation marks also where a picture has the annotated size either way.

    Attributes:
        classes: names in label order.
        category_ids: the file's id of each label, None where the file has no such category.
        videos: in the file's order.

    Raises:
        DatasetError: unreadable or inconsistent file, missing frames, unknown split.
    """

    def __init__(
        self,
        annotations: str | Path | AnnotationFile,
        images: str | Path | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        *,
        reach: float = float("inf"),
        cache_bytes: int = CACHE_BYTES,
        upright: bool = True,
    ) -> None:
        file = AnnotationFile.load(annotations)
        self.path = file.path
        self.reach = reach
        self._cache = SampleCache(cache_bytes)
        self._movies = VideoFiles()
        try:
            labels = Labels(file.content["categories"], classes)
            self.classes, self.category_ids = labels.names, labels.category_ids
            entries = file.entries(split)
            example = _example(entries)
            self._files = find_pictures(self.path, images, example, split, upright=upright)
            self.videos = tuple(self._video(entry, labels) for entry in entries)
            self._add_tracks(file.content.get("annotations") or [], labels, file.entries(None))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{self.path}: not a YouTube-VIS file: {what}") from error
        self._frames = [(v, k) for v, video in enumerate(self.videos) for k in range(video.length)]
        self._objects = [
            sum(i.is_object for i in v.instances(k)) for v in self.videos for k in range(v.length)
        ]
        self._check_files()

    def _video(self, entry: Json, labels: Labels) -> Video:
        where = f"{self.path}: video {entry['id']}"
        size = needed(entry, "height", where), needed(entry, "width", where)
        names = entry.get("file_names")
        movie = None
        if names is None or str(names[0]) not in self._files:
            movie = _movie(self._files.where, entry, str(names[0]) if names else "0")
        if names is None:
            if movie is None:
                raise DatasetError(f"{where}: neither file_names nor a video file of that name")
            names = range(needed(entry, "length", where))
        if movie is not None and not all(_is_number(str(name)) for name in names):
            raise DatasetError(f"{where}: file_names: expected frame numbers of {movie.name}")
        fps = entry.get("fps", FPS)
        seconds = entry.get("seconds")
        if seconds is None:
            seconds = [index / fps for index in range(len(names))]
        elif len(seconds) != len(names):
            raise DatasetError(
                f"{where}: seconds: expected {len(names)}, one per frame, got {len(seconds)}"
            )
        return Video(
            id=entry["id"],
            size=size,
            file_names=tuple(str(name) for name in names),
            fps=fps,
            seconds=tuple(seconds),
            labelled=labels.labelled(entry),
            tracks=[],
            movie=movie,
        )

    def _add_tracks(self, annotations: list[Json], labels: Labels, entries: list[Json]) -> None:
        known = unique(entries, "video")
        video_of = {video.id: video for video in self.videos}
        unique(annotations, "annotation")
        for annotation in annotations:
            where = f"{self.path}: annotation {annotation['id']}"
            owner = needed(annotation, "video_id", where)
            if owner not in known:
                raise DatasetError(f"{where}: there is no video {owner}")
            label = labels.of(annotation, where)
            video = video_of.get(owner)
            if video is None or label is None:
                continue
            where += f" (video {owner})"
            masks = needed(annotation, "segmentations", where)
            if len(masks) != video.length:
                raise DatasetError(
                    f"{where}: expected {video.length} segmentations, one per frame, got {len(masks)}"
                )
            crowd = bool(annotation.get("iscrowd", 0))
            kept = [_slim(mask, video.size, f"{where}, frame {k}") for k, mask in enumerate(masks)]
            video.tracks.append(
                Track(annotation["id"], label, crowd, kept, annotation.get("occlusion"))
            )

    def _check_files(self) -> None:
        names = [n for video in self.videos for n in video.file_names if video.movie is None]
        self._files.expect(names, self.path, "frames")

    def frames(self, video: Video) -> Iterator[Frame]:
        """The frames of one of the videos, in order.

        Raises:
            DatasetError: a frame cannot be read or has another size than the file says.
        """
        for index, name in enumerate(video.file_names):
            yield Frame(self._picture(video, index), index, video.seconds[index], name)

    def __len__(self) -> int:
        """Number of frames of all videos."""
        return len(self._frames)

    def name(self, index: int) -> str:
        """A frame's file name."""
        which, frame = self._frames[index]
        return self.videos[which].file_names[frame]

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of a frame, without reading it."""
        return self.videos[self._frames[index][0]].size

    def count(self, index: int) -> int:
        """Number of annotated objects of a frame, crowds not counted."""
        return self._objects[index]

    def __getitem__(self, index: int) -> Sample:
        """A frame and its masks.

        Raises:
            DatasetError: the frame cannot be decoded or has another size, or a mask is malformed.
        """
        return self._cache.get(index, self._sample)

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """A frame and, drawn evenly, another one with objects within ``reach``; itself if there is none."""
        which, frame = self._frames[index]
        video, first = self.videos[which], index - frame
        steps = int(min(video.length, self.reach * video.fps + 1e-6))
        near = range(max(0, frame - steps), min(video.length, frame + steps + 1))
        others = [first + k for k in near if k != frame and self._objects[first + k]]
        other = others[int(rng.integers(len(others)))] if others else index
        return self[index], self[other]

    def _sample(self, index: int) -> Sample:
        which, frame = self._frames[index]
        video = self.videos[which]
        image = self._picture(video, frame)
        where = f"{self.path}: video {video.id}, frame {frame}"
        return make_sample(image, video.instances(frame), video.labelled, where)

    def _picture(self, video: Video, frame: int) -> Picture:
        name = video.file_names[frame]
        if video.movie is not None:
            return self._movies.read(video.movie, int(Path(name).stem), video.size)
        return self._files.read(name, video.size)


def _example(entries: list[Json]) -> str:
    """The name of one picture, empty where there are no videos."""
    names = (str((entry.get("file_names") or [entry.get("file_name", "")])[0]) for entry in entries)
    return next(names, "")


def _is_number(name: str) -> bool:
    """Whether a frame's name is its number in a video file."""
    stem = Path(name).stem
    return stem.isascii() and stem.isdecimal() and len(stem) < 10


def _movie(folder: Path, entry: Json, first: str) -> Path | None:
    """The video file that holds a video's frames, if there is one."""
    if not _is_number(first):
        return None
    named = [str(entry[key]) for key in ("file_name", "name") if entry.get(key)]
    named += [str(Path(first).parent)] if str(Path(first).parent) != "." else []
    for name in [*named, str(entry["id"])]:
        for suffix in ("", *VIDEO_SUFFIXES):
            path = folder / (name + suffix)
            if path.suffix.lower() in VIDEO_SUFFIXES and os.path.isfile(path):
                return path
    return None


def _slim(segmentation: Any, size: tuple[int, int], where: str) -> Any:
    """A mask, checked, in little memory: run lists become compressed text; None where there is none."""
    if segmentation is None or segmentation == {}:
        return None
    found = checked_mask(segmentation, size, where)
    if not isinstance(found, dict) or not isinstance(found["counts"], list):
        return found
    return {"size": list(size), "counts": to_rle(found, size)["counts"].decode("ascii")}
