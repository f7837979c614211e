"""``python apps/reports/identities/jumps.py VIDEO...``: whether objects of real videos are known again by their looks.

Nobody has to annotate anything: from some frame on the clock is put forward by so long that no object is looked for
near its place any more, so that only looks can tell who is who; the run without a jump tells who was who.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    from sipvideo.config import TrackerConfig
    from sipvideo.structures import Detections, IntArray

FEWEST = 5
"""Sightings that an identity needs before the jump."""
JUST_BEFORE, JUST_AFTER, NOTICED = 0.5, 1.0, 2.0
"""Seconds before the jump and after it in which an object must be seen, and after it in which it must be known."""
CONFIDENT = 0.4
"""Least score after the jump of an object that anybody must have noticed."""
EDGE = 20
"""Frames at both ends in which no jump is tried."""

Reports = Sequence[tuple[float, "Detections"]]
"""Second and objects of every frame."""


@dataclass(frozen=True)
class Known:
    """What became of identities after jumps: the same, that of somebody else, a new one or none."""

    right: int = 0
    false: int = 0
    new: int = 0

    def __add__(self, other: Known) -> Known:
        return Known(self.right + other.right, self.false + other.false, self.new + other.new)

    def row(self, name: str) -> str:
        """As a row of a table in Markdown."""
        return f"| {name} | {self.right} | {self.false} | {self.new} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/identities/jumps.py",
        description="Puts the clock forward in the middle of videos and counts who is known again by looks alone.",
    )
    add = parser.add_argument
    add("videos", metavar="VIDEO", type=Path, nargs="+", help="video file")
    add(
        "--places",
        type=flags.count,
        default=12,
        metavar="N",
        help="jumps tried per video; default: 12",
    )
    add("--jump", type=flags.time, default=10.0, metavar="TIME", help="default: 10s")
    flags.add_model_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures and prints a table in Markdown."""
    from sipvideo.sources import open_source

    segmenter = command.segmenter(args)
    assert segmenter.config is not None
    settings = segmenter.config.tracker
    if args.jump <= settings.max_age:
        raise ConfigError(
            f"--jump: expected more than tracker.max_age, {settings.max_age} s, got {args.jump} s"
        )
    print("| video | right | somebody else's | new |")
    print("|---|---|---|---|")
    total = Known()
    for video in args.videos:
        with open_source(str(video)) as source:
            reports = [(f.timestamp, segmenter.engine.detect([f])[0]) for f in source]
        whole, span = identities(reports, settings), max(0, len(reports) - 2 * EDGE)
        found = Known()
        for place in sorted(
            {EDGE + k * span // args.places for k in range(min(args.places, span))}
        ):
            found += after_jump(reports, whole, place, args.jump, settings)
        print(found.row(video.stem), flush=True)
        total += found
    print(total.row("all"))
    return 0


def after_jump(
    reports: Reports, whole: Sequence[IntArray], place: int, jump: float, config: TrackerConfig
) -> Known:
    """Whether the identities just before frame ``place`` are known again where the clock jumps there.

    Args:
        reports: of a whole video.
        whole: their :func:`identities` without a jump.
        place: the first frame after the jump.
        jump: seconds; more than ``config.max_age``.
        config: the tracker's.
    """
    seconds = [second for second, _ in reports]
    begin, now = seconds[place - 1] - JUST_BEFORE, seconds[place]
    later = [(second + jump * (k >= place), found) for k, (second, found) in enumerate(reports)]
    parted = identities(later, config)
    hits = Counter(i for ids in whole[:place] for i in ids.tolist())
    recent = {
        i
        for second, ids in zip(seconds[:place], whole, strict=False)
        if second >= begin
        for i in ids.tolist()
    }
    known = Known()
    for track_id in recent:
        noticed, got = False, set()
        for k in range(place, len(reports)):
            mine = whole[k] == track_id
            if seconds[k] - now > NOTICED or not mine.any():
                continue
            sure = float(reports[k][1].scores[mine][0]) >= CONFIDENT
            noticed |= sure and seconds[k] - now <= JUST_AFTER
            got |= set(parted[k][mine].tolist()) - {-1}
        if track_id < 0 or hits[track_id] < FEWEST or not noticed:
            continue
        right, false = track_id in got, any(i in hits for i in got)
        known += Known(int(right), int(false and not right), int(not false and not right))
    return known


def identities(reports: Reports, config: TrackerConfig) -> list[IntArray]:
    """What a fresh tracker says of each frame: int64 [N]."""
    from sipvideo.tracker import build_tracker

    tracker = build_tracker(config)
    return [tracker.update(found, second) for second, found in reports]


if __name__ == "__main__":
    sys.exit(main())
