"""``sipvideo weights``: what a weights file holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sipvideo.apps import command, flags


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="sipvideo weights", description="Looks at weights files.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "show what a weights file is, and whether it fits a configuration"
    inspecting = actions.add_parser("inspect", help=about, description=f"{about.capitalize()}.")
    inspecting.add_argument(
        "file", metavar="FILE", help="a .safetensors file or published checkpoint"
    )
    inspecting.add_argument("--names", action="store_true", help="list every tensor with its shape")
    flags.add_config_flags(inspecting)
    args = parser.parse_args(argv)
    return command.guarded(lambda: inspect(args))


def inspect(args: argparse.Namespace) -> int:
    """Prints kind, size and configuration; checks the fit where a configuration is known.

    Raises:
        CheckpointError: unreadable file, or weights that do not fit the configuration.
        ConfigError: wrong configuration.
    """
    from sipvideo.config import load_config
    from sipvideo.model import checkpoint

    file = checkpoint.read(args.file)
    values = sum(tensor.numel() for tensor in file.tensors.values())
    kinds = {
        "sipvideo": "sipvideo weights",
        "mmdetection": "published SipMask checkpoint (mmdetection)",
        "fcos": "published SipMask checkpoint (FCOS)",
    }
    print(f"file      {file.path}")
    print(f"kind      {kinds[file.kind]}")
    print(f"tensors   {len(file.tensors)} with {values:,} values")
    for key, value in file.meta.items():
        print(f"{key:9} {' '.join(value.split())[:200]}")
    if file.mapped:
        print(f"mapped    {len(file.mapped)} published names to ours; --names lists them")
    if args.names:
        published = {ours.partition("#")[0]: theirs for theirs, ours in file.mapped.items()}
        for name, tensor in file.tensors.items():
            origin = f"  <- {published[name]}" if name in published else ""
            print(f"  {name}  {list(tensor.shape)}{origin}")
    if args.config:
        config = load_config(args.config, args.overrides)
    elif file.config is not None:
        config = file.config.with_overrides(args.overrides)
    else:
        names = checkpoint.matching_configs(file)
        print(f"fits      {', '.join(names) or 'no configuration that comes with sipvideo'}")
        return 0
    checkpoint.loaded(config, file)
    print(f"fits      {config.name}, {len(config.class_names)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
