"""``python -m tests.fuzz``: the long run, its figures, and single inputs again."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.kinds import KINDS, kind_of
from tests.fuzz.run import Fuzzer, Outcome, long_run, outcomes


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; 1 where a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/fuzz"), help="goes on where it was"
    )
    parser.add_argument("--only", choices=KINDS, help="inputs of one kind")
    parser.add_argument(
        "--again", type=int, nargs="+", metavar="NUMBER", help="run these inputs again"
    )
    parser.add_argument(
        "--mended", action="store_true", help="first run again what broke a rule, and judge it anew"
    )
    parser.add_argument("--figures", action="store_true", help="only print what is known so far")
    args = parser.parse_args(argv)
    if args.again:
        with Fuzzer(args.seed, args.folder / "again") as fuzzer:
            for number in args.again:
                outcome = fuzzer.run(number, kind_of(args.seed, number))
                print(json.dumps(outcome, indent=2))
        return 0
    if not args.figures:
        told = time.monotonic()
        for outcome in long_run(args.seed, args.inputs, args.folder, args.only, mended=args.mended):
            if outcome["problem"]:
                print(_line(outcome), flush=True)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{outcome['number']} of {args.inputs}", flush=True)
    known = outcomes(args.folder)
    print(figures(known))
    return int(any(outcome["problem"] for outcome in known))


def _line(outcome: Outcome) -> str:
    about = outcome["about"][:90]
    return (
        f"{outcome['kind']} {outcome['number']}: {outcome['problem']}: {outcome['where']} [{about}]"
    )


def figures(found: list[Outcome]) -> str:
    """A table by kinds, and every finding with how often it came."""
    rows = defaultdict(list)
    for outcome in found:
        rows[outcome["kind"]].append(outcome)
    lines = [
        "| kind | inputs | exit 0 | exit 2 | broke a rule | seconds | longest | most MB |",
        "|---" * 8 + "|",
    ]
    for kind, some in [*sorted(rows.items()), ("all", found)]:
        codes = Counter(outcome["code"] for outcome in some)
        broken = sum(bool(outcome["problem"]) for outcome in some)
        seconds = [outcome["seconds"] for outcome in some]
        took = max(outcome.get("took_mb", 0) for outcome in some)
        lines.append(
            f"| {kind} | {len(some)} | {codes[0]} | {codes[2]} | {broken} | {sum(seconds):.0f} "
            f"| {max(seconds):.1f} | {took} |"
        )
    kept = Counter(f"{o['problem']}: {o['where']}" for o in found if o["problem"])
    return "\n".join([*lines, "", *(f"{count:6} {key}" for key, count in kept.most_common())])


if __name__ == "__main__":
    sys.exit(main())
