"""The command ``sipvideo``: finds the sub-command and hands the rest of the line to it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

from sipvideo.apps import command, flags

COMMANDS = {
    "video": "segment and track videos and picture sequences, save the results",
    "status": "what is complete, in work, waiting and failed in a folder of results",
    "retry": "run again what failed in a folder of results, with the same settings",
    "serve": "a page for the browser: live views, your webcam, uploads; REST and WebSocket API",
    "studio": "a page to look at results and to correct identities, classes and masks",
    "webcam": "show cameras, streams and files live in a window",
    "recover": "whole results of runs and recordings that were killed",
    "train": "fine-tune on pictures or videos of your own, or follow a recipe",
    "tune": "find settings of the tracker for videos like your own",
    "explain": "why objects have the identities that they have, of a run with --save explain",
    "repair": "decide anew about the identities of a finished run, fill gaps, drop ghosts",
    "eval": "score a model or its results on annotated videos or pictures",
    "data": "check annotated data, render videos with exact masks",
    "export": "write the model for OpenVINO or ONNX Runtime, checked on real frames",
    "weights": "show what a weights file holds",
    "config": "list the configurations, show one in full",
    "bench": "measure speed on this machine",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns its exit code.

    Only the chosen command's module is imported, so that help and errors come at once.
    """
    command.speak_plainly()
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {about}" for name, about in COMMANDS.items())
    parser = flags.Parser(
        prog="sipvideo",
        description="Real-time video instance segmentation.",
        epilog=f"commands:\n{listing}\n\nsipvideo COMMAND --help tells more about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sipvideo {_version()}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    arguments = list(sys.argv[1:] if argv is None else argv)
    own = next((k for k, text in enumerate(arguments) if not text.startswith("-")), 0) + 1
    chosen = parser.parse_args(arguments[:own]).command
    code: int = importlib.import_module(f"sipvideo.apps.{chosen}").main(arguments[own:])
    return code


def _version() -> str:
    try:
        return metadata.version("sipvideo")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
