"""A training on corrections, in a process of its own, and whether it helped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from sipvideo.annotations import Json
from sipvideo.build import DEFAULT_MODEL
from sipvideo.errors import SipVideoError
from sipvideo.studio.lessons import Lessons
from sipvideo.studio.scores import Progress, precision

WEIGHT = 4
"""How often a corrected frame is drawn for one of the others."""
RISE = 0.005
"""Mask AP by which a learnt model must be better. It is told with three digits, so that less may be rounding; and on
a few held-out frames single matches that change sides give as much."""
UNLEARNT = 0.01
"""Box AP that may be lost on pictures that the model shall not unlearn."""
SCORE = "postprocess.score_threshold=0.05"
"""Average precision needs low scores, too."""


@dataclass(frozen=True)
class Course:
    """A training on corrections.

    Attributes:
        model: of the package, one of ``sipvideo.build.MODELS``.
        weights: to start from; None: those of the package.
        known: annotated pictures that the model shall not unlearn: shown in training; None: there are none.
        kept: annotated pictures on which is measured whether it has; None: there are none.
        steps: length; None: the recipe's.
    """

    model: str = DEFAULT_MODEL
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
