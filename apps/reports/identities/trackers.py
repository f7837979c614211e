"""Everybody who gives identities in ``make identity-report``: ours, the paper's rule, perfect ones, and peers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sipvideo.apps.reports import CHECKOUT
from sipvideo.errors import SipVideoError

if TYPE_CHECKING:
    from sipvideo.evaluation.replay import Replay
    from sipvideo.structures import FrameResult, IntArray

BENCHMARKS = CHECKOUT / "benchmarks"
SCRIPT, NEEDS = BENCHMARKS / "trackers_peers.py", BENCHMARKS / "trackers.txt"
PEERS = {
    "bytetrack": "ByteTrack",
    "botsort": "BoT-SORT",
    "botsort-camera": "BoT-SORT with camera compensation",
    "ocsort": "OC-SORT",
}
"""Names in ``trackers_peers.py``, and for people."""


@dataclass(frozen=True)
class Contender:
    """Somebody who gives identities.

    Attributes:
        title: for people.
        key: a digest of what its identities depend on besides the reports.
        run: results of some films.
        halved: whether it is also run on every second frame.
    """

    title: str
    key: str
    run: Callable[[Sequence[Replay]], list[list[FrameResult]]]
    halved: bool = True


def contenders(work: Path, peers: Path | None) -> dict[str, Contender]:
    """All of them by name, the perfect one last.

    Args:
        work: folder for what is exchanged with the peers.
        peers: interpreter of the peers' environment; None leaves them out.
    """
    from sipvideo.config import TrackerConfig
    from sipvideo.evaluation.replay import perfect
    from sipvideo.tracker import build_tracker

    def tracked(config: TrackerConfig) -> Contender:
        def run(films: Sequence[Replay]) -> list[list[FrameResult]]:
            return [film.results(film.identities(build_tracker(config))) for film in films]

        title = "ours" if config.preset == "sipvideo" else "the paper's rule"
        return Contender(title, f"{_own_code()} {config.model_dump_json()}", run)

    found = {
        "ours": tracked(TrackerConfig()),
        "lookahead": _later("ours, looking 2 s ahead", _looked_ahead),
        "repaired": _later("ours, repaired", _repaired),
        "paper": tracked(TrackerConfig(preset="paper")),
    }
    if peers:
        found.update({name: _peer(name, work, peers) for name in PEERS})
    found["perfect"] = Contender(
        "perfect identities",
        "1",
        lambda films: [film.results(perfect(film)) for film in films],
        halved=False,
    )
    return found


def _later(title: str, change: Callable[[list[FrameResult]], Iterable[FrameResult]]) -> Contender:
    """Our tracker's results changed by what comes later."""
    from sipvideo.config import RepairConfig, TrackerConfig
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.tracker import build_tracker

    def found(film: Replay) -> list[FrameResult]:
        # As a run does it: with the classes that the tracker has voted for.
        line = VideoSegmenter(
            lambda frame: film.reports[frame.index], build_tracker(TrackerConfig()), ()
        )
        unknown = [np.full(len(report), -1, np.int64) for report in film.reports]
        shown = film.results(unknown, with_pictures=True)
        return list(change(list(line.run(result.frame for result in shown))))

    def run(films: Sequence[Replay]) -> list[list[FrameResult]]:
        return [found(film) for film in films]

    settings = TrackerConfig().model_dump_json() + RepairConfig().model_dump_json()
    return Contender(title, f"{title}, voted {_own_code('repair')} {settings}", run, halved=False)


def _looked_ahead(results: list[FrameResult]) -> Iterable[FrameResult]:
    from sipvideo.config import RepairConfig
    from sipvideo.repair import look_ahead

    return look_ahead(results, 2.0, RepairConfig())


def _repaired(results: list[FrameResult]) -> Iterable[FrameResult]:
    from sipvideo.config import RepairConfig
    from sipvideo.repair import Repair

    repair = Repair(RepairConfig())
    for result in results:
        repair.observe(result)
    return repair.repaired(results, pictures=True)


def _own_code(*parts: str) -> str:
    """A digest of what our identities depend on: the tracker and other parts of the package."""
    import sipvideo

    root = Path(sipvideo.__file__).parent
    names = ("masks.py", "boxes.py", "carry.py", "cuts.py")
    files = [path for part in ("tracker", *parts) for path in (root / part).glob("*.py")]
    files += [root / name for name in names if (root / name).is_file()]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _peer(name: str, work: Path, python: Path) -> Contender:
    key = hashlib.sha256(SCRIPT.read_bytes() + NEEDS.read_bytes()).hexdigest()[:16]

    def run(films: Sequence[Replay]) -> list[list[FrameResult]]:
        folder = work / "peers" / key
        folder.mkdir(parents=True, exist_ok=True)
        for film in films:
            exchange(film, folder / f"{_file(film)}.npz")
        # All peers at once: most of the time goes into starting.
        if not all((folder / f"{_file(film)}.{name}.npy").is_file() for film in films):
            subprocess_json(python, "run", str(folder), "--only", ",".join(PEERS))
        return [_answer(film, folder / f"{_file(film)}.{name}.npy") for film in films]

    return Contender(PEERS[name], f"{name} {key}", run, halved=False)


def _file(film: Replay) -> str:
    return film.key.replace("/", "_")


def exchange(film: Replay, path: Path) -> None:
    """Writes a film's reports for the peers' script."""
    if path.is_file():
        return
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            counts=np.array([len(report) for report in film.reports], np.int64),
            boxes=np.concatenate([report.boxes for report in film.reports]),
            scores=np.concatenate([report.scores for report in film.reports]),
            seconds=np.array(film.seconds),
            pictures=np.array([str(path.resolve()) for path in film.pictures]),
        )
    partial.replace(path)


def _answer(film: Replay, path: Path) -> list[FrameResult]:
    ends = np.cumsum([len(report) for report in film.reports])[:-1]
    ids: list[IntArray] = np.split(np.load(path, allow_pickle=False), ends)
    return film.results(ids)


def subprocess_json(python: Path, *arguments: str) -> str:
    """What the peers' script prints.

    Raises:
        SipVideoError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [str(python), str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SipVideoError(f"{SCRIPT.name} failed with {python}: {last}")
    return done.stdout


def peers_environment(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made where it is missing or of other versions.

    Raises:
        SipVideoError: it cannot be installed.
    """
    mark, wanted = folder / "installed.json", NEEDS.read_text(encoding="utf-8")
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted:
        return python
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(NEEDS)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SipVideoError(
            f"{NEEDS}: cannot be installed into {folder}: {last}; --no-peers goes on without"
        )
    mark.write_text(json.dumps(wanted), encoding="utf-8")
    return python
