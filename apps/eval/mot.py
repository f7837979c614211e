"""MOT and MOTS files scored: the part of ``sipvideo eval`` for tracks that are not in JSON."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo import __version__
from sipvideo.apps import command
from sipvideo.apps.eval.run import SCORES, write_json
from sipvideo.evaluation.names import TRACKING_TITLES

if TYPE_CHECKING:
    from sipvideo.evaluation.mot import MotSequence
    from sipvideo.evaluation.tracking import TrackingScores

COLUMNS = ("hota", "det_a", "ass_a", "idf1", "mota", "id_switches", "objects")
"""What is told of each sequence."""


def is_mot(path: str) -> bool:
    """Whether a path is in one of these forms rather than an annotation file in JSON."""
    return Path(path).is_dir() or Path(path).suffix.lower() == ".txt"


def score(args: argparse.Namespace) -> int:
    """Scores, prints, and saves where a folder is named; returns the exit code.

    Raises:
        DatasetError: a file is damaged, or a sequence has no results.
    """
    from sipvideo.evaluation.mot import read_sequences, score_sequences

    truth, found = read_sequences(args.dataset), read_sequences(args.results)
    report = score_sequences(truth, found, args.score_threshold)
    names, scores = list(truth), {}
    for number, name in enumerate(names, 1):
        counts = [c for (video, _), c in report.counts.items() if video == number]
        if counts:
            scores[name] = sum(counts[1:], counts[0]).scores()
    ignored = sum(one.ignored for one in truth.values())
    if ignored:
        command.note(
            f"{args.dataset}: {ignored} entries are marked as not to be scored: they are left out, and what was found"
            " there counts as wrong"
        )
    if len(truth) > 1 and found.keys() - truth.keys():
        command.note(f"{args.results}: sequences without annotations: {_listed(found, truth)}")
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"dataset": str(args.dataset), "results": str(args.results), "version": __version__}
        each = {name: asdict(one) for name, one in scores.items()}
        write_json(
            folder / SCORES, about | {"tracking": report.to_json(), "sequences": each}, indent=1
        )
    if not args.quiet:
        print(_text(scores, report.combined), flush=True)
    return 0


def _listed(found: Mapping[str, MotSequence], truth: Mapping[str, MotSequence]) -> str:
    return ", ".join(sorted(found.keys() - truth.keys())[:5])


def _text(scores: Mapping[str, TrackingScores], combined: TrackingScores) -> str:
    """A row for each sequence, and one for all."""
    lines = [("sequence", *(TRACKING_TITLES.get(name, name) for name in COLUMNS))]
    rows = [*scores.items(), ("all", combined)] if len(scores) != 1 else list(scores.items())
    for name, one in rows:
        values = (getattr(one, column) for column in COLUMNS)
        lines.append((name, *(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)))
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if k else text.ljust(width)
            for k, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
