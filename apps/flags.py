"""What commands take: the same words for the same flags, and the values that they understand."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sipvideo.apps.command import one_line
from sipvideo.errors import DEBUG
from sipvideo.remote import is_remote, shown

if TYPE_CHECKING:
    from sipvideo.showing import ShowingOptions


class Parser(argparse.ArgumentParser):
    """The parser of every command and action: all of them have --debug."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_argument(
            "--debug",
            action=_Debug,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show the traceback of every error, also by SIPVIDEO_DEBUG=1",
        )

    def error(self, message: str) -> NoReturn:
        """As argparse does it, in a line that is read to its end."""
        super().error(one_line(message))


class _Debug(argparse.Action):
    """Holds for this process and those that it starts."""

    def __call__(self, *_: object) -> None:
        os.environ[DEBUG] = "1"


def add_config_flags(parser: argparse._ActionsContainer) -> None:
    """--config and --set: what determines a result."""
    parser.add_argument(
        "--config",
        metavar="NAME|FILE",
        help="configuration by name (sipvideo config lists them) or YAML file; "
        "default: the one inside the weights file",
    )
    add_set_flag(parser)


def add_set_flag(
    parser: argparse._ActionsContainer,
    of: str = "configuration",
    example: str = "postprocess.score_threshold=0.3",
) -> None:
    """--set."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one value of the {of}, for example {example}; may be repeated",
    )


def add_weights_flag(parser: argparse._ActionsContainer) -> None:
    """--model and --weights."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="model that comes with sipvideo: small, or nano (faster and worse); default: small",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE|FOLDER",
        help="weights file, or the folder of an exported model, instead of a model that comes with sipvideo",
    )


def add_model_flags(parser: argparse._ActionsContainer) -> None:
    """--model, --weights, --config, --set, --device and --runtime: what :func:`segmenter` needs."""
    add_weights_flag(parser)
    add_config_flags(parser)
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1 or auto (default): CUDA where there is one, else the CPU",
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="NAME",
        help="engine that runs the network: openvino, onnxruntime, torch; openvino-int8 (the default model in whole "
        "numbers of 8 bits: nearly as good, much faster on most CPUs); openvino-bf16, torch-bf16 (half the precision, "
        "faster on CPUs that know it); torch-compile (compiled at the start, which takes minutes; needs a C++ "
        "compiler); torch-fp16 and torch-tf32 (only with CUDA); or auto (default): the fastest that is ready: "
        "openvino and onnxruntime convert a network once, when they are asked for by name, and are ready from then on",
    )


HARDWARE = ("auto", "software", "cuda", "vaapi", "qsv", "videotoolbox")
"""As :data:`sipvideo.sources.CHOICES`, which is not loaded before it is needed."""


def add_hwaccel_flag(parser: argparse._ActionsContainer) -> None:
    """--hwaccel: what decodes videos and streams."""
    parser.add_argument(
        "--hwaccel",
        default="auto",
        choices=HARDWARE,
        metavar="NAME",
        help="what decodes videos: software, cuda, vaapi, qsv, videotoolbox, or auto (default): the graphics "
        "card where the network runs on one; where hardware cannot, software does, and a note says so",
    )


def add_segmenter_flag(parser: argparse._ActionsContainer) -> None:
    """--segmenter, beside the flags of the model whose place it takes."""
    parser.add_argument(
        "--segmenter",
        metavar="MODULE:NAME",
        help="a detector of your own in the model's place: a function from Frame to Detections, or an engine",
    )


def add_selection_flags(parser: argparse._ActionsContainer) -> None:
    """--classes and the like: what of the objects is wanted at all; also what :func:`segmenter` needs."""
    parser.add_argument(
        "--classes",
        type=words,
        default=(),
        metavar="CLASS,...",
        help="names or numbers of the only classes that are looked for, for example person,car",
    )
    parser.add_argument(
        "--min-score",
        type=share,
        metavar="N",
        help="score from which an object counts, 0 to 1; default: what the model was tuned to",
    )
    parser.add_argument(
        "--max-objects", type=count, metavar="N", help="of a frame at most, the best ones"
    )
    parser.add_argument(
        "--area",
        type=area,
        metavar="X0,Y0,X1,Y1",
        help="part of the picture that is looked at, 0 to 1 from its top left; objects there look larger to the model",
    )
    parser.add_argument(
        "--tiles",
        type=tiles,
        metavar="auto|3x2",
        help="find smaller objects: look at overlapping tiles too, so many across and down, which takes as many "
        "times as long; auto: only where small objects may be, by the sizes of picture and model",
    )
    parser.add_argument(
        "--privacy",
        nargs="?",
        type=words,
        const=("person",),
        metavar="CLASS,...",
        help="make people (or these classes) unrecognisable before anything is shown, saved or sent; people that the "
        "model does not see stay visible",
    )
    parser.add_argument(
        "--blur-all", action="store_true", help="make every picture unrecognisable as a whole"
    )


def add_drawing_flags(parser: argparse._ActionsContainer) -> None:
    """--draw, --show-classes and --background: how results look."""
    parser.add_argument(
        "--draw",
        action="append",
        default=[],
        metavar="LOOK[:CLASS,...]",
        help="masks (default), outlines, boxes, blur, pixelate, silhouette, spotlight, cutout or none, for all or some "
        "classes; may be repeated",
    )
    parser.add_argument(
        "--labels",
        type=labels,
        default=(),
        metavar="class,id,score|none",
        help="what is written beside objects; default: all three",
    )
    parser.add_argument(
        "--trails",
        type=trails,
        metavar="2s",
        help="draw the path of so many seconds behind each identity",
    )
    parser.add_argument(
        "--show-classes",
        type=words,
        default=(),
        metavar="CLASS,...",
        help="draw only these; results have all",
    )
    parser.add_argument(
        "--background",
        metavar="COLOUR|FILE|blur|transparent",
        help="what is seen around objects: white, black, green, #rrggbb, a picture, blur; transparent: they are cut "
        "out, and the video is a WebM that has transparency (a MOV with --save prores)",
    )


def add_event_flags(parser: argparse._ActionsContainer) -> None:
    """--zones, --send, --event-picture and --event-clip: what is watched in results."""
    parser.add_argument(
        "--zones",
        metavar="FILE",
        help="YAML file with zones and lines: drawn with their counts, events are saved",
    )
    parser.add_argument(
        "--send",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="receiver of events: http(s)://... (a POST each) or mqtt://HOST/TOPIC; may be repeated",
    )
    parser.add_argument(
        "--event-picture", action="store_true", help="keep a picture of every event beside its line"
    )
    parser.add_argument(
        "--event-clip",
        type=clip,
        metavar="SECONDS",
        help="keep a clip of every event, half of it from before",
    )


def watches(args: argparse.Namespace) -> bool:
    """Whether any of :func:`add_event_flags` was given."""
    return bool(args.zones or args.send or args.event_picture or args.event_clip)


def showing(args: argparse.Namespace) -> ShowingOptions:
    """What the flags of :func:`add_drawing_flags` and :func:`add_event_flags` ask for."""
    from sipvideo.showing import ShowingOptions

    given = {name: getattr(args, name, None) for name in ShowingOptions.model_fields}
    return ShowingOptions.model_validate({key: value for key, value in given.items() if value})


def clip(text: str) -> float:
    """The length of a clip in seconds."""
    value = number(text.removesuffix("s"))
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"expected seconds up to 60, got {text!r}")
    return value


def on_disk(text: str) -> str:
    """An argument that names a file or folder on the disk: what is in a bucket has to be fetched first."""
    if is_remote(text):
        raise argparse.ArgumentTypeError(
            f"{shown(text)}: this command takes what is on the disk: fetch it first (docs/buckets.md says how)"
        )
    return text


def folder_on_disk(text: str) -> Path:
    """As :func:`on_disk`, as a path."""
    return Path(on_disk(text))


def words(text: str) -> tuple[str, ...]:
    """An argument that lists words, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"expected words with commas between them, got {text!r}")
    return found


def share(text: str) -> float:
    """An argument from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text!r}")
    return value


def area(text: str) -> tuple[float, float, float, float]:
    """An argument of four numbers, x0,y0,x1,y1 in 0..1."""
    parts = tuple(number(part) for part in text.split(","))
    if len(parts) != 4 or not (0 <= parts[0] < parts[2] <= 1 and 0 <= parts[1] < parts[3] <= 1):
        raise argparse.ArgumentTypeError(
            f"expected x0,y0,x1,y1 in 0..1 with x0 < x1 and y0 < y1, got {text!r}"
        )
    return parts


def tiles(text: str) -> str:
    """An argument that says how pictures are cut: auto, 3x2."""
    if not re.fullmatch(r"auto|[1-8]x[1-8]", text):
        raise argparse.ArgumentTypeError(
            f"expected auto, or tiles across and down such as 3x2, up to 8x8, got {text[:40]!r}"
        )
    return text


def number(text: str) -> float:
    """An argument that is a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def rate(text: str) -> float:
    """An argument that is a number of pictures per second."""
    value = number(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 1000, got {text!r}")
    return value


def time(text: str) -> float:
    """An argument that is a time: 90, 1:30, 0:01:30.5, 90s, 2min."""
    from sipvideo.sources.excerpt import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def labels(text: str) -> tuple[str, ...]:
    """An argument that says what is written beside objects."""
    parts = words(text)
    if parts != ("none",) and not {"class", "id", "score"} >= set(parts):
        raise argparse.ArgumentTypeError(
            f"expected some of class,id,score, or none alone, got {text[:40]!r}"
        )
    return parts


def trails(text: str) -> float:
    """An argument that is the length of a trail: seconds above 0, up to an hour."""
    seconds = time(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected a time above 0, up to an hour, got {text!r}")
    return seconds


def count(text: str) -> int:
    """An argument that is a whole number above 0, of up to nine digits."""
    if not text.isdecimal() or len(text) > 9 or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text[:40]!r}")
    return int(text)


def result_kinds(text: str) -> tuple[str, ...]:
    """An argument that lists kinds of results, keys of :data:`sipvideo.results.FILES`; each once, in its order."""
    from sipvideo.results import FILES

    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not FILES.keys() >= set(kinds):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(FILES)}, got {text!r}")
    return kinds


def add_dataset_flags(parser: argparse._ActionsContainer) -> None:
    """--images, --split and --ignore-orientation: how an annotated data set is opened."""
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder, tar or zip file of the pictures; default: images, JPEGImages and the like near the file",
    )
    parser.add_argument("--split", metavar="NAME", help="only entries with this value of 'split'")
    add_orientation_flag(parser)


def add_orientation_flag(parser: argparse._ActionsContainer) -> None:
    """--ignore-orientation."""
    parser.add_argument(
        "--ignore-orientation",
        action="store_true",
        help="where a picture has the annotated size both as stored and turned by its orientation mark, take it as "
        "stored; default: turned",
    )


def add_output_flag(
    parser: argparse._ActionsContainer,
    what: str,
    default: str | None = None,
    *,
    remote: bool = False,
) -> None:
    """-o and --output; ``remote``: it may be in a bucket."""
    about = f"{what}; default: {default}" if default else what
    kind = str if remote else on_disk
    parser.add_argument("-o", "--output", default=default, type=kind, metavar="DIR", help=about)


def add_quiet_flag(parser: argparse._ActionsContainer) -> None:
    """-q and --quiet."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary")
