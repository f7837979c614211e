"""What each object looked like, second by second: what identities can be joined by after the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sipvideo.sinks.sink import Sink
from sipvideo.structures import FrameResult

SECONDS = 1.0
"""Length of a view: within it embeddings are averaged."""


@dataclass
class _View:
    """Embeddings of one identity added up, each by its score, from ``begin`` (seconds) on."""

    begin: float
    total: NDArray[np.float32]
    weight: float = 0.0


class AppearanceTable(Sink):
    """A numpy archive with one row for every identity and second of its life.

    Arrays: ``track_id`` int64 [K]; ``timestamp`` float64 [K], when the view began; ``weight`` float32 [K], sum of the
    scores of the detections in it; ``embedding`` float16 [K, E], their mean direction, each weighted by its score.
    ``numpy.load`` reads it. K = 0 for models without embeddings. Objects that were filled in tell nothing.

    Args:
        path: a ``.npz`` file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._current: dict[int, _View] = {}
        self._views: list[tuple[int, _View]] = []

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        found, now = result.detections, result.frame.timestamp
        if result.carried or not found.embeddings.shape[1]:
            return
        lengths = np.linalg.norm(found.embeddings, axis=1)
        for k, track_id in enumerate(result.track_ids.tolist()):
            if (result.filled is not None and result.filled[k]) or not lengths[k] > 0:
                continue
            view = self._current.get(track_id)
            if view is None or not view.begin <= now < view.begin + SECONDS:
                view = self._current[track_id] = _View(now, np.zeros_like(found.embeddings[k]))
                self._views.append((track_id, view))
            score = max(float(found.scores[k]), 1e-3)
            view.total += score * found.embeddings[k] / lengths[k]
            view.weight += score

    def _finish(self) -> None:
        totals = [view.total for _, view in self._views]
        embeddings = np.array(totals, np.float32) if totals else np.zeros((0, 0), np.float32)
        embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        with self._partial.open("wb") as file:
            np.savez(
                file,
                track_id=np.array([track_id for track_id, _ in self._views], np.int64),
                timestamp=np.array([view.begin for _, view in self._views], np.float64),
                weight=np.array([view.weight for _, view in self._views], np.float32),
                embedding=embeddings.astype(np.float16),
            )
