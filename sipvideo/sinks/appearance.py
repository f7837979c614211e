"""What each object looked like, second by second: what identities can be joined by after the run."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.sinks.sink import Kept, Mark, Sink, replacing, whole_lines
from sipvideo.structures import FrameResult

SECONDS = 1.0
"""Length of a view: within it embeddings are averaged."""


@dataclass
class _View:
    """Embeddings of one identity added up, each by its score, from ``begin`` (seconds) on; views are numbered."""

    begin: float
    total: NDArray[np.float32]
    number: int
    weight: float = 0.0


class AppearanceTable(Sink):
    """A numpy archive with one row for every identity and second of its life.

    Arrays: ``track_id`` int64 [K]; ``timestamp`` float64 [K], when the view began; ``weight`` float32 [K], sum of the
    scores of the detections in it; ``embedding`` float16 [K, E], their mean direction, each weighted by its score.
    ``numpy.load`` reads it. K = 0 for models without embeddings. Objects that were filled in tell nothing.

    Args:
        path: a ``.npz`` file.
    """

    def __init__(self, path: str | Path, *, mark: Mark | None = None) -> None:
        super().__init__(path, mark=mark)
        self._current: dict[int, _View] = {}
        self._count = 0
        if mark is not None:
            self._count = mark["memory"]["count"]
            self._current = {key: _View(*fields) for key, *fields in mark["memory"]["views"]}
        self._file = self._open_text()

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        found, now = result.detections, result.frame.timestamp
        self._put_down(now)
        if result.carried or not found.embeddings.shape[1]:
            return
        lengths = np.linalg.norm(found.embeddings, axis=1)
        for k, track_id in enumerate(result.track_ids.tolist()):
            if (result.filled is not None and result.filled[k]) or not lengths[k] > 0:
                continue
            view = self._current.get(track_id)
            if view is None:
                view = _View(now, np.zeros_like(found.embeddings[k]), self._count)
                self._current[track_id] = view
                self._count += 1
            score = max(float(found.scores[k]), 1e-3)
            view.total += score * found.embeddings[k] / lengths[k]
            view.weight += score

    def _put_down(self, now: float | None) -> None:
        """Writes the views that are complete at this second; None: all."""
        for track_id, view in list(self._current.items()):
            if now is None or not view.begin <= now < view.begin + SECONDS:
                del self._current[track_id]
                mean = view.total / max(float(np.linalg.norm(view.total)), 1e-12)
                text = base64.b64encode(mean.astype("<f2").tobytes()).decode()
                self._file.write(
                    f"{view.number} {track_id} {view.begin} {np.float32(view.weight)} {text}\n"
                )

    def _memory(self) -> dict[str, Any]:
        views = [
            [key, view.begin, view.total.copy(), view.number, view.weight]
            for key, view in self._current.items()
        ]
        return {"count": self._count, "views": views}

    def _finish(self) -> None:
        self._put_down(None)

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        rows = [line.split() for _, line in whole_lines(partial)]
        rows.sort(key=lambda row: int(row[0]))
        embeddings = [np.frombuffer(base64.b64decode(row[4]), "<f2") for row in rows]
        with replacing(path) as new, new.open("wb") as file:
            np.savez(
                file,
                track_id=np.array([int(row[1]) for row in rows], np.int64),
                timestamp=np.array([float(row[2]) for row in rows], np.float64),
                weight=np.array([float(row[3]) for row in rows], np.float32),
                embedding=np.array(embeddings, np.float16)
                if rows
                else np.zeros((0, 0), np.float16),
            )
        if not keep:
            partial.unlink()
        return Kept()
