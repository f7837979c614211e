"""How every command runs: errors as one line, signals, exit codes, a ready segmenter."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from sipvideo.errors import SipVideoError, UnforeseenError, contained, show_traceback
from sipvideo.extras import absent

if TYPE_CHECKING:
    from sipvideo.jobs import SegmenterSpec
    from sipvideo.pipeline import VideoSegmenter

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
    print(f"sipvideo: error: {one_line(str(problem))}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Writes one line that a user should know but need not act on."""
    print(f"sipvideo: note: {one_line(text)}", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
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
                del item  # a frame would stay while the next one is decoded
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


def spec(args: argparse.Namespace) -> SegmenterSpec:
    """What the model and selection flags ask for, as values."""
    from sipvideo.jobs import SegmenterSpec

    given: dict[str, Any] = {
        name: getattr(args, name) for name in vars(SegmenterSpec()) if hasattr(args, name)
    }
    return SegmenterSpec(**given | {"overrides": tuple(args.overrides)})


def segmenter(args: argparse.Namespace) -> VideoSegmenter:
    """The segmenter that the same flags ask for. Loads the engine, hence only here.

    Raises:
        SipVideoError: OpenCV is missing, or as :func:`sipvideo.build.load`.
    """
    require_opencv()
    ready = spec(args).load()
    recognised(args, ready.engine.model)
    return ready


def recognised(args: argparse.Namespace, model: str) -> None:
    """Tells which model a weights file is, where nobody said it."""
    if args.weights and not args.config:
        note(f"{args.weights}: recognised as {model}")


def require_opencv() -> None:
    """Says what to install where OpenCV is missing or cannot be loaded.

    Raises:
        SipVideoError: with the install command.
    """
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError as error:
        missing = absent(error)
        if missing is None:
            raise
        raise SipVideoError(missing) from error
    except ImportError as error:
        raise SipVideoError(
            f"opencv-python cannot be loaded ({error}): pip uninstall opencv-python, "
            "then pip install opencv-python-headless"
        ) from error
