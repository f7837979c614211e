"""What every command shares: the same words for the same flags, errors as one line, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sipvideo.errors import SipVideoError

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter

FAILED = 2
INTERRUPTED = 130


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; what a user can act on becomes one line on stderr instead of a traceback.

    Returns:
        The command's own exit code; 2 after a :class:`SipVideoError`, 130 after Ctrl-C.
    """
    try:
        return command()
    except SipVideoError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our standard output went away; it must not be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain("standard output was closed before the end")
        return FAILED


def complain(problem: str) -> None:
    """Writes one line of the form ``sipvideo: error: ...`` to stderr."""
    print(f"sipvideo: error: {' '.join(problem.split())}", file=sys.stderr, flush=True)


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """--config and --set: what determines a result."""
    parser.add_argument(
        "--config",
        metavar="NAME|FILE",
        help="configuration by name (sipvideo config lists them) or YAML file; "
        "default: the one inside the weights file",
    )
    add_set_flag(parser)


def add_set_flag(parser: argparse.ArgumentParser) -> None:
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


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """--weights, --config, --set and --device: what :func:`segmenter` needs."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights file; default: the model that comes with sipvideo",
    )
    add_config_flags(parser)
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps or auto (default): the best present",
    )


def add_output_flag(parser: argparse.ArgumentParser, what: str, default: str | None = None) -> None:
    """-o and --output."""
    about = f"{what}; default: {default}" if default else what
    parser.add_argument("-o", "--output", default=default, metavar="DIR", help=about)


def add_quiet_flag(parser: argparse.ArgumentParser) -> None:
    """-q and --quiet."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary")


def segmenter(args: argparse.Namespace) -> VideoSegmenter:
    """The segmenter that the model flags ask for. Loads PyTorch, hence only here.

    Raises:
        SipVideoError: OpenCV is missing, or as :func:`sipvideo.build.load`.
    """
    require_opencv()
    from sipvideo.build import load

    return load(args.config, args.weights, args.device, args.overrides)


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
