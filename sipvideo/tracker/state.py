"""All that a tracker knows as plain arrays, so that a long job goes on where it was stopped.

The arrays go through ``numpy.savez`` and come back with ``allow_pickle=False``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SipVideoError
from sipvideo.tracker.track import Track, View

State = dict[str, NDArray[Any]]

VERSION = 3
NUMBERS = (
    "track_id",
    "label",
    "hits",
    "size",
    "first_seen",
    "last_seen",
    "returned",
    "away",
)
"""Single numbers of a track."""
WHOLE = ("track_id", "label", "hits")
VECTORS = ("velocity", "sides")
"""Pairs of numbers of a track."""
ROWS = ("box", "window", "place", "embedding")
"""Arrays of a track that have one shape for all."""


def packed(tracks: Sequence[Track]) -> State:
    """K tracks as arrays."""
    made: State = {
        name: np.array([getattr(track, name) for track in tracks], np.float64) for name in NUMBERS
    }
    made |= {name: np.array([getattr(track, name) for track in tracks]) for name in ROWS}
    for name in VECTORS:
        made[name] = np.array([getattr(track, name) for track in tracks], np.float64)
    made["shape"] = np.array([track.bits.shape for track in tracks], np.int64)
    made["bits"] = np.concatenate([np.zeros(0, np.uint8), *(t.bits.ravel() for t in tracks)])
    votes = [(k, *vote) for k, track in enumerate(tracks) for vote in track.votes.items()]
    made["votes"] = np.array(votes, np.float64).reshape(-1, 3)
    views = [(k, view) for k, track in enumerate(tracks) for view in track.views]
    made["views"] = np.array([(k, v.quality, v.second) for k, v in views], np.float64)
    made["looks"] = np.array([view.embedding for _, view in views], np.float32)
    return made


def unpacked(state: Mapping[str, NDArray[Any]]) -> list[Track]:
    """The tracks that :func:`packed` got."""
    ends = np.cumsum(state["shape"].reshape(-1, 2).prod(1, dtype=np.int64))
    pieces = np.split(state["bits"], ends[:-1])
    tracks = []
    for k in range(len(state["track_id"])):
        numbers: dict[str, Any] = {name: float(state[name][k]) for name in NUMBERS}
        numbers |= {name: int(numbers[name]) for name in WHOLE}
        vectors: dict[str, Any] = {name: tuple(state[name][k].tolist()) for name in VECTORS}
        bits = pieces[k].reshape(state["shape"][k])
        rows = {name: state[name][k].copy() for name in ROWS}
        tracks.append(Track(**numbers, **vectors, **rows, bits=bits))
    for k, label, score in state["votes"].tolist():
        tracks[int(k)].votes[int(label)] = score
    for (k, quality, second), look in zip(state["views"].tolist(), state["looks"], strict=True):
        tracks[int(k)].views.append(View(look, quality, second))
    return tracks


def check(state: Mapping[str, NDArray[Any]], names: set[str]) -> None:
    """Raises SipVideoError unless the state has the arrays ``names`` in our version."""
    missing = sorted(names - set(state))
    if missing:
        raise SipVideoError(f"state of a tracker: expected {missing[0]!r}, found {sorted(state)}")
    version = state["version"].tolist()
    if version != VERSION:
        raise SipVideoError(f"state of a tracker: expected version {VERSION}, got {version}")
