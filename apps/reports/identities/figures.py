"""The figures of one contender on one set of films, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipvideo.apps.reports.identities.trackers import Contender
    from sipvideo.evaluation.replay import Replay
    from sipvideo.structures import FrameResult

Json = dict[str, Any]
VERSION = 1
"""Of the figures: kept ones of another version are computed anew."""


def figures(contender: Contender, films: Sequence[Replay], kept: Path) -> Json:
    """The figures, from ``kept`` where nothing that they depend on has changed.

    Args:
        contender: who gives the identities.
        films: with their reports.
        kept: folder of figures.
    """
    content = json.dumps([VERSION, contender.key, [film.key for film in films]])
    path = kept / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.json"
    if path.is_file():
        found: Json = json.loads(path.read_text(encoding="utf-8"))
        return found
    results = contender.run(films)
    found = _scored(films, results)
    if contender.halved:
        found["half"] = _half(contender, films, results)
    kept.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.replace(path)
    return found


def _scored(films: Sequence[Replay], results: Sequence[list[FrameResult]]) -> Json:
    from sipvideo.evaluation.replay import tracking_counts, tracking_scores
    from sipvideo.evaluation.reunions import Reunions, reunions

    pairs = list(zip(films, results, strict=True))
    scores = tracking_scores(tracking_counts(film, result) for film, result in pairs)
    back = sum((reunions(film, result) for film, result in pairs), Reunions())
    identities = [
        len({key for frame in result for key in frame.track_ids.tolist() if key >= 0})
        for result in results
    ]
    return {
        "hota": scores.hota,
        "det_a": scores.det_a,
        "ass_a": scores.ass_a,
        "idf1": scores.idf1,
        "switches": scores.id_switches,
        "identities": identities,
        "objects": [len(film.truth) for film in films],
        "right": back.right,
        "false": back.false,
        "new": back.new,
        "unseen": back.unseen,
        "newcomers": back.newcomers,
        "mistaken": back.mistaken,
    }


def _half(
    contender: Contender, films: Sequence[Replay], results: Sequence[list[FrameResult]]
) -> float:
    """IDF1 between a run and one that sees only every second frame, on the frames that both saw."""
    from sipvideo.evaluation.replay import compared, tracking_scores

    halves = [film.half for film in films]
    counts = []
    for film, half, whole, result in zip(
        films, halves, results, contender.run(halves), strict=True
    ):
        known = [masks for row in film.tracks(whole) if any(masks := row[::2])]
        counts.append(compared(known, half.tracks(result), (*half.frame_size, len(half))))
    return tracking_scores(counts).idf1
