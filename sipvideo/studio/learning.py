"""The loop closed: what corrections are worth in figures, and what the model learns from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo.annotations import Json
from sipvideo.engine import Engine
from sipvideo.errors import DatasetError, SinkError, SipVideoError
from sipvideo.evaluation import YTVOS
from sipvideo.evaluation.pictures import evaluate_pictures
from sipvideo.evaluation.replay import compared
from sipvideo.pictures import decode
from sipvideo.results_reader import SavedRun
from sipvideo.structures import Frame, FrameResult
from sipvideo.studio.document import Document

HELD_OUT = 1 / 3
"""Share of the corrected frames, the last ones, that are not trained on: what is learnt is measured there."""
FEWEST = 6
"""Corrected frames from which there is something to learn."""
OTHERS = 30
"""Frames that nobody corrected which are shown, too, so that the model keeps what was right."""
WEIGHT = 4
"""How often a corrected frame is drawn for one of the others."""
RISE = 0.005
"""Mask AP by which a learnt model must be better. It is told with three digits, so that less may be rounding; and on
a few held-out frames single matches that change sides give as much."""
UNLEARNT = 0.01
"""Box AP that may be lost on pictures that the model shall not unlearn."""
SCORE = "postprocess.score_threshold=0.05"
"""Average precision needs low scores, too."""

Progress = Callable[[float, str], None]
"""Is told which share is done, 0 to 1, and what is done now; raises to end it."""
Pictures = Callable[[int], NDArray[np.uint8]]
"""The picture of a frame of the run, uint8 [H, W, 3], RGB."""


def score(document: Document, truth: Path | None, progress: Progress) -> Json:
    """Tracking figures of the run before and after its edits, all classes as one.

    Args:
        document: the run with its edits.
        truth: annotations in YouTube-VIS format, one video as long as the run or named as it; None: the edits are the
            truth, and what is after them is right by definition.
        progress: is told how far it is.

    Returns:
        ``{"truth": "annotations" | "edits", "before": {...}, "after": {...}}``: hota, det_a, ass_a, idf1, id_switches.

    Raises:
        DatasetError: the annotations cannot be read, or hold no such video.
    """
    count = document.table.frame_count
    height, width = document.table.size(0)
    before = _tracks(SavedRun(document.folder).results(), count, lambda s: progress(s / 3, "run"))
    after = _tracks(document.results(), count, lambda s: progress((1 + s) / 3, "edits"))
    right = after if truth is None else _annotated(truth, document.folder.name, count)
    shape = height, width, count
    figures = {}
    for name, found in (("before", before), ("after", after)):
        progress(0.7 if name == "before" else 0.85, "figures")
        scores = compared(right, found, shape).scores()
        names = ("hota", "det_a", "ass_a", "idf1", "id_switches")
        figures[name] = {key: round(float(getattr(scores, key)), 4) for key in names}
    return {"truth": "edits" if truth is None else "annotations", **figures}


def _tracks(
    results: Iterator[FrameResult], count: int, progress: Callable[[float], None]
) -> list[list[Json | None]]:
    """One row of masks by frame for each identity."""
    found: dict[int, list[Json | None]] = {}
    for n, result in enumerate(results):
        for k, track_id in enumerate(result.track_ids.tolist()):
            if track_id >= 0:
                row = found.setdefault(track_id, [None] * count)
                row[n] = result.detections.masks.rle(k)
        if n % 50 == 0:
            progress(n / count)
    return [found[key] for key in sorted(found)]


def _annotated(path: Path, name: str, count: int) -> list[list[Json | None]]:
    """The tracks of the video of that name, or of the only one that is as long."""
    file = YTVOS(path)
    videos = [v for v in file.vids.values() if int(v["length"]) == count]
    named = [v for v in videos if name in str(v["file_names"][0])]
    chosen = named or videos
    if len(chosen) != 1:
        raise DatasetError(
            f"{path}: expected one video of {count} frames, or one named {name!r}; found {len(chosen)}"
        )
    return [one["segmentations"] for one in file.vidToAnns[chosen[0]["id"]]]


@dataclass(frozen=True)
class Lessons:
    """Frames of a run as pictures with annotations in COCO's format.

    Attributes:
        corrected, others, held_out: annotation files: frames to learn from that somebody corrected, some that nobody
            did, and corrected ones on which is measured.
        counts: pictures of each.
    """

    corrected: Path
    others: Path
    held_out: Path
    counts: tuple[int, int, int]


def lessons(document: Document, picture: Pictures, folder: Path, progress: Progress) -> Lessons:
    """Writes the corrected frames of a run, and some others, for a training.

    In frames that are held out, objects that nobody corrected count neither way: they are the model's own.

    Raises:
        DatasetError: too few frames were corrected.
        SinkError: they cannot be written.
    """
    edited = _corrected_frames(document)
    if len(edited) < FEWEST:
        raise DatasetError(
            f"{len(edited)} frames are corrected: at least {FEWEST} are needed to learn from"
        )
    held = max(1, round(len(edited) * HELD_OUT))
    kept, last = edited[:-held], edited[-held:]
    rest = np.setdiff1d(np.arange(last[0]), edited)
    others = rest[np.linspace(0, len(rest) - 1, min(OTHERS, len(rest))).astype(int)].tolist()
    parts = (("corrected", kept), ("others", others), ("held_out", last))
    total, done = len(kept) + len(others) + len(last), 0
    try:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        for name, frames in parts:
            content = _content(document)
            for frame in frames:
                _add(content, document, frame, crowds=name == "held_out")
                image = Image.fromarray(picture(frame))
                image.save(folder / "pictures" / f"{frame:08d}.jpg", quality=95)
                done += 1
                progress(done / total, "pictures")
            (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error
    corrected, rest_of, held_out = (folder / f"{name}.json" for name, _ in parts)
    return Lessons(corrected, rest_of, held_out, (len(kept), len(others), len(last)))


def _corrected_frames(document: Document) -> list[int]:
    """Frames with a mask that somebody drew, ascending."""
    with document.lock:
        table = document.table
        rows = table.alive
        frames = np.unique(table.frames[rows[rows >= table.base]])
    return [int(frame) for frame in frames]


def _content(document: Document) -> Json:
    names = document.class_names
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    return {"images": [], "annotations": [], "categories": categories}


def _add(content: Json, document: Document, frame: int, *, crowds: bool) -> None:
    with document.lock:
        table = document.table
        rows = [row for row in table.in_frame(frame) if row >= table.base]
        drawn = {int(table.ids[row]) for row in rows}
        record = next(document.records(frame, 1))
    height, width = record["size"]
    number = len(content["images"]) + 1
    name = f"pictures/{frame:08d}.jpg"
    content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
    for one in record["objects"]:
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1,
                "image_id": number,
                "category_id": one["label"] + 1,
                "segmentation": one["segmentation"],
                "bbox": one["bbox"],
                "area": one["bbox"][2] * one["bbox"][3],
                "iscrowd": int(crowds and one["track_id"] not in drawn),
            }
        )


def precision(engine: Engine, names: Sequence[str], annotations: Path, progress: Progress) -> Json:
    """Average precision of masks and boxes on annotated pictures, and their number.

    Args:
        engine: with a low threshold of scores.
        names: its classes in label order; classes that the annotations do not have do not count.
        annotations: in COCO's format, file names relative to it or below ``images`` beside it.
        progress: is told how far it is.

    Raises:
        DatasetError: annotations or pictures cannot be read.
    """
    try:
        content = json.loads(annotations.read_text("utf-8"))
        ids = {one["name"]: one["id"] for one in content["categories"]}
        images = [(int(one["id"]), str(one["file_name"])) for one in content["images"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{annotations}: no annotations in COCO's format: {error}") from error
    results: list[Json] = []
    for k, (number, name) in enumerate(images):
        image = decode(_file_of(annotations, name).read_bytes()).upright
        found = engine.detect([Frame(image, k, 0.0)])[0]
        ranks = found.scores if found.mask_scores is None else found.mask_scores
        for row, label in enumerate(found.labels.tolist()):
            if names[label] not in ids:
                continue
            x0, y0, x1, y1 = found.boxes[row].tolist()
            results.append(
                {
                    "image_id": number,
                    "category_id": ids[names[label]],
                    "score": float(found.scores[row]),
                    "mask_score": float(ranks[row]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": found.masks.rle(row),
                }
            )
        progress((k + 1) / len(images), "measuring")
    mask, box = (evaluate_pictures(content, results, kind) for kind in ("segm", "bbox"))
    return {"mask_ap": round(mask.ap, 4), "box_ap": round(box.ap, 4), "pictures": len(images)}


def _file_of(annotations: Path, name: str) -> Path:
    """A picture by its name in an annotation file: beside it or below. Raises DatasetError."""
    folder = annotations.parent
    for place in (folder / name, folder / "images" / name):
        if place.is_file():
            return place
    found = next(folder.rglob(Path(name).name), None)
    if found is None:
        raise DatasetError(f"{annotations}: its picture {name} is not beside it")
    return found


@dataclass(frozen=True)
class Course:
    """A training on corrections.

    Attributes:
        model: of the package, ``nano`` or ``small``.
        weights: to start from; None: those of the package.
        known: annotated pictures that the model shall not unlearn: shown in training; None: there are none.
        kept: annotated pictures on which is measured whether it has; None: there are none.
        steps: length; None: the recipe's.
    """

    model: str = "nano"
    weights: Path | None = None
    known: Path | None = None
    kept: Path | None = None
    steps: int | None = None


def learn(
    found: Lessons, course: Course, folder: Path, progress: Progress, stop: threading.Event
) -> Json:
    """Trains in a process of its own, and measures before and after.

    A training that was stopped, or whose server ended, goes on where it was when it is asked for again in its folder.

    Returns:
        ``{"weights": path, "better": bool, "held_out": {"before", "after"}, "kept": {...} | None, "trained_on": n}``.

    Raises:
        SipVideoError: the training failed: why.
    """
    weights = _train(found, course, folder, progress, stop)
    figures: Json = {}
    for k, (name, path) in enumerate((("held_out", found.held_out), ("kept", course.kept))):
        figures[name] = None
        if path is not None:
            share = 0.7 + 0.15 * k

            def told(done: float, what: str, share: float = share, name: str = name) -> None:
                progress(share + 0.15 * done, f"{what}: {name}")

            figures[name] = _compared(path, course, weights, told)
    counts = {"corrected": found.counts[0], "others": found.counts[1]}
    return {
        "weights": str(weights),
        "better": is_better(**figures),
        **figures,
        "trained_on": counts,
    }


def is_better(held_out: Json, kept: Json | None) -> bool:
    """Whether a learnt model is to be offered."""
    rise = held_out["after"]["mask_ap"] - held_out["before"]["mask_ap"]
    lost = 0.0 if kept is None else kept["before"]["box_ap"] - kept["after"]["box_ap"]
    return bool(round(rise, 4) >= RISE and round(lost, 4) <= UNLEARNT)


def _compared(path: Path, course: Course, weights: Path, progress: Progress) -> Json:
    from sipvideo.build import load

    figures = {}
    for k, (name, path_of) in enumerate((("before", course.weights), ("after", weights))):
        model = None if path_of else course.model
        ready = load(weights=path_of, model=model, overrides=[SCORE])

        def told(done: float, what: str, k: int = k) -> None:
            progress((k + done) / 2, what)

        figures[name] = precision(ready.engine, ready.class_names, path, told)
    return figures


def _train(
    found: Lessons, course: Course, folder: Path, progress: Progress, stop: threading.Event
) -> Path:
    result = folder / "model.safetensors"
    order = [sys.executable, "-m", "sipvideo.apps.main", "train", "corrections"]
    order += ["--data", f"{found.corrected}={WEIGHT}", "--model", course.model]
    if found.counts[1]:
        order += ["--data", f"{found.others}=1"]
    if course.known is not None:
        order += ["--data", f"{course.known}={WEIGHT}"]
    if course.weights is not None:
        order += ["--weights", str(course.weights)]
    if course.steps is not None:
        order += ["--steps", str(course.steps)]
    order += ["--device", "auto", "-o", str(folder)]
    said: list[str] = []
    # Whoever watches the video at the same time goes first.
    with subprocess.Popen(
        [*_politely(), *order],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            _follow(process, course, said, progress, stop)
        except BaseException:
            process.terminate()
            raise
    if process.returncode or not result.is_file():
        raise SipVideoError(f"training: {said[-1] if said else 'ended without a word'}")
    return result


def _politely() -> list[str]:
    return ["nice", "-n", "10"] if os.name == "posix" else []


def _follow(
    process: subprocess.Popen[str],
    course: Course,
    said: list[str],
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Reads what the training says until it ends; raises what ``progress`` raises."""
    assert process.stdout is not None
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            if stop.is_set():
                process.terminate()
                return

    watcher = threading.Thread(target=watch, name="learning", daemon=True)
    watcher.start()
    try:
        for line in process.stdout:
            text = line.strip()
            if text:
                said.append(text)
                progress(_share(text), text)
    finally:
        ended.set()
        watcher.join()
    progress(0.7, "trained")


def _share(line: str) -> float:
    """How far a training is by its line ``step 12/60 ...``, as a share of the whole."""
    words = line.replace("/", " ").split()
    if len(words) > 2 and words[0] == "step" and words[1].isdigit() and words[2].isdigit():
        return 0.7 * int(words[1]) / max(int(words[2]), 1)
    return 0.0
