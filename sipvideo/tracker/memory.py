"""Who left, and how to know them when they come back: by their looks, never by place.

An identity is remembered by several *views*: embeddings averaged over some frames, taken at different times. A newcomer
is somebody who left if it looks like one of them and there is no second one, on either side, that fits about as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.masks import BoolArray
from sipvideo.structures import FloatArray, IntArray
from sipvideo.tracker.similarity import unit
from sipvideo.tracker.track import Track, View

VIEW_SECONDS = 0.5
"""Time between two views of an identity."""
PLAUSIBLE = 0.25
"""Likeness below ``return_likeness`` down to which it is worth a wait for a better look."""
BLUR = 0.1
"""What is missing to full likeness where an object is seen twice: of two that miss less neither is the better one."""


@dataclass(frozen=True, eq=False)
class Meeting:
    """Newcomers and absent identities of one frame, and who of them is whom.

    Attributes:
        newcomers: N tracks without an identity, seen just now.
        absent: M tracks out of sight.
        likeness: float32 [N, M], -1..1, less ``label_penalty`` where the labels differ.
        rival: float32 [N, M], the greatest likeness among the other pairs of the two.
        chosen: row of ``newcomers`` -> row of ``absent``; nobody twice.
    """

    newcomers: Sequence[Track]
    absent: Sequence[Track]
    likeness: FloatArray
    rival: FloatArray
    chosen: dict[int, int]


class Memory:
    """The identities that left, longest away first; at most ``return_tracks``, none longer than ``return_memory``."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.tracks: list[Track] = []

    def add(self, tracks: Sequence[Track], now: float) -> None:
        """Tracks that are no longer looked for near their place; those seen too little are forgotten."""
        config, known = self.config, self.tracks
        if tracks and config.returns:
            known = known + [track for track in tracks if memorable(track, config)]
            known.sort(key=lambda track: track.last_seen)
            known = known[max(0, len(known) - config.return_tracks) :]
        if known and now - known[0].last_seen > config.return_memory:
            known = [track for track in known if now - track.last_seen <= config.return_memory]
        self.tracks = known


def memorable(track: Track, config: TrackerConfig) -> bool:
    """Whether a track was seen well enough to be known again."""
    return track.track_id >= 0 and track.hits >= config.return_hits and track.embedding.size > 0


def look(track: Track, quality: float, now: float, limit: int) -> None:
    """Takes a view of a track just seen, if it is time; beyond ``limit`` the worse of the two most alike goes."""
    views = track.views
    if now - (views[-1].second if views else track.first_seen) < VIEW_SECONDS:
        return
    views.append(View(track.embedding, quality, now))
    if len(views) <= limit:
        return
    looks = unit(np.array([view.embedding for view in views]))
    alike = looks @ looks.T
    np.fill_diagonal(alike, -np.inf)
    i, j = np.unravel_index(alike[:-1, :-1].argmax(), (limit, limit))  # the newest stays
    del views[int(i if views[i].quality < views[j].quality else j)]


def likenesses(
    looks: FloatArray,
    labels: IntArray,
    tracks: Sequence[Track],
    common: FloatArray,
    penalty: float,
) -> FloatArray:
    """How alike N objects with ``looks`` [N, E] and ``labels`` [N] and M tracks are, float32 [N, M].

    The mean of two cosines, with the mean of the views and with the most similar view, less the penalty where
    the labels differ.
    """
    fresh = unit(looks - common)
    result = np.zeros((len(looks), len(tracks)), np.float32)
    for j, track in enumerate(tracks):
        known = [view.embedding for view in track.views]
        views = unit(np.array([*known, track.embedding]) - common)
        nearest = (fresh @ views.T).max(1)
        mean = fresh @ unit(views.mean(0)[None])[0]
        result[:, j] = (nearest + mean) / 2 - penalty * (labels != track.label)
    return result


def meet(
    newcomers: Sequence[Track],
    absent: Sequence[Track],
    common: FloatArray,
    config: TrackerConfig,
) -> Meeting:
    """Decides which newcomers are which absent identities. Changes nothing.

    Args:
        newcomers: N tracks.
        absent: M tracks.
        common: float32 [E] or a scalar, what the embeddings of all objects have in common.
        config: the tracker's.
    """
    if not newcomers or not absent:
        nothing = np.zeros((len(newcomers), len(absent)), np.float32)
        return Meeting(newcomers, absent, nothing, nothing, {})
    looks = np.array([track.embedding for track in newcomers])
    labels = np.array([track.label for track in newcomers])
    likeness = likenesses(looks, labels, absent, common, config.label_penalty)
    rival = np.maximum(_others(likeness), _others(likeness.T).T)
    sure = _known(likeness, rival, config)
    chosen = dict(zip(*(axis.tolist() for axis in sure.nonzero()), strict=True))
    return Meeting(newcomers, absent, likeness, rival, chosen)


def rather_absent(
    looks: FloatArray,
    labels: IntArray,
    tracks: Sequence[Track],
    absent: Sequence[Track],
    common: FloatArray,
    config: TrackerConfig,
) -> BoolArray:
    """Which objects look clearly more like somebody who left than like the track at their place, bool [K].

    Args:
        looks, labels: of K objects, float32 [K, E] and int64 [K].
        tracks: K, those at their places.
        absent: at least one identity.
        common: see :func:`meet`.
        config: the tracker's.
    """
    best = likenesses(looks, labels, absent, common, config.label_penalty).max(1)
    own = likenesses(looks, labels, tracks, common, config.label_penalty).diagonal()
    return _known(best, own, config)


def _known(likeness: FloatArray, rival: FloatArray, config: TrackerConfig) -> BoolArray:
    """Whether objects as alike as that are the same one, with another candidate as alike as ``rival``."""
    # Strictly less: a pair that is better than all others of both sides is nobody else's, whatever the settings.
    unique = 1 + BLUR - likeness < config.return_ratio * (1 + BLUR - rival)
    known: BoolArray = (likeness >= config.return_likeness) & unique
    return known


def _others(values: FloatArray) -> FloatArray:
    """The greatest other value of each value's row, -1 where there is none."""
    result = np.full_like(values, -1)
    if values.shape[1] > 1:
        second, first = np.sort(values, axis=1)[:, -2:].T[:, :, None]
        result = np.where(values == first, second, np.broadcast_to(first, values.shape))
    return result
