"""Folders of finished and unfinished runs, one of whose files is damaged, before the commands that read them."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

from sipvideo.apps.main import main as sipvideo
from sipvideo.structures import Frame
from tests.fuzz import engines, videos
from tests.fuzz.case import FUNCTION, Case
from tests.fuzz.mutate import Rng, choose, json_bytes, mutated_bytes, mutated_tree

SAVE = "video,json,lines,csv,parquet,mots,appearance"


@functools.cache
def _run() -> dict[str, bytes]:
    """The files of a whole run."""
    place = Path("making")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "in.gif").write_bytes(videos.base("gif"))
    engines.current = FUNCTION
    sipvideo(["video", str(place / "in.gif"), "-o", str(place / "out"), "-q", "--save", SAVE])
    folder = place / "out" / "in"
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    shutil.rmtree(place)
    return files


@functools.cache
def _unfinished() -> dict[str, bytes]:
    """The files, hidden ones with them, of a run in the middle: what a kill leaves."""
    files: dict[str, bytes] = {}

    def copy(frame: Frame) -> None:
        if frame.index == 11:
            paths = [p for p in Path("making/out/in").rglob("*") if p.is_file()]
            files.update({str(p.relative_to("making/out/in")): p.read_bytes() for p in paths})

    engines.seen = copy
    try:
        _run.__wrapped__()
    finally:
        engines.seen = None
    return files


def _spoilt(rng: Rng, name: str, data: bytes) -> tuple[bytes, str]:
    """A file of a run with other content: as JSON, as one of its lines, or as bytes."""
    if name.endswith((".json", ".jsonl")) and rng.random() < 0.75:
        lines = data.decode().splitlines() if name.endswith(".jsonl") else [data.decode()]
        k = int(rng.integers(len(lines)))
        tree, how = mutated_tree(rng, json.loads(lines[k]))
        text, more = json_bytes(rng, tree)
        parts = [line.encode() for line in lines]
        parts[k] = text
        return b"\n".join(parts) + b"\n", f"{how} {more}"
    if name.endswith(".csv") and rng.random() < 0.6:
        rows = [line.split(",") for line in data.decode().splitlines()]
        row = choose(rng, rows)
        row[int(rng.integers(len(row)))] = choose(
            rng, ("", "nan", "-1", "9" * 30, "x", '"', "1e999", "0,0")
        )
        return "\n".join(map(",".join, rows)).encode(), "a cell"
    return mutated_bytes(rng, data)


def _write(rng: Rng, folder: Path, without: tuple[str, ...]) -> str:
    """A run's folder with some files missing and one spoilt; gives the recipe."""
    files = dict(_run())
    for name in without:
        files.pop(name, None)
    name = choose(rng, sorted(files))
    files[name], how = _spoilt(rng, name, files[name])
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return f"{name}: {how}"


def repair(rng: Rng, folder: Path) -> Case:
    """``sipvideo repair`` of a damaged run."""
    lost = choose(
        rng, ((), ("results.jsonl",), ("results.jsonl", "objects.csv"), ("results.json",))
    )
    how = _write(rng, folder / "run", (*lost, "video.mp4"))
    (folder / "in.gif").write_bytes(videos.base("gif"))
    source = choose(rng, (["--source", "in.gif"], []))
    return Case(f"{how}, without {lost}", ["repair", "run", "-o", "out/again", "-q", *source])


def resume(rng: Rng, folder: Path) -> Case:
    """``sipvideo video`` into a folder that an earlier run has left, damaged."""
    how = _write(rng, folder / "out" / "in", ())
    (folder / "in.gif").write_bytes(videos.base("gif"))
    arguments = ["video", "in.gif", "-o", "out", "-q", "--save", choose(rng, (SAVE, "csv"))]
    return Case(how, [*arguments, *choose(rng, ([], ["--resume"]))])


def recover(rng: Rng, folder: Path) -> Case:
    """``sipvideo recover`` of what a killed run left, damaged as well."""
    files = dict(_unfinished())
    name = choose(rng, sorted(files))
    files[name], how = _spoilt(rng, name, files[name])
    if rng.random() < 0.1:
        del files[name]
    for file, data in files.items():
        (folder / "out" / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / "in" / file).write_bytes(data)
    return Case(f"{name}: {how}", ["recover", "out", *choose(rng, ([], ["-q"]))], lines=2)
