"""The folder with everything that is saved of one input."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.errors import SinkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sipvideo.sinks import Sink
    from sipvideo.sinks.video import Clip
    from sipvideo.structures import FrameResult

FILES = {
    "video": "video.mp4",
    "pictures": "pictures",
    "json": "results.json",
    "lines": "results.jsonl",
    "mots": "mots.txt",
    "png": "masks",
    "csv": "objects.csv",
    "parquet": "objects.parquet",
    "appearance": "appearance.npz",
}
"""Kind of result -> its file or folder."""

PICTURE = "picture.png"
"""Takes the video's place where the input is a single picture."""

SUMMARY = "summary.json"
"""Marks the folder as ours and says how the run ended."""


class Results:
    """All sinks of one input as one.

    They open with the first result, so that an input without any leaves nothing behind, and replace what an
    earlier run saved there. Only objects with an identity are drawn.

    Args:
        source: the input.
        class_names: names in label order.
        folder: where to save; None: nowhere.
        kinds: what to save, keys of :data:`FILES`.
        stdout: also write one JSON line per frame to standard output.

    Raises:
        SinkError: from every method, when something cannot be written.
    """

    def __init__(
        self,
        source: Clip,
        class_names: Sequence[str],
        folder: Path | None,
        kinds: Sequence[str],
        *,
        stdout: bool = False,
    ) -> None:
        self.source = source
        self.class_names = class_names
        self.folder = folder
        self.kinds = kinds
        self.stdout = stdout
        self._sinks: list[Sink] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.__exit__(*exception)  # type: ignore[arg-type]

    @property
    def notes(self) -> list[str]:
        """What could not be saved as asked; complete after the ``with`` block."""
        return [f"{sink.path}: {note}" for sink in self._sinks or () for note in sink.notes]

    def write(self, result: FrameResult) -> None:
        """Hands the next result to every sink."""
        if self._sinks is None:
            self._sinks = []
            for open_sink in self._openers():
                self._sinks.append(self._stack.enter_context(open_sink()))
        for sink in self._sinks:
            sink.write(result)

    def _openers(self) -> list[Callable[[], Sink]]:
        from sipvideo import sinks
        from sipvideo.draw import draw

        names = self.class_names

        def picture(result: FrameResult) -> NDArray[np.uint8]:
            return draw(result.tracked(), names)

        by_kind: dict[str, Callable[[Path], Sink]] = {
            "video": lambda path: sinks.AnnotatedVideo(path, picture, self.source),
            "pictures": lambda path: sinks.AnnotatedPictures(path, picture),
            "json": sinks.YouTubeVISResults,
            "lines": lambda path: sinks.CocoRleLines(path, names),
            "mots": sinks.MotsText,
            "png": sinks.LabelMapPngs,
            "csv": lambda path: sinks.TrackTable(path, names),
            "parquet": lambda path: sinks.TrackTable(path, names),
            "appearance": sinks.AppearanceTable,
        }
        files = dict(FILES)
        if self.source.frame_count == 1 and self.source.path is None:
            by_kind["video"] = lambda path: sinks.AnnotatedPicture(path, picture)
            files["video"] = PICTURE
        openers: list[Callable[[], Sink]] = []
        if self.stdout:
            openers.append(lambda: sinks.CocoRleLines("-", names))
        if self.folder is not None:
            clear(self.folder)
            openers += [partial(by_kind[kind], self.folder / files[kind]) for kind in self.kinds]
        return openers


def clear(folder: Path) -> None:
    """Removes what an earlier run saved, and nothing else; a folder without our summary is left alone.

    Raises:
        SinkError: it cannot be removed.
    """
    if not (folder / SUMMARY).is_file():
        return
    try:
        for name in (SUMMARY, PICTURE, *FILES.values()):
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise SinkError(
            f"{folder}: the results of an earlier run cannot be removed: {error.strerror}"
        ) from error
