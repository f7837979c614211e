"""``make identity-report``: identities of all trackers on the same reports, into docs/identities.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from sipvideo.apps.reports.identities.trackers import Contender

Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    from sipvideo.apps.reports.identities.sets import REPORTS, SETS

    parser = flags.Parser(
        prog="apps/reports/identities/report.py",
        description="Renders films with exact identities, finds their objects once, has every tracker give identities "
        "on the same reports, and writes tables. What was rendered, found or scored before is not done again: a run "
        "that was stopped goes on, and after a change of the tracker only its own rows are new.",
    )
    add = parser.add_argument
    add("--sets", default="all", metavar="NAME,...", help=f"all, or of {', '.join(SETS)}")
    add("--reports", default=",".join(REPORTS), metavar="NAME,...", help=f"of {', '.join(REPORTS)}")
    add(
        "--work",
        type=Path,
        default=CHECKOUT / "build" / "identities",
        metavar="DIR",
        help="films, reports and figures; default: build/identities",
    )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="tables in Markdown, and the figures beside as .json; sets that are there and not measured now stay as "
        "they are; default: only shown",
    )
    add(
        "--peers",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment with benchmarks/trackers.txt; default: benchmarks/.trackers, "
        "made if need be",
    )
    add(
        "--only",
        metavar="NAME,...",
        help="only some of those that give identities, by their names in the .json",
    )
    add("--no-peers", action="store_true", help="only sipvideo's own trackers")
    add("--no-cost", action="store_true", help="do not measure the time that association takes")
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures what is missing, shows and writes the tables."""
    command.require_opencv()
    from sipvideo.apps.reports.identities import cost as identity_cost
    from sipvideo.apps.reports.identities import sets as identity_sets
    from sipvideo.apps.reports.identities import tables as identity_tables
    from sipvideo.apps.reports.identities import trackers as identity_trackers

    names = _chosen(args.sets, identity_sets.SETS, "--sets", everything="all")
    kinds = _chosen(args.reports, identity_sets.REPORTS, "--reports")
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    peers = args.peers
    if peers is None and not args.no_peers:
        peers = identity_trackers.peers_environment(CHECKOUT / "benchmarks" / ".trackers")
    contenders = identity_trackers.contenders(args.work, None if args.no_peers else peers)
    if args.only:
        chosen = [*_chosen(args.only, contenders, "--only"), "perfect"]
        contenders = {name: one for name, one in contenders.items() if name in chosen}
    content = _earlier(args.output)
    content["titles"].update({name: contender.title for name, contender in contenders.items()})
    for name in names:
        found = {kind: _measured(name, kind, args, contenders) for kind in kinds}
        content["sets"][name] = {**content["sets"].get(name, {}), **found}
        content["commits"].setdefault(name, {}).update(dict.fromkeys(found, _commit()))
        _write(args.output, content)
    if not args.no_cost:
        content["cost"] = identity_cost.costs(args.work, None if args.no_peers else peers)
        _write(args.output, content)
    print(identity_tables.page(content))
    return 0


def _earlier(path: Path | None) -> Json:
    """What an earlier run saved."""
    saved = path.with_suffix(".json") if path else None
    if saved is None or not saved.is_file():
        return {"titles": {}, "sets": {}, "commits": {}}
    try:
        content: Json = {"commits": {}} | json.loads(saved.read_text(encoding="utf-8"))
        return content | {key: dict(content[key]) for key in ("titles", "sets", "commits")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{saved}: are no figures of this report; move it away") from error


def _commit() -> str:
    """The code that measures; empty where that cannot be told."""
    asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip()


def _write(path: Path | None, content: Json) -> None:
    """Saves what is known so far."""
    from sipvideo.apps.reports.identities.tables import page

    if path:
        figures = json.dumps(content, indent=1) + "\n"
        path.with_suffix(".json").write_text(figures, encoding="utf-8")
        path.write_text(page(content), encoding="utf-8")


def _chosen(text: str, known: dict[str, Any], flag: str, everything: str = "") -> list[str]:
    names = list(known) if text == everything else text.split(",")
    if unknown := sorted(set(names) - known.keys()):
        raise ConfigError(f"{flag}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def _measured(name: str, kind: str, args: argparse.Namespace, all_of: dict[str, Contender]) -> Json:
    """The figures of a set by contender."""
    from sipvideo.apps.reports.identities.figures import figures
    from sipvideo.apps.reports.identities.sets import films, rendered, reporter

    def told(text: str) -> None:
        if not args.quiet:
            print(f"{name}, {kind}: {text}", file=sys.stderr, flush=True)

    rendered(name, args.work, quiet=args.quiet)
    found = films(name, kind, args.work, reporter(kind), lambda film: told(f"objects of {film}"))
    result = {}
    for key, contender in all_of.items():
        result[key] = figures(contender, found, args.work / "figures")
        told(f"{contender.title}: AssA {result[key]['ass_a']:.3f}")
    return result


if __name__ == "__main__":
    sys.exit(main())
