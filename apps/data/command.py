"""``sipvideo data``: looks at annotated data, and makes some."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "check": "read a dataset as training and evaluation will, and explain what is wrong with it",
    "convert": "to and from COCO, YouTube-VIS, DAVIS, MOTS, CVAT, LabelMe, YOLO and FiftyOne; results of runs too",
    "synth": "render videos with exact masks and identities",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    listing = "\n".join(f"  {name:7} {about}" for name, about in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="sipvideo data",
        description="Looks at annotated data, and makes some.",
        epilog=f"commands:\n{listing}\n\nsipvideo data COMMAND --help tells more about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(arguments[:1]).command
    code: int = importlib.import_module(f"sipvideo.apps.data.{chosen}").main(arguments[1:])
    return code
