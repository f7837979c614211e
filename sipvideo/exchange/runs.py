"""The results of a run, as a collection: what was found becomes what people can correct elsewhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sipvideo.exchange.collection import Collection, Film, Shape, Track, compressed
from sipvideo.results_reader import SavedRun


def read(folder: Path) -> Collection:
    """One film; an identity's class is its most frequent one.

    Raises:
        DatasetError: the folder holds no results that can be read back.
    """
    run = SavedRun(folder)
    name = folder.resolve().name
    film = Film(name, (1, 1), [], seconds=[])
    tracks: dict[int, Track] = {}
    votes: dict[int, Counter[int]] = {}
    untracked = 0
    assert film.seconds is not None
    for result in run.results():
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
    names = run.class_names
    for track_id, counts in votes.items():
        tracks[track_id].category = names[counts.most_common(1)[0][0]]
    film.tracks = [tracks[key] for key in sorted(tracks)]
    used = {track.category for track in film.tracks}
    classes = {one: k for k, one in enumerate((n for n in names if n in used), 1)}
    notes = list(run.notes)
    if untracked:
        notes.append(f"{untracked} objects without an identity are left out")
    if run.covered:
        notes.append("people are covered in the run's pictures, so none are taken from its source")
    elif run.source is not None and Path(run.source).is_file():
        film.movie = Path(run.source)
    return Collection(classes, [film], notes=notes)
