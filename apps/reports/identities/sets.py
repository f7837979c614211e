"""The rendered films on which identities are measured, and their reports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps.data import synth as data_synth
from sipvideo.errors import SipVideoError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sipvideo.engine import Engine
    from sipvideo.evaluation.replay import Replay, Reporter
    from sipvideo.structures import Detections, Frame

SMALL = "--size 512x288"


@dataclass(frozen=True)
class FilmSet:
    """Films of one kind.

    Attributes:
        about: what happens in them, for people.
        options: of ``sipvideo data synth --kind scenes``.
    """

    about: str
    options: str


SETS = {
    "medium": FilmSet(
        "five objects, some occlusion, hand-held camera", "--seed 77 --videos 10 --frames 60"
    ),
    "hard": FilmSet(
        "nine quick objects that hide each other, missing frames, changing light",
        "--seed 78 --videos 10 --frames 60 --difficulty hard",
    ),
    "still": FilmSet(
        "a camera that stands", f"--seed 79 --videos 3 --frames 60 --camera still {SMALL}"
    ),
    "pan": FilmSet(
        "the same scenes, the camera turns",
        f"--seed 79 --videos 3 --frames 60 --camera pan {SMALL}",
    ),
    "move": FilmSet(
        "the same scenes, the camera travels",
        f"--seed 79 --videos 3 --frames 60 --camera move {SMALL}",
    ),
    "zoom": FilmSet(
        "the same scenes, the camera zooms",
        f"--seed 79 --videos 3 --frames 60 --camera zoom {SMALL}",
    ),
    "returns": FilmSet(
        "objects leave and come back after 3 to 20 seconds, over the same edge or the other",
        f"--seed 80 --videos 4 --frames 240 --fps 6 --drop 0.02 --returns 0.8 {SMALL}",
    ),
    "lookalikes": FilmSet(
        "six objects of one model and texture",
        f"--seed 81 --videos 3 --frames 48 --lookalikes 1 --objects 6 {SMALL}",
    ),
    "crowd": FilmSet(
        "ten to twenty small objects",
        f"--seed 82 --videos 2 --frames 48 --difficulty crowd {SMALL}",
    ),
    "cuts": FilmSet(
        "four hard cuts, to another camera of the scene, to another scene, and back",
        f"--seed 83 --videos 3 --frames 80 --cuts 4 {SMALL}",
    ),
    **{
        f"fps{rate}": FilmSet(
            f"the same four seconds at {rate} frames a second",
            f"--seed 84 --videos 2 --frames {4 * rate} --fps {rate} --drop 0 {SMALL}",
        )
        for rate in (5, 20, 60)
    },
}
MOVING = ("pan", "move", "zoom")
"""Sets with the same scenes as ``still``."""
REPORTS = {
    "network": "what the default model finds",
    "truth": "true boxes with 3 % noise, 10 % missing, without embeddings",
}
"""Kinds of reports, and what they are for people."""


def rendered(name: str, work: Path, *, quiet: bool) -> Path:
    """The folder of a set, rendered where it is not there yet.

    Raises:
        SipVideoError: it cannot be rendered, or was stopped; what there is stays for the next run.
    """
    folder = work / "sets" / name
    if not (folder / "instances.json").is_file():
        options = ["--kind", "scenes", "-o", str(folder), *SETS[name].options.split()]
        code = data_synth.main([*options, *(["-q"] if quiet else [])])
        if code:
            raise SipVideoError(f"{name}: the films are not complete; the same command goes on")
    return folder


SECTIONS = {"classes", "input", "backbone", "neck", "head", "postprocess"}
"""Of the configuration: what reports depend on."""


class LazyNetwork:
    """The default model's reports; the model is loaded when the first one is missing."""

    def __init__(self) -> None:
        from sipvideo.build import DEFAULT_MODEL, packaged_export
        from sipvideo.config import load_config

        digest = hashlib.sha256()
        for path in sorted(packaged_export().iterdir()):
            digest.update(path.read_bytes())
        config = load_config(f"sipmask_{DEFAULT_MODEL}").model_dump_json(include=SECTIONS)
        self.key = f"network {digest.hexdigest()} {config}"
        self._engine: Engine | None = None

    def __call__(self, replay: Replay, frames: Iterable[Frame]) -> Iterator[Detections]:
        """What it finds in each frame."""
        if self._engine is None:
            from sipvideo.build import load

            self._engine = load(device="cpu").engine
        for frame in frames:
            yield self._engine.detect([frame])[0]


def reporter(kind: str) -> Reporter:
    """Makes the reports of a kind."""
    from sipvideo.evaluation.replay import TruthReporter

    return LazyNetwork() if kind == "network" else TruthReporter()


def films(
    name: str, kind: str, work: Path, make: Reporter, shown: Callable[[str], None]
) -> list[Replay]:
    """The films of a rendered set with their reports, from the cache where they are."""
    from sipvideo.evaluation.replay import replays

    folder = work / "sets" / name
    return list(replays(folder, work / "reports", make, shown))
