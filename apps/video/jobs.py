"""Entries of a run as jobs: what the command line asks of all, and an entry of its own."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sipvideo import __version__
from sipvideo.apps import flags
from sipvideo.errors import SinkError
from sipvideo.files import is_pattern, matches
from sipvideo.jobs import Entry, Job, storage
from sipvideo.remote import shown
from sipvideo.showing import ShowingOptions, with_stamps

AHEAD = 3
"""Batches that are read and segmented ahead of time: what keeps every thread busy, and little memory at 4K."""

OPTIONS = {
    "from": "start",
    "to": "end",
    "every": "every",
    "max_frames": "max_frames",
    "fps": "fps",
    "lookahead": "lookahead",
    "save": "save",
    "classes": "classes",
    "draw": "draw",
    "show_classes": "show_classes",
    "labels": "labels",
    "trails": "trails",
    "background": "background",
    "zones": "zones",
}
"""What an entry may have of its own, and where the command line has it for all."""

USUAL = {"start": 0.0, "end": None, "every": 1, "max_frames": None, "lookahead": 0.0, "classes": ()}
"""Settings that are told only where they are others, so that runs before these flags were there compare equal."""


class JobMaker:
    """Makes the job of an entry.

    Args:
        args: the command line.
        model: settings of the segmenter; with the classes where they are the same for all.
    """

    def __init__(self, args: argparse.Namespace, model: dict[str, Any]) -> None:
        self._args, self._model = args, model
        self._common = dict(vars(args))
        if args.found is not None:  # the segmenter sees to it
            self._common["classes"] = ()

    def __call__(self, entry: Entry) -> Job:
        """The job.

        Raises:
            SipVideoError: a file that the entry names is not there, or its results would lie in its input.
        """
        args = self._args
        own = {OPTIONS[key]: value for key, value in entry.options.items()}
        one = argparse.Namespace(**self._common | own)
        looks = flags.showing(one)
        folder, upload = None, ""
        if args.output is not None:
            folder = storage.local(args.output) / entry.name
            upload = storage.joined(args.output, entry.name)
            _check_apart(entry.input, folder, upload)
        return Job(
            entry.input,
            folder,
            tuple(one.save),
            settings=self._settings(entry.input, one, looks),
            fps=one.fps,
            batch=args.batch,
            ahead=AHEAD,
            stdout=args.stdout,
            strict=args.strict,
            lookahead=one.lookahead,
            notes=(entry.note,) if entry.note else (),
            start=one.start,
            end=one.end,
            every=one.every,
            most=one.max_frames,
            showing=looks,
            name=entry.name,
            classes=tuple(one.classes),
            send=tuple(args.send),
            resume=args.resume,
            checkpoint=args.checkpoint,
            hwaccel=args.hwaccel,
            upload=upload,
        )

    def _settings(
        self, text: str, one: argparse.Namespace, looks: ShowingOptions
    ) -> dict[str, Any]:
        """What determines an input's results: equal settings, equal results."""
        unusual = {
            key: getattr(one, key) for key, usual in USUAL.items() if getattr(one, key) != usual
        }
        return {
            "input": _stamp(text),
            "version": __version__,
            **self._model,
            "fps": one.fps,
            "save": list(one.save),
            **{
                key: list(value) if isinstance(value, tuple) else value
                for key, value in unusual.items()
            },
            **with_stamps(looks),
        }


def _check_apart(text: str, folder: Path, upload: str) -> None:
    """Results beside their own input would replace it, or be read as a part of it the next time.

    Raises:
        SinkError: they would be.
    """
    if "://" in text:
        if upload and text.rstrip("/").rpartition("/")[0] == upload:
            raise SinkError(
                f"{text}: its results would be saved in {upload}, where it lies itself: choose another --output"
            )
        return
    source, place = os.path.realpath(text), os.path.realpath(folder)
    if source == place or os.path.dirname(source) == place:
        raise SinkError(
            f"{text}: its results would be saved in {folder}, where it lies itself: choose another --output"
        )


def _stamp(text: str) -> Any:
    """A text; where it names files, their paths, sizes and times, so that a changed file is noticed.

    Of what is in a bucket, the job itself adds them.
    """
    paths = [text]
    if os.path.isdir(text):
        with contextlib.suppress(OSError):
            paths = sorted(os.path.join(text, name) for name in os.listdir(text))
    elif is_pattern(text):
        paths = [str(path) for path in matches(text)]
    files = [path for path in paths if os.path.isfile(path)]
    stats = [(os.path.abspath(path), os.stat(path)) for path in files]
    listing = [[path, stat.st_size, stat.st_mtime] for path, stat in stats]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest() if listing else None
    return [shown(text), digest]
