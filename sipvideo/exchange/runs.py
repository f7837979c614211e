"""The results of a run, as a collection: what was found becomes what people can correct elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sipvideo.exchange.collection import Collection, Film, Shape, Track, compressed
from sipvideo.results_reader import SavedRun
from sipvideo.structures import FrameResult


def read(folder: Path) -> Collection:
    """One film; an identity's class is its most frequent one.

    Raises:
        DatasetError: the folder holds no results that can be read back.
    """
    run = SavedRun(folder)
    found = collected(run.results(), folder.resolve().name, lambda: run.class_names)
    found.notes[:0] = run.notes
    if run.covered:
        found.notes.append(
            "people are covered in the run's pictures, so none are taken from its source"
        )
    elif run.source is not None and Path(run.source).is_file():
        found.films[0].movie = Path(run.source)
    return found


def collected(
    results: Iterable[FrameResult], name: str, class_names: Callable[[], Sequence[str]]
) -> Collection:
    """Results as one film; track k + 1 is the identity k, its class its most frequent one.

    Args:
        results: the frames.
        name: of the film.
        class_names: gives the names in label order, once all frames have come.
    """
    film = Film(name, (1, 1), [], seconds=[])
    tracks: dict[int, Track] = {}
    votes: dict[int, Counter[int]] = {}
    untracked = 0
    assert film.seconds is not None
    for result in results:
        frame, found = len(film.frames), result.detections
        film.size = result.frame.size
        film.frames.append(result.frame.name or f"{name}/{result.frame.index:06d}.jpg")
        film.seconds.append(round(result.frame.timestamp, 6))
        for k, track_id in enumerate(result.track_ids.tolist()):
            if track_id < 0:
                untracked += 1
                continue
            track = tracks.setdefault(track_id, Track(track_id + 1, None))
            votes.setdefault(track_id, Counter())[int(found.labels[k])] += 1
            mask = compressed(found.masks.rle(k), film.size)
            track.shapes[frame] = Shape(mask, score=float(found.scores[k]))
    names = class_names()
    for track_id, counts in votes.items():
        tracks[track_id].category = names[counts.most_common(1)[0][0]]
    film.tracks = [tracks[key] for key in sorted(tracks)]
    used = {track.category for track in film.tracks}
    classes = {one: k for k, one in enumerate((n for n in names if n in used), 1)}
    notes = [f"{untracked} objects without an identity are left out"] if untracked else []
    return Collection(classes, [film], notes=notes)
