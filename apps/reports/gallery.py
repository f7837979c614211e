"""``python apps/reports/gallery.py``: the pictures of docs/gallery, by the default model as it is.

Renders scenes (panda3d, and Debian's package sweethome3d-furniture) in some minutes; nothing is chosen by hand but the
moments that are shown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from sipvideo.apps.main import main as sipvideo
from sipvideo.apps.reports import CHECKOUT

GALLERY = CHECKOUT / "docs" / "gallery"
EXAMPLE = CHECKOUT / "examples" / "pedestrians.mp4"
SCENES = (
    "--kind",
    "scenes",
    "--videos",
    "6",
    "--frames",
    "60",
    "--size",
    "640x360",
    "--seed",
    "9001",
)
ANIMATION = 560
"""Width in pixels."""
MOST = 3_000_000
"""Bytes of the animation, so that a page with it comes at once."""


@dataclass(frozen=True)
class Strip:
    """Frames of one annotated video side by side.

    Attributes:
        name: of the picture.
        source: video, or name of a rendered scene.
        frames: numbers of those that are shown.
        flags: of ``sipvideo video``.
    """

    name: str
    source: str | Path
    frames: tuple[int, ...]
    flags: tuple[str, ...] = ("--labels", "class,id")


STRIPS = (
    Strip("street.jpg", EXAMPLE, (95,), ("--labels", "class,id", "--trails", "2s")),
    Strip("privacy.jpg", EXAMPLE, (45, 95), ("--privacy", "--draw", "none")),
    Strip(
        "cutout.jpg",
        EXAMPLE,
        (45, 95),
        ("--draw", "cutout", "--background", "#10202a", "--labels", "none"),
    ),
    Strip("horses.jpg", "scenes_9001_00001", (5, 25, 50)),
    Strip("car.jpg", "scenes_9001_00002", (5, 25, 50)),
    Strip("table.jpg", "scenes_9001_00003", (5, 25, 50)),
)
MOVING = Strip("street.webp", EXAMPLE, tuple(range(100)), STRIPS[0].flags)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes all pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these pictures")
    only = set(parser.parse_args(argv).only)
    GALLERY.mkdir(exist_ok=True)
    wanted = [strip for strip in (MOVING, *STRIPS) if not only or strip.name in only]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if any(isinstance(strip.source, str) for strip in wanted):
            _run("data", "synth", *SCENES, "-o", str(work / "scenes"), "-q")
            if not only:
                _check(work / "scenes" / "instances.json")
                _score(work / "scenes")
        for strip in wanted:
            pictures = _frames(strip, work)
            (_animate if strip is MOVING else _side_by_side)(pictures, GALLERY / strip.name)
            print(GALLERY / strip.name, file=sys.stderr)
        if not only:
            _explain(work)
    return 0


def _check(annotations: Path) -> None:
    """The sheet of ``sipvideo data check``."""
    _run("data", "check", str(annotations), "--sheet", str(GALLERY / "sheet.jpg"), "-q")


def _score(scenes: Path) -> None:
    """The top of a report on the default model, as a browser shows it."""
    from playwright.sync_api import sync_playwright

    words = ("--images", str(scenes / "images"), "-o", str(scenes / "score"), "-q")
    _run("eval", str(scenes / "instances.json"), *words)
    with sync_playwright() as player:
        browser = player.chromium.launch()
        page = browser.new_page(viewport={"width": 825, "height": 1125})
        page.goto((scenes / "score" / "report.html").as_uri())
        page.screenshot(path=GALLERY / "report.jpg", type="jpeg", quality=82)
        browser.close()


def _explain(work: Path) -> None:
    """How the person came back who leaves the example clip."""
    _run("video", str(EXAMPLE), "-o", str(work / "explained"), "--save", "lines,explain", "-q")
    words = ("--id", "0", "-o", str(GALLERY / "explained.jpg"))
    _run("explain", str(work / "explained" / EXAMPLE.stem), *words)


def _run(*words: str) -> None:
    if sipvideo(words):
        raise SystemExit(f"sipvideo {' '.join(words)} failed")


def _frames(strip: Strip, work: Path) -> list[Image.Image]:
    """The wanted frames of the annotated video."""
    scene = isinstance(strip.source, str)
    source = work / "scenes" / "images" / strip.source if scene else Path(strip.source)
    _run("video", str(source), "-o", str(work / strip.name), "--save", "video", *strip.flags, "-q")
    with av.open(str(work / strip.name / source.stem / "video.mp4")) as video:
        return [
            Image.fromarray(frame.to_ndarray(format="rgb24"))
            for k, frame in enumerate(video.decode(video=0))
            if k in strip.frames
        ]


def _side_by_side(pictures: list[Image.Image], path: Path) -> None:
    width = 1200 if len(pictures) > 1 else pictures[0].width
    height = round(width / len(pictures) * pictures[0].height / pictures[0].width)
    sheet = Image.new("RGB", (width, height))
    for k, picture in enumerate(pictures):
        left, right = (round(width * n / len(pictures)) for n in (k, k + 1))
        sheet.paste(picture.resize((right - left, height), Image.Resampling.LANCZOS), (left, 0))
    sheet.save(path, quality=85)


def _animate(pictures: list[Image.Image], path: Path) -> None:
    """As large as it may be: the best quality within ``MOST`` bytes."""
    height = round(ANIMATION * pictures[0].height / pictures[0].width)
    small = [one.resize((ANIMATION, height), Image.Resampling.LANCZOS) for one in pictures]
    for quality in (70, 60, 50, 40, 30):
        small[0].save(
            path,
            save_all=True,
            append_images=small[1:],
            duration=100,
            loop=0,
            quality=quality,
            method=4,
        )
        if path.stat().st_size <= MOST:
            return
    raise SystemExit(f"{path}: larger than {MOST} bytes")


if __name__ == "__main__":
    sys.exit(main())
