"""``sipvideo config``: lists the configurations, or shows one in full."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import yaml

from sipvideo.apps import command, flags
from sipvideo.config import available, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="sipvideo config",
        description="Lists the configurations that come with sipvideo, or shows one in full: "
        "its own values, the defaults of all others, and the changes of --set.",
    )
    parser.add_argument("config", nargs="?", metavar="NAME|FILE", help="show this one")
    flags.add_set_flag(parser)
    args = parser.parse_args(argv)
    if args.config is None and args.overrides:
        parser.error("--set needs a configuration to change")
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Prints names, or one configuration as YAML."""
    if args.config is None:
        for name in available():
            print(f"{name}  ({len(load_config(name).class_names)} classes)")
        return 0
    values = load_config(args.config, args.overrides).model_dump(mode="json")
    print(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
