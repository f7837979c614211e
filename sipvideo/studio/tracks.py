"""Identities as lanes of a timeline: where they are, of what class, how certain."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from sipvideo.annotations import Json
from sipvideo.results import FILES
from sipvideo.results_reader import Looks
from sipvideo.studio.document import Document
from sipvideo.studio.doubts import Sightings
from sipvideo.studio.operations import label_of
from sipvideo.studio.table import Table

BINS = 256
"""Places of a lane, at most, of which the mean score is told."""


def sightings(document: Document) -> Sightings:
    """All objects of a document as they are now; looks are those that the run had seen in their places."""
    with document.lock:
        table, run = document.table, document.index.columns
        rows = table.alive
        frames = table.frames[rows].astype(np.int64)
        known = Looks.read(document.folder / FILES["appearance"])
        looks = None
        if known is not None:
            seen = np.where(rows < table.base, run.ids[np.minimum(rows, table.base - 1)], -1)
            looks = known.at(seen.astype(np.int64), run.times[frames])
        return Sightings(
            ids=table.ids[rows].astype(np.int64),
            frames=frames,
            labels=table.labels[rows].astype(np.int64),
            scores=table.scores[rows],
            boxes=table.boxes[rows],
            areas=table.areas[rows].astype(np.int64),
            times=np.array(run.times),
            frame_size=table.size(0),
            looks=looks,
        )


def lanes(document: Document, identities: Iterable[int] | None = None) -> list[Json]:
    """Lanes of identities that are somewhere; None: of all.

    Each has ``id``, ``label`` (its most frequent one), ``class``, ``frames`` (in how many it is), ``score`` (mean),
    ``spans`` ([first, last] of frames without a gap), ``bins`` ([first frame, frames of each bin]) and ``thickness``:
    a byte for each bin in base64, the mean score of its frames times 255, 0 where the identity is in none.
    """
    with document.lock:
        table = document.table
        wanted = table.identities if identities is None else sorted(identities)
        return [_lane(document, table, one) for one in wanted if len(table.rows(one))]


def _lane(document: Document, table: Table, identity: int) -> dict[str, Any]:
    rows = table.rows(identity)
    frames, scores = table.frames[rows], table.scores[rows]
    breaks = np.flatnonzero(np.diff(frames) > 1)
    firsts = frames[np.concatenate(([0], breaks + 1))]
    lasts = frames[np.concatenate((breaks, [len(frames) - 1]))]
    begin = int(frames[0])
    step = -(-(int(frames[-1]) - begin + 1) // BINS)
    bins = (frames - begin) // step
    sums, counts = np.bincount(bins, scores), np.bincount(bins)
    means = np.where(counts > 0, np.maximum(sums / np.maximum(counts, 1) * 255, 1), 0)
    label = label_of(table, rows) or 0
    return {
        "id": identity,
        "label": label,
        "class": document.class_name(label),
        "frames": len(rows),
        "score": round(float(scores.mean()), 4),
        "spans": np.stack((firsts, lasts), 1).tolist(),
        "thickness": base64.b64encode(means.clip(0, 255).astype(np.uint8).tobytes()).decode(),
        "bins": [begin, step],
    }
