"""``sipvideo data synth``: renders videos with exact masks and identities as a YouTube-VIS dataset.

A run that was stopped goes on with the first video that is missing; the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.apps import command, flags
from sipvideo.apps.progress import Progress
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    from sipvideo.synth import Film, Recipe, SyntheticDataset

KINDS = ("shapes", "scenes")
SCENES_ONLY = ("camera", "returns", "lookalikes", "cuts")
ABOUT = """Renders videos of several objects with exact masks of what is visible and identities that stay.

  shapes  flat textured shapes, hundreds of frames a second; for tests
  scenes  textured 3D scenes of people, vehicles, animals and furniture with COCO's classes; needs panda3d and
          the models of Debian's package sweethome3d-furniture

DIR gets instances.json (YouTube-VIS' layout, with OVIS' occlusion), images/ and recipe.json."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = _parser().parse_args(argv)
    return command.guarded(lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = flags.Parser(
        prog="sipvideo data synth",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="new, or of an earlier run to go on with",
    )
    add("--kind", choices=KINDS, default="shapes", help="default: shapes")
    add("--videos", type=flags.count, default=8, metavar="N", help="default: 8")
    add("--frames", type=flags.count, metavar="N", help="of each video; default: 36")
    add("--size", type=_size, metavar="WxH", help="of the frames, pixels; default: 640x360")
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    add(
        "--difficulty",
        choices=("easy", "medium", "hard", "crowd"),
        default="medium",
        help="sets objects, occlusion, speed, dropped frames and changing light; crowd: medium with 24 objects; "
        "default: medium",
    )
    add(
        "--fps",
        type=float,
        metavar="F",
        help="frames per second of the films' clock, 1..240; the motion is the same in seconds; default: 12",
    )
    add("--objects", type=int, metavar="N", help="of each video")
    add("--occlusion", type=float, metavar="X", help="0..1: how often objects hide each other")
    add("--speed", type=float, metavar="X", help="1 is the pace of a walk")
    add("--drop", type=float, metavar="X", help="0..1: how often frames are missing")
    add(
        "--classes",
        metavar="NAMES",
        help="of shapes: coco, youtube_vis_2019, or names with commas; default: those of the shapes",
    )
    add(
        "--models",
        metavar="FILE|DIR",
        help="of scenes: a furniture catalogue, sweethome3d-furniture's .deb, or a folder with either; "
        "default: where Debian installs them",
    )
    scenes = parser.add_argument_group("scenes only; with one --seed their actors stay the same")
    add = scenes.add_argument
    add(
        "--camera",
        choices=("sway", "still", "pan", "move", "zoom"),
        help="sway: held by hand; still: stands; pan: turns; move: travels; zoom; default: sway. The scene and its "
        "actors' ways stay the same (those of --returns go farther out where the view moves)",
    )
    add(
        "--returns",
        type=float,
        metavar="X",
        help="0..1: share of the objects that leave the view and come back after 3 to 20 seconds, over the same edge "
        "or the other; films should last 30 seconds. Each object's absences are in instances.json",
    )
    add(
        "--lookalikes",
        type=float,
        metavar="X",
        help="0..1: share of the objects with model and texture of another one",
    )
    add(
        "--cuts",
        type=int,
        metavar="N",
        help="hard cuts in each film: to another camera of the scene, to another scene, to another camera of that, "
        "back to the first, and so on; objects keep their identities. Their frames are in instances.json",
    )
    add = parser.add_argument
    add("--video", action="store_true", help="also encode every video as mp4/VIDEO.mp4")
    flags.add_quiet_flag(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Renders what is missing; exit code 0, or that of a signal."""
    command.require_opencv()
    from sipvideo.synth import SyntheticDataset, video_names

    recipe = _recipe(args)
    classes = _classes(args)
    make = _films(args, recipe, classes)
    fixed = {"kind": args.kind, "seed": args.seed, "classes": list(classes)}
    settings = {**fixed, **recipe.settings()}
    dataset = SyntheticDataset(args.output, settings, classes, recipe.size)
    names = video_names(args.kind, args.seed, args.videos)
    with command.Stop() as stop:
        try:
            _render(dataset, names, make, recipe.frames, stop, quiet=args.quiet)
            if args.video:
                for name in stop.until(names):
                    _encode(dataset, name)
        except KeyboardInterrupt:
            pass
        if stop.asked:
            done = sum(map(dataset.has, names))
            command.note(f"{done} of {len(names)} videos are done; the same command goes on")
            return stop.exit_code(command.INTERRUPTED)
        content = dataset.finish(names)
    if not args.quiet:
        print(_summary(content, dataset.folder))
    return 0


def _render(
    dataset: SyntheticDataset,
    names: Sequence[str],
    make: Callable[[int], Film],
    frames: int,
    stop: command.Stop,
    *,
    quiet: bool,
) -> None:
    """Adds the videos that are missing.

    Raises:
        KeyboardInterrupt: a signal came; the current video is given up.
    """
    missing = [k for k, name in enumerate(names) if not dataset.has(name)]
    with Progress("", frames * len(missing), quiet) as progress:

        def shown() -> None:
            progress.advance()
            if stop.asked:
                raise KeyboardInterrupt

        for k in missing:
            progress.rename(names[k])
            dataset.add(names[k], make(k), shown)


def _recipe(args: argparse.Namespace) -> Recipe:
    from sipvideo.synth import DIFFICULTIES

    given = ("frames", "size", "objects", "occlusion", "speed", "drop", "fps", *SCENES_ONLY)
    changes = {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    return replace(DIFFICULTIES[args.difficulty], **changes)


def _classes(args: argparse.Namespace) -> tuple[str, ...]:
    from sipvideo.classes import CLASS_SETS, COCO
    from sipvideo.synth import SHAPES

    if args.kind == "scenes":
        if args.classes not in (None, "coco"):
            raise ConfigError(f"--classes {args.classes}: scenes have COCO's classes")
        return COCO
    if args.classes is None:
        return SHAPES
    names = CLASS_SETS.get(args.classes) or tuple(n.strip() for n in args.classes.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"--classes {args.classes}: expected different names with commas")
    return names


def _films(
    args: argparse.Namespace, recipe: Recipe, classes: tuple[str, ...]
) -> Callable[[int], Film]:
    """Makes the film with a number."""
    from sipvideo.synth import ModelLibrary, ScenesFilm, ShapesFilm

    if args.seed < 0:
        raise ConfigError(f"--seed: expected 0 or more, got {args.seed}")
    if args.kind == "shapes":
        for name in (*SCENES_ONLY, "models"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name}: only scenes have it; add --kind scenes")
        return lambda k: ShapesFilm(recipe, (args.seed, k), classes)
    ScenesFilm.require_renderer()
    library = ModelLibrary(args.models)
    return lambda k: ScenesFilm(recipe, (args.seed, k), library)


def _encode(dataset: SyntheticDataset, name: str) -> None:
    """Encodes a saved video, unless that is done already."""
    from sipvideo.sinks import AnnotatedVideo
    from sipvideo.structures import Detections, Frame, FrameResult
    from sipvideo.synth import pictures

    path = dataset.folder / "mp4" / f"{name}.mp4"
    if path.is_file():
        return
    seconds = dataset.seconds(name)
    with AnnotatedVideo(path, lambda result: result.frame.image) as video:
        frames = zip(pictures(dataset.frames(name)), seconds, strict=True)
        for index, (image, second) in enumerate(frames):
            frame = Frame(image, index, second)
            nothing = Detections.empty(frame.size)
            video.write(FrameResult(frame, nothing, nothing.labels, 0.0))


def _summary(content: dict[str, Any], folder: Path) -> str:
    from sipvideo.evaluation.names import counted

    names = {category["id"]: category["name"] for category in content["categories"]}
    counts = Counter(names[a["category_id"]] for a in content["annotations"])
    listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    frames = sum(video["length"] for video in content["videos"])
    size = (len(content["videos"]), "video"), (frames, "frame"), (counts.total(), "object")
    told = ", ".join(counted(*one) for one in size)
    return f"{folder / 'instances.json'}: {told}{': ' + listed if listed else ''}"


def _size(text: str) -> tuple[int, int]:
    """WxH as (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"expected WxH such as 640x360, got {text!r}")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
