"""Looks through an annotated data set for everything that makes a training or a score go wrong.

Unlike the readers it does not stop at the first problem, and believes nothing that the file says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sipvideo.annotations import Json, place_of
from sipvideo.data.coco import CocoPictures
from sipvideo.data.dataset import open_dataset
from sipvideo.data.findings import Findings
from sipvideo.data.instances import AnnotationFile
from sipvideo.data.mask_check import MaskCheck, files, short
from sipvideo.data.pictures import find_pictures
from sipvideo.data.youtube_vis import YouTubeVis
from sipvideo.errors import DatasetError
from sipvideo.pictures import Decoded

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""Passes items on and shows how far they are; the text says what they are."""
PICTURE_LIMITS = (32**2, 96**2)
VIDEO_LIMITS = (128**2, 256**2)
"""Areas where small ends and large begins: COCO's and YouTube-VIS'."""


@dataclass
class Summary:
    """What a data set holds.

    Attributes:
        videos: whether it holds videos.
        entries: number of pictures or videos.
        frames: number of pictures of all of them.
        objects: objects per category name (tracks for videos), crowds not counted.
        masks: masks per category name, crowds not counted.
        crowds: number of crowds.
        sizes: number of small, medium and large objects, by COCO's limits or YouTube-VIS' (mean area of a track).
        lengths: frames of each video.
        shapes: how often each picture size (height, width) occurs.
        splits: how many pictures or videos each value of 'split' has.
        partly: number of pictures or videos where only some categories were annotated.
    """

    videos: bool
    entries: int = 0
    frames: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)
    crowds: int = 0
    sizes: list[int] = field(default_factory=lambda: [0, 0, 0])
    lengths: list[int] = field(default_factory=list)
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    partly: int = 0


class DatasetCheck:
    """Checks one annotation file with its pictures.

    Args:
        path: of the file.
        images: as for the readers.
        split: as for the readers.
        decode: most pictures to decode, spread evenly; None for all.
        progress: told what is being done.
        upright: as for the readers.

    Attributes:
        findings: what is wrong.
        summary: what is there.
        source: the opened data set; None if the reader refuses it.

    Raises:
        DatasetError: the file is no JSON object, has neither pictures nor videos, or no such split.
    """

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        split: str | None = None,
        decode: int | None = None,
        progress: Progress = lambda items, what: items,
        *,
        upright: bool = True,
    ) -> None:
        self._upright = upright
        self.findings = Findings()
        self._told: set[str] = set()
        self.file = AnnotationFile.load(path, self._problem, self._changed)
        self._progress = progress
        self.summary = Summary(self.file.of_videos)
        self.source: CocoPictures | YouTubeVis | None = None
        self._list = "videos" if self.file.of_videos else "images"
        if self.file.content.get(self._list) is None or self._list in self._told:
            raise DatasetError(
                f"{self.file.path}: expected a list 'images' (COCO) or 'videos' (YouTube-VIS)"
            )
        self._masks = MaskCheck(self.findings, self.file.of_videos)
        self._kind = "video" if self.file.of_videos else "picture"
        self._names = self._categories()
        self._entries = self._read_entries(split)
        self._annotations()
        self._conclude()
        self._pictures(images, split, decode)
        self._open(images, split)

    @property
    def usable(self) -> bool:
        """Whether training and evaluation can work with it."""
        return not self.findings.count("error")

    def _problem(self, name: str, where: str, what: str) -> None:
        """A field of the file that cannot be read."""
        kind = {"categories": "category", "annotations": "annotation"}.get(name, "entry")
        mask = kind == "annotation" and what.startswith("segmentation")
        self.findings.add(f"{'mask' if mask else kind} malformed", f"{where}: {what}")
        self._told.add(where)

    def _changed(self, name: str, where: str, what: str) -> None:
        """A field that is read otherwise than it is written."""
        self.findings.add("other type", f"{where}: {what}")

    def _categories(self) -> dict[int, str]:
        names: dict[int, str] = {}
        categories = self.file.content.get("categories") or []
        for place, category in enumerate(categories):
            key, name = category.get("id"), category.get("name")
            where = place_of("categories", place, category)
            if key is None or name is None:
                if where not in self._told:
                    self.findings.add("category malformed", f"{where}: {short(category)}")
            elif key in names or name in names.values():
                self.findings.add("category twice", f"{key} {name}")
            else:
                names[key] = name
        if not categories:
            self.findings.add("no categories", "the list is missing or empty")
        if names and list(names) != list(range(1, len(names) + 1)):
            self.findings.add("categories not in order", f"ids {short(list(names))}")
        return names

    def _read_entries(self, split: str | None) -> dict[int, Json]:
        everything = self.file.content[self._list]
        chosen = self.file.entries(split) if split is not None else everything
        self.summary.splits.update(str(e["split"]) for e in everything if "split" in e)
        entries: dict[int, Json] = {}
        self._listed: set[Any] = {e.get("id") for e in everything} - {None}
        for place, entry in enumerate(chosen):
            where = place_of(self._list, place, entry)
            key = entry.get("id")
            if key is not None and key in entries:
                self.findings.add("entry twice", where)
                continue
            lacking = [name for name in ("id", "height", "width") if name not in entry]
            if self.summary.videos:
                lacking += self._check_video(entry, where)
            elif "file_name" not in entry:
                lacking.append("file_name")
            if lacking or key is None:
                if where not in self._told:
                    self.findings.add("entry malformed", f"{where}: {', '.join(lacking)}")
                continue
            entries[key] = entry
            self._check_labelled(entry, where)
            self.summary.shapes[entry["height"], entry["width"]] += 1
        if not chosen:
            self.findings.add("no entries", "the list is empty")
        if self.summary.videos and list(entries) != list(range(1, len(entries) + 1)):
            self.findings.add("ids not in order", f"ids {short(list(entries))}")
        self.summary.entries = len(entries)
        self.summary.frames = sum(_frames(entry) for entry in entries.values())
        return entries

    def _check_video(self, entry: Json, where: str) -> list[str]:
        """Fields that a video lacks."""
        names, length = entry.get("file_names"), entry.get("length")
        if names is None and length is None:
            return ["file_names"]
        if names is not None and length is not None and length != len(names):
            self.findings.add("wrong length", f"{where}: {length}, {len(names)} file names")
        frames = _frames(entry)
        if names is not None and frames == 1:
            self.findings.add("one frame", where)
        seconds = entry.get("seconds")
        if seconds is not None and len(seconds) != frames:
            self.findings.add("length differs", f"{where}: seconds {len(seconds)}, frames {frames}")
        self.summary.lengths.append(frames)
        return []

    def _check_labelled(self, entry: Json, where: str) -> None:
        labelled = entry.get("labelled_categories")
        known = set(self._names.values())
        self.summary.partly += labelled is not None
        for name in labelled or ():
            if name not in known:
                self.findings.add("unknown labelled category", f"{where}: {name}")

    def _annotations(self) -> None:
        annotations = self.file.content.get("annotations") or []
        if not annotations:
            self.findings.add("no annotations", "the list is missing or empty")
        seen: set[int] = set()
        self._annotated: set[int] = set()
        self._good: list[Json] = []
        for place, annotation in enumerate(self._progress(annotations, "annotations")):
            key = annotation.get("id")
            where = place_of("annotations", place, annotation)
            owner = annotation.get("video_id" if self.summary.videos else "image_id")
            before = self.findings.errors
            if key is None:
                if where not in self._told:
                    self.findings.add("annotation malformed", f"{where}: id")
            elif key in seen:
                self.findings.add("annotation id twice", where)
            elif key == 0:
                self.findings.add("annotation id 0", where)
            if key is not None:
                seen.add(key)
            if owner not in self._listed:
                self.findings.add("unknown entry", f"{where}: {self._kind} {owner}")
            elif owner in self._entries:
                self._check_annotation(annotation, self._entries[owner], where)
            if self.findings.errors == before and where not in self._told:
                self._good.append(annotation)

    def _check_annotation(self, annotation: Json, entry: Json, where: str) -> None:
        named, where = where, f"{where} ({self._kind} {entry['id']})"
        category = annotation.get("category_id", "missing")
        if category is None:
            self.findings.add("unknown class", where)
        elif category not in self._names:
            self.findings.add("unknown category", f"{where}: category {category}")
        if "iscrowd" not in annotation:
            self.findings.add("no iscrowd", where)
        areas = self._masks.areas(annotation, entry, where, told=named in self._told)
        if areas is None:
            return
        name = self._names.get(category)
        if annotation.get("iscrowd", 0) or name is None:
            self.summary.crowds += 1
            return
        self._annotated.add(entry["id"])
        self.summary.objects[name] += 1
        self.summary.masks[name] += len(areas)
        limits = VIDEO_LIMITS if self.summary.videos else PICTURE_LIMITS
        mean = sum(areas) / max(len(areas), 1)
        self.summary.sizes[sum(mean > limit for limit in limits)] += 1

    def _conclude(self) -> None:
        """Findings about the set as a whole."""
        if "no annotations" in self.findings:
            return
        for name in self._names.values():
            count = self.summary.objects[name]
            if not count:
                self.findings.add("empty category", name)
            elif count < 10:
                self.findings.add("rare category", f"{name} ({count})")
        for key in self._entries:
            if key not in self._annotated:
                self.findings.add("nothing annotated", f"{self._kind} {key}")
        least = 20 if self.summary.videos else 100
        if len(self._entries) < least:
            self.findings.add("small set", f"{len(self._entries)} {self._kind}s")

    def _pictures(self, images: str | Path | None, split: str | None, decode: int | None) -> None:
        """Looks for all pictures and decodes some; frames in video files are left to the reader."""
        names = [
            (name, entry)
            for entry in self._entries.values()
            for name in files(entry, self.summary.videos)
        ]
        if not names:
            return
        try:
            found = find_pictures(self.file.path, images, names[0][0], split, upright=self._upright)
        except DatasetError as error:
            self.findings.add("picture missing", str(error), len(names))
            return
        there = [item for item in names if item[0] in found]
        for name, count in Counter(name for name, _ in there).items():
            if count > 1:
                self.findings.add("file twice", f"{name} ({count} times)")
        movies = self.summary.videos and not there
        for name, _ in [] if movies else names:
            if problem := found.problem(name):
                self.findings.add("picture missing", f"{found.where / name}: {problem}")
        step = 1 if decode is None else max(1, -(-len(there) // max(decode, 1)))
        for name, entry in self._progress(
            there[:: step if decode != 0 else len(there) + 1][:decode], "pictures"
        ):
            try:
                picture = found.decoded(name)
            except DatasetError as error:
                self.findings.add("picture damaged", str(error))
                continue
            self._check_picture(picture, entry, name)

    def _check_picture(self, picture: Decoded, entry: Json, name: str) -> None:
        size = entry["height"], entry["width"]
        sizes = picture.stored.shape[:2], picture.upright_size
        if size not in sizes:
            expected, (height, width) = f"expected {size[1]} x {size[0]}", picture.upright_size
            self.findings.add("picture size", f"{name}: {expected}, got {width} x {height}")
        elif picture.mark > 1 and sizes[0] == sizes[1]:
            self.findings.add("orientation unclear", f"{name}: mark {picture.mark}")
        elif picture.mark > 1:
            how = "applied" if size == picture.upright_size else "not applied"
            self.findings.add("orientation", f"{name}: mark {picture.mark}, {how}")
        if picture.frames > 1 or picture.pages > 1:
            count = max(picture.frames, picture.pages)
            self.findings.add("several pictures", f"{name}: {count}")

    def _open(self, images: str | Path | None, split: str | None) -> None:
        """Opens the data set as training and evaluation do; that must not fail where nothing was found."""
        # What is wrong with single annotations was found: the others can be looked at all the same.
        good = AnnotationFile(self.file.path, {**self.file.content, "annotations": self._good})
        try:
            source = open_dataset(good, images, split, cache_bytes=0, upright=self._upright)
            if isinstance(source, YouTubeVis):
                for video in source.videos:
                    if video.movie is not None:
                        next(source.frames(video))
            self.source = source
        except DatasetError as error:
            if self.usable:
                self.findings.add("refused", str(error))


def _frames(entry: Json) -> int:
    """How many a video, or a picture, has."""
    names = entry.get("file_names")
    return len(names) if names is not None else entry.get("length", 1)
