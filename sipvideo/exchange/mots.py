"""MOTS: text of masks, ``frame id class height width rle``, one file per film. Classes are numbers; a file
``labels.txt`` beside them, one name per line, tells which."""

from __future__ import annotations

from pathlib import Path

from sipvideo.errors import DatasetError
from sipvideo.evaluation.mot import LABELS, read_sequences
from sipvideo.exchange.collection import Collection, Film, Shape, Track, compressed, encoded
from sipvideo.exchange.exclusive import Exclusive
from sipvideo.exchange.placing import file_name, listed_pictures

IGNORED = 10
"""A class that no object may have: its regions are not scored."""


def read(path: Path, images: Path | None) -> Collection:
    """Reads texts, or 16-bit pictures, of one film or of a folder of them.

    Raises:
        DatasetError: there are none, they are damaged, or hold boxes only.
    """
    sequences = read_sequences(path)
    names = _labels(path if path.is_dir() else path.parent)
    # MOTSChallenge counts frames from 1, KITTI from 0: who has a frame 0 anywhere counts from 0.
    first = min((min(t.shapes) for s in sequences.values() for t in s.tracks.values()), default=1)
    first = min(first, 1)
    numbers = sorted({t.category for s in sequences.values() for t in s.tracks.values()})
    shown = {k: names[k - 1] if 0 < k <= len(names) else f"class {k}" for k in numbers}
    found = Collection({name: k for k, name in shown.items()}, images=images)
    ignored = sum(one.ignored for one in sequences.values())
    for name, sequence in sequences.items():
        if sequence.kind != "segm":
            raise DatasetError(f"{path}: {name} has boxes; masks are needed")
        if not sequence.tracks:
            found.notes.append(f"{name}: has no object, and no size: left out")
            continue
        sizes = {tuple(rle["size"]) for t in sequence.tracks.values() for rle in t.shapes.values()}
        if len(sizes) > 1:
            raise DatasetError(f"{path}: {name} has masks of several sizes")
        size = sizes.pop()
        length = max(max(t.shapes) for t in sequence.tracks.values()) + 1 - first
        pictures = listed_pictures(images, name)
        frames = pictures or [f"{name}/{k + first:06d}.jpg" for k in range(length)]
        if len(frames) < length:
            raise DatasetError(
                f"{images}: {name} has {len(frames)} pictures, masks are of {length}"
            )
        film = Film(name, size, frames)
        for number, track in enumerate(sequence.tracks.values(), 1):
            shapes = {k - first: Shape(compressed(rle, size)) for k, rle in track.shapes.items()}
            film.tracks.append(Track(number, shown[track.category], shapes))
        found.films.append(film)
    if ignored:
        found.notes.append(f"{ignored} regions marked as not to be scored are left out")
    return found


def _labels(folder: Path) -> list[str]:
    try:
        lines = (folder / LABELS).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{folder / LABELS}: cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def write(collection: Collection, folder: Path) -> list[str]:
    """Writes it, frames counted from 1; returns what is lost, one line each.

    Raises:
        DatasetError: a class has more than 999 objects in one film.
    """
    exclusive, unknown = Exclusive(), 0
    for film in collection.films:
        ids: dict[int, int] = {}
        counts: dict[int, int] = {}
        for track in film.tracks:
            if track.category is None:
                unknown += 1
                continue
            label = _number(collection.label(track.category))
            counts[label] = counts.get(label, 0) + 1
            if counts[label] > 999:
                raise DatasetError(
                    f"{film.name}: has over 999 objects of {track.category}, MOTS takes 999"
                )
            ids[id(track)] = label * 1000 + counts[label]
        lines = []
        for frame in range(len(film.frames)):
            for track, mask in exclusive.masks(film, frame):
                if id(track) not in ids:
                    continue
                number, (height, width) = ids[id(track)], film.size
                counts_text = encoded(mask)["counts"]
                lines.append(
                    f"{frame + 1} {number} {number // 1000} {height} {width} {counts_text}\n"
                )
        (folder / f"{file_name(film.name)}.txt").write_text("".join(lines), encoding="ascii")
    names = list(collection.classes)
    if len(names) >= IGNORED:
        names.insert(IGNORED - 1, "(ignored)")
    (folder / LABELS).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    notes = ["names of pictures: MOTS counts frames"]
    notes += [f"{unknown} objects of unknown class are left out"] if unknown else []
    return [*notes, *exclusive.notes]


def _number(label: int) -> int:
    """MOTS' class of a label."""
    return label + 1 if label + 1 < IGNORED else label + 2
