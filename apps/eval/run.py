"""A model's results on a dataset, saved part by part: a run that was stopped goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from sipvideo.apps import command
from sipvideo.apps.eval.parts import Json, Part
from sipvideo.apps.progress import Progress
from sipvideo.errors import ConfigError, DatasetError, SinkError, SipVideoError, contained

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter

RESULTS, ZIP, SCORES = "results.json", "results.zip", "scores.json"
PAGE, COMPARISON = "report.html", "comparison.json"
"""What users find in the folder."""

SETTINGS = "run.json"
PARTS = "parts"


@dataclass(frozen=True)
class ClassMap:
    """Which category of a dataset each class of a model is.

    Attributes:
        names: of the model, in label order.
        category_ids: the dataset's id for each label, None where it has no such category.
        unknown: the dataset's names that the model does not know.
    """

    names: tuple[str, ...]
    category_ids: tuple[Any | None, ...]
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], categories: Sequence[Mapping[str, Any]]) -> ClassMap:
        """By name; case, and whether words are parted by spaces, hyphens or underscores, do not matter."""
        ids = {_words(str(c["name"])): c["id"] for c in reversed(categories)}
        known = {_words(name) for name in names}
        unknown = tuple(str(c["name"]) for c in categories if _words(str(c["name"])) not in known)
        return cls(tuple(names), tuple(ids.get(_words(name)) for name in names), unknown)

    @property
    def missing(self) -> tuple[str, ...]:
        """The model's names that the dataset lacks."""
        pairs = zip(self.names, self.category_ids, strict=True)
        return tuple(name for name, key in pairs if key is None)


def _words(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


class SavedParts:
    """A folder with one file of results for each part, and the settings that they were made with.

    Args:
        folder: of the run; made if need be.
        settings: what determines the results.
        restart: forget what an earlier run left there.

    Raises:
        ConfigError: the folder holds results of other settings.
        SinkError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: Json, *, restart: bool) -> None:
        self.folder = folder
        with writing(folder):
            if restart and (folder / SETTINGS).is_file():
                shutil.rmtree(folder / PARTS, ignore_errors=True)
                (folder / SETTINGS).unlink()
            (folder / PARTS).mkdir(parents=True, exist_ok=True)
        if (folder / SETTINGS).is_file():
            self._check(settings)
        else:
            write_json(folder / SETTINGS, settings)

    def _check(self, settings: Json) -> None:
        old = _read(self.folder / SETTINGS)
        for key, value in settings.items():
            if old.get(key) != value:
                raise ConfigError(
                    f"{self.folder}: holds results of {key} {old.get(key)}, not {value};"
                    " choose another --output, or --restart to begin anew"
                )

    def _path(self, part: Part) -> Path:
        return self.folder / PARTS / f"{part.key}.json"

    def has(self, part: Part) -> bool:
        """Whether a part is done."""
        return self._path(part).is_file()

    def save(self, part: Part, classes: ClassMap, seconds: float) -> None:
        """Saves a part's results; its file is whole or not there."""
        results, left_out = [], Counter[str]()
        for label, entry, labelled in part.results():
            key = classes.category_ids[label]
            if key is None:
                left_out[classes.names[label]] += 1
            elif labelled is None or key in labelled:
                results.append({**entry, "category_id": key})
        content = {"frames": part.length, "seconds": seconds, "left_out": left_out}
        write_json(self._path(part), {**content, "results": results})

    def merge(self, parts: Sequence[Part]) -> Json:
        """Writes all results as one file; returns the run's figures: frames, seconds, results, left_out."""
        frames, seconds, count = 0, 0.0, 0
        left_out: Counter[str] = Counter()
        path = self.folder / RESULTS
        partial = path.with_name(f".{path.name}.partial")
        with writing(path), partial.open("w", encoding="utf-8") as file:
            file.write("[")
            for part in parts:
                content = _read_part(self._path(part))
                frames, seconds = frames + content["frames"], seconds + content["seconds"]
                left_out.update(content["left_out"])
                for entry in content["results"]:
                    file.write((",\n" if count else "") + json.dumps(entry))
                    count += 1
            file.write("]\n")
        with writing(path):
            partial.replace(path)
        fps = frames / seconds if seconds else 0.0
        run = {"frames": frames, "seconds": seconds, "fps": fps, "results": count}
        return {**run, "left_out": dict(left_out.most_common())}


def run_parts(
    parts: Sequence[Part],
    saved: SavedParts,
    segmenter: VideoSegmenter,
    classes: ClassMap,
    stop: command.Stop,
    *,
    quiet: bool,
) -> int:
    """Segments the parts that are missing, until a signal comes: the part at work is then given up.

    Returns:
        how many parts failed, each told in one line; the others are saved.
    """
    failed = 0
    missing = [part for part in parts if not saved.has(part)]
    if len(missing) < len(parts) and not quiet:
        command.note(f"{len(parts) - len(missing)} of {len(parts)} parts are done already")
    with Progress("", sum(part.length for part in missing), quiet) as progress:
        for part in missing:
            progress.rename(part.title)
            started = time.perf_counter()
            try:
                with contained(part.title):
                    for _ in stop.until(part.steps(segmenter)):
                        progress.advance()
            except SipVideoError as error:
                command.complain(error)
                failed += 1
                continue
            if stop.asked:
                break
            saved.save(part, classes, time.perf_counter() - started)
    return failed


def stamp(path: str | Path) -> str:
    """A file's name and what identifies its content; a text that names no file stays.

    Raises:
        DatasetError: the file cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        return str(path)
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror}") from error
    return f"{file.name} (sha256 {digest.hexdigest()[:16]})"


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes a file that is whole or not there; numpy's numbers become plain ones.

    Raises:
        SinkError: it cannot be written.
    """
    write_text(path, json.dumps(content, indent=indent, default=lambda value: value.item()) + "\n")


def write_text(path: Path, content: str) -> None:
    """As :func:`write_json`, for text."""
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A failure of the disk becomes one line.

    Raises:
        SinkError: with that line.
    """
    try:
        yield
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error


def _read(path: Path) -> Json:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: damaged ({error}); remove it and run again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: damaged; remove it and run again")
    return content


class _PartFile(BaseModel):
    """What :meth:`SavedParts.save` writes."""

    frames: int
    seconds: float
    left_out: dict[str, int]
    results: list[Json]


def _read_part(path: Path) -> Json:
    content = _read(path)
    try:
        return _PartFile.model_validate(content).model_dump()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise DatasetError(f"{path}: damaged ({place}); remove it and run again") from error
