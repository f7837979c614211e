"""Events of rendered scenes against the truth: who crossed a line or entered a zone, and when.

    sipvideo data synth --kind scenes --videos 10 --frames 60 --seed 501 -o scenes
    python benchmarks/events_scenes.py scenes [more ...]

The truth is reckoned here from the exact masks and identities of all frames, at leisure and without the code that is
measured. Against it stand the events of ``sipvideo`` from true boxes with noise and misses, and from the default
model's detections, both with identities by its tracker. Lines and zones are the same in all films.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

import sipvideo
from sipvideo.config import TrackerConfig
from sipvideo.evaluation.replay import NetworkReporter, Replay, TruthReporter, replays
from sipvideo.events import EventWatch, Rules
from sipvideo.tracker import Tracker

LINES = {"left": 0.35, "middle": 0.5, "right": 0.65}
"""Upright lines over the whole height, by their place across."""
HALL = 0.6
"""The zone: all that is right of it."""
RULES = Rules.model_validate(
    {
        "lines": {name: {"from": [x, 0], "to": [x, 1]} for name, x in LINES.items()},
        "zones": {"hall": {"polygon": [[HALL, 0], [1, 0], [1, 1], [HALL, 1]]}},
    }
)
TOGETHER = 1.0
"""Seconds within which an event may be the same as a true one."""


class Happened(NamedTuple):
    """A crossing ("left, forward") or an entry ("hall") and its second."""

    what: str
    second: float


def truth(replay: Replay, classes: Sequence[str] = ()) -> list[Happened]:
    """What happened, by a direct definition: feet of exact masks, changes that last ``settle`` seconds."""
    found: list[Happened] = []
    for track in replay.truth:
        if classes and sipvideo.classes.COCO[int(track["category_id"]) - 1] not in classes:
            continue
        seen = [
            (second, _foot(coco_mask.decode(rle)))
            for second, rle in zip(replay.seconds, track["segmentations"], strict=True)
            if rle is not None
        ]
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < RULES.lasting:
            continue
        for name, x in LINES.items():
            for second, right in _changes([(s, foot > x) for s, foot in seen], first=None):
                found.append(Happened(f"{name}, {'backward' if right else 'forward'}", second))
        entries = _changes([(s, foot >= HALL) for s, foot in seen], first=False)
        found += [Happened("hall", second) for second, inside in entries if inside]
    return found


def _foot(mask: np.ndarray) -> float:
    """Across: the middle of the lowest twentieth of a mask's rows, in parts of the picture."""
    rows = np.flatnonzero(mask.any(1))
    bottom, height = rows[-1] + 1, rows[-1] + 1 - rows[0]
    lowest = mask[bottom - max(round(0.05 * height), 1) : bottom]
    return float((np.flatnonzero(lowest.any(0)).mean() + 0.5) / mask.shape[1])


def _changes(
    states: Sequence[tuple[float, bool]], first: bool | None
) -> Iterator[tuple[float, bool]]:
    """(second, new state) of the changes that last; ``first``: the state before the first frame, None: as in it.

    Where somebody is not seen for longer than an identity is remembered, a new visit begins.
    """
    state = states[0][1] if first is None else first
    runs: list[list[tuple[float, bool]]] = [[states[0]]]
    for (before, _), now in pairwise(states):
        if now[0] - before > RULES.gone_after:
            runs.append([])
        runs[-1].append(now)
    for number, run in enumerate(runs):
        if number:
            state = run[0][1] if first is None else first
        since: float | None = None
        for second, value in run:
            if value == state:
                since = None
                continue
            since = second if since is None else since
            if second - since >= RULES.settle:
                yield since, value
                state, since = value, None


def of_classes(classes: Sequence[str]) -> Rules:
    """The same rules for some classes alone."""
    values = RULES.model_dump(by_alias=True)
    for place in (*values["lines"].values(), *values["zones"].values()):
        place["classes"] = tuple(classes)
    return Rules.model_validate(values)


def told(replay: Replay, rules: Rules = RULES) -> list[Happened]:
    """What sipvideo tells of the replay's reports."""
    watch, found, tracker = EventWatch(rules, sipvideo.classes.COCO), [], Tracker(TrackerConfig())
    ids, labels = [], []
    for report, second in zip(replay.reports, replay.seconds, strict=True):
        ids.append(tracker.update(report, second))
        labels.append(tracker.labels(report, ids[-1]))
    for result, voted in zip(replay.results(ids), labels, strict=True):
        detections = dataclasses.replace(result.detections, labels=voted)
        found += watch.update(dataclasses.replace(result, detections=detections))
    found += watch.finish()
    return [
        Happened(e.place if e.kind == "entered" else f"{e.place}, {e.direction}", e.timestamp)
        for e in found
        if e.kind in ("entered", "crossed")
    ]


def delays(true: Sequence[Happened], ours: Sequence[Happened]) -> list[float]:
    """Seconds between true events and the nearest of ours that is not taken, where one is near."""
    left, found = list(ours), []
    for event in sorted(true, key=lambda e: e.second):
        near = [
            o for o in left if o.what == event.what and abs(o.second - event.second) <= TOGETHER
        ]
        if near:
            best = min(near, key=lambda o: abs(o.second - event.second))
            left.remove(best)
            found.append(abs(best.second - event.second))
    return found


def main() -> int:
    """Prints one row per kind of reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", type=Path, nargs="+", help="folders of sipvideo data synth")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "sipvideo-reports"
    )
    parser.add_argument(
        "--classes",
        default="",
        help="only these are counted, with commas between them; default: all",
    )
    args = parser.parse_args()
    classes = tuple(args.classes.split(",")) if args.classes else ()
    rules = of_classes(classes)
    engine = sipvideo.load().engine
    reporters = {
        "true boxes, 3 % noise, 10 % misses": TruthReporter(),
        "default model": NetworkReporter(engine.detect, f"{engine.model} {sipvideo.__version__}"),
    }
    print(f"{'reports':36} films  true  told  count error  found  delay median / 95 %")
    for name, reporter in reporters.items():
        films, true, count, wrong, late = 0, 0, 0, 0, []
        for folder in args.scenes:
            for replay in replays(folder, args.cache, reporter):
                happened, ours = truth(replay, classes), told(replay, rules)
                expected, counted = (Counter(e.what for e in part) for part in (happened, ours))
                films, true, count = films + 1, true + len(happened), count + len(ours)
                wrong += sum(
                    abs(expected[k] - counted[k]) for k in expected.keys() | counted.keys()
                )
                late += delays(happened, ours)
        p95 = float(np.percentile(late, 95)) if late else float("nan")
        print(
            f"{name:36} {films:5} {true:5} {count:5} {wrong / max(true, 1):11.1%} {len(late):6}"
            f"  {median(late) if late else float('nan'):.2f} / {p95:.2f} s"
            f"  {sum(one <= 0.2 for one in late)} within 0.2 s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
