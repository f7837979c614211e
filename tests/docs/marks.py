"""Which commands of the pages are not run, and why: one place. Those, too, are parsed as the program parses them."""

from __future__ import annotations

import re

from tests.docs.pages import Command

OUTSIDE = {
    r"^(pip|make) ": "installs or builds; extras and targets are looked up",
    r"\b(rtsp|udp|mqtt)://": "a camera or broker of somebody's network",
    r"\b(s3|gs)://": "somebody's bucket",
    r"--on ": "a cluster; make test-ray runs one",
    r"webcam($|.* --(web|record|budget|source 0))": "a camera",
    r"serve .*--source 0": "a camera",
    r"--tls": "somebody's certificate",
    r"cuda|fp16": "a GPU; make gpu-report",
    r"\.pth|MODEL|FILE|--detector|w\.safetensors": "weights that are published elsewhere",
    r"SOURCE|CLIP|DAVIS/|DATA |OTHER_CHECKOUT|/shared/|/path/to": "a name that stands for the reader's own",
    r"--kind scenes|eval scenes/": "renders for minutes; make identity-report does",
    r"^python (apps|benchmarks)/": "a measurement of minutes to hours",
    r"pytest|-m venv": "this suite, and its environment",
    r"--watch": "watches until it is stopped",
    r"street\.xml|eval truth/": "what comes back from CVAT",
}
"""What is never run, by a pattern of its text."""

HEAVY = {
    r"^sipvideo (train|tune|export)\b": "takes minutes",
    r"^sipvideo bench\b|openvino-bf16|-weights (fast|runs)": "measures, or needs what takes minutes",
    r"--workers": "starts processes",
    r"--model small|runs/tuning": "a second model",
    r"^sipvideo (serve|webcam|studio)\b|examples/live": "runs until it is stopped",
    r"^python ": "a process of its own",
    r"transparent|tiles|shapes": "slow by nature",
    r"video examples/": "a hundred frames",
    r"--classes|--draw|--every|--lookahead|--compare": "one more run of a command; tests/apps has each flag",
    r"clips/|holiday/|--list|^sipvideo (status|retry)": "the same for several videos; tests/apps/test_many.py",
}
"""What ``make docs-commands`` runs and the suite parses only."""

SHORTER = {
    r"^sipvideo train (?!--list)": ("--steps", "3"),
    r"^sipvideo tune": ("--trials", "2"),
    r"^sipvideo export": ("--check-frames", "5", "--calibration-frames", "4"),
}
"""What is added to commands that take minutes, so that all can be run at all: they do the same, for less long."""

ENDLESS = re.compile(r"^sipvideo (serve|webcam|studio)\b")
"""Is stopped by Ctrl-C after a while."""


def why_outside(command: Command) -> str | None:
    """The reason for never running it."""
    return _reason(command, OUTSIDE)


def why_heavy(command: Command) -> str | None:
    """The reason for not running it in the suite."""
    return _reason(command, HEAVY)


def shorter(command: Command) -> tuple[str, ...]:
    """What is added to it when it is run."""
    return next((more for pattern, more in SHORTER.items() if re.search(pattern, command.text)), ())


def _reason(command: Command, table: dict[str, str]) -> str | None:
    return next((why for pattern, why in table.items() if re.search(pattern, command.text)), None)
