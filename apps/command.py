"""What every command shares: the same words for the same flags, errors as one line, exit codes."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from sipvideo.errors import DEBUG, SipVideoError, UnforeseenError, contained, show_traceback

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.showing import ShowingOptions

FAILED = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
LONGEST = 1000
"""Letters of a line of error."""

T = TypeVar("T")


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; what a user can act on becomes one line on stderr instead of a traceback.

    Returns:
        The command's own exit code; 2 after a :class:`SipVideoError` or a defect, 130 after Ctrl-C, 141 where the
        reader of standard output went away, as shells expect.
    """
    try:
        with contained():
            return _while_read(command)
    except SipVideoError as error:
        complain(error)
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def _while_read(command: Callable[[], int]) -> int:
    """Runs a command as long as somebody reads what it prints."""
    try:
        return command()
    except BrokenPipeError:
        # Whoever read our standard output went away; it must not be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def complain(problem: SipVideoError | str) -> None:
    """Writes one line of the form ``sipvideo: error: ...`` to stderr, with --debug after its traceback."""
    if isinstance(problem, SipVideoError) and not isinstance(problem, UnforeseenError):
        show_traceback(problem)  # an unforeseen one was shown when it was caught
    print(f"sipvideo: error: {_line(str(problem))}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Writes one line that a user should know but need not act on."""
    print(f"sipvideo: note: {_line(text)}", file=sys.stderr, flush=True)


def _line(text: str) -> str:
    """A text as one line that a person reads to its end: what damaged files hold can be megabytes."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def speak_plainly() -> None:
    """What a terminal cannot show, names of damaged files, is written as escapes and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Stop:
    """Lets Ctrl-C and SIGTERM end a run at any moment but never in the middle of handling a result.

    with Stop() as stop:
        for result in stop.until(results):
            ...  # not interrupted: writes are whole
    return stop.exit_code(0)
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._waiting = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._signal is not None

    def until(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to the signal; waiting for the next item ends at once."""
        iterator = iter(items)
        try:
            while not self.asked:
                self._waiting = True
                item = next(iterator, None)
                self._waiting = False
                if item is None:
                    return
                yield item
        except KeyboardInterrupt:
            return
        finally:
            self._waiting = False

    def exit_code(self, otherwise: int) -> int:
        """128 + signal number after a signal (130 for Ctrl-C), as shells expect."""
        return otherwise if self._signal is None else 128 + self._signal

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        if self._waiting:
            raise KeyboardInterrupt


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
        super().error(_line(message))


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


def add_set_flag(parser: argparse._ActionsContainer) -> None:
    """--set."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value of the configuration, for example postprocess.score_threshold=0.3; "
        "may be repeated",
    )


def add_weights_flag(parser: argparse._ActionsContainer) -> None:
    """--model and --weights."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="model that comes with sipvideo: nano, or small (better and slower); default: nano",
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
        help="engine that runs the network: openvino, onnxruntime, torch; openvino-bf16, torch-bf16 (half the "
        "precision, faster on CPUs that know it); torch-compile (compiled at the start, which takes minutes; needs a "
        "C++ compiler); torch-fp16 and torch-tf32 (only with CUDA); or auto (default): the fastest that is ready: "
        "openvino and onnxruntime convert a network once, when they are asked for by name, and are ready from then on",
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
        help="masks (default), outlines, blur, pixelate, silhouette, spotlight, cutout or none, for all or some "
        "classes; may be repeated",
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
        metavar="COLOUR|FILE|blur",
        help="what is seen around objects: white, black, green, #rrggbb, a picture, or blur",
    )


def add_event_flags(parser: argparse._ActionsContainer) -> None:
    """--zones and --send: what is watched in results."""
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


def showing(args: argparse.Namespace) -> ShowingOptions:
    """What the flags of :func:`add_drawing_flags` and :func:`add_event_flags` ask for."""
    from sipvideo.showing import ShowingOptions

    given = {name: getattr(args, name, None) for name in ShowingOptions.model_fields}
    return ShowingOptions.model_validate({key: value for key, value in given.items() if value})


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


def number(text: str) -> float:
    """An argument that is a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def time(text: str) -> float:
    """An argument that is a time: 90, 1:30, 0:01:30.5, 90s, 2min."""
    from sipvideo.sources.excerpt import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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


def add_orientation_flag(parser: argparse._ActionsContainer) -> None:
    """--ignore-orientation."""
    parser.add_argument(
        "--ignore-orientation",
        action="store_true",
        help="where a picture has the annotated size both as stored and turned by its orientation mark, take it as "
        "stored; default: turned",
    )


def add_output_flag(
    parser: argparse._ActionsContainer, what: str, default: str | None = None
) -> None:
    """-o and --output."""
    about = f"{what}; default: {default}" if default else what
    parser.add_argument("-o", "--output", default=default, metavar="DIR", help=about)


def add_quiet_flag(parser: argparse._ActionsContainer) -> None:
    """-q and --quiet."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary")


def segmenter(args: argparse.Namespace) -> VideoSegmenter:
    """The segmenter that the model flags ask for. Loads the engine, hence only here.

    Raises:
        SipVideoError: OpenCV is missing, or as :func:`sipvideo.build.load`.
    """
    require_opencv()
    from sipvideo.build import load

    selection = {
        name: getattr(args, name)
        for name in ("classes", "area", "min_score", "max_objects", "privacy", "blur_all")
        if hasattr(args, name)  # commands without these flags
    }
    ready = load(
        args.config,
        args.weights,
        args.device,
        args.overrides,
        args.runtime,
        model=args.model,
        **selection,
    )
    if args.weights and not args.config:
        note(f"{args.weights}: recognised as {ready.engine.model}")
    return ready


def require_opencv() -> None:
    """Says what to install where OpenCV is missing or cannot be loaded.

    Raises:
        SipVideoError: with the install command.
    """
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise SipVideoError(
            "OpenCV is not installed: pip install opencv-python, or opencv-python-headless "
            "where there is no screen"
        ) from error
    except ImportError as error:
        raise SipVideoError(
            f"opencv-python cannot be loaded ({error}): pip uninstall opencv-python, "
            "then pip install opencv-python-headless"
        ) from error
