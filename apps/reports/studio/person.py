"""A scripted person mends planted identity errors in the studio's page, by keys, and every key counts.

The person sees who is who: which true object each mask is of. All else comes from the page: which doubt is open, what
is proposed, which identities are chosen, and where the playhead is. Opened doubts that tell of nothing cost a key, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports.studio.sight import Sight, as_told, frames_of, tracks_of
from sipvideo.apps.reports.studio.stand import rendered, save, serving, tab
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    from sipvideo.apps.reports.studio.planting import Planted
    from sipvideo.evaluation.replay import Replay
    from sipvideo.structures import FrameResult

Json = dict[str, Any]
KINDS = ("swap", "change", "mixture", "twin")
SECONDS_EACH = 2.0
"""Of an action."""
MOST_KEYS = 400
LATER = 2
"""How often a doubt that takes more keys is left for later."""
ENOUGH = 10
"""Doubts in a row that tell of nothing, after which a person stops."""
PATIENCE = 3
"""Keys to the place of an edit that are worth it at once."""


@dataclass(frozen=True)
class Figures:
    """What mending took, and what came of it.

    Attributes:
        planted: errors; ``kinds``: of each kind.
        wrong_before, wrong_after: places where something is wrong, see :meth:`Sight.wrong`, beyond those of the run
            before errors were planted.
        actions: keys pressed, in all.
        doubts: opened; ``false`` of them told of nothing.
        seconds: at two seconds an action.
        wall: seconds that it took for real, with waiting for the page.
        hota_before, hota_after, hota_right: of the run with errors, mended, and with the right identities on the same
            masks (what a change of number hid for a moment, no edit of identities brings back).
    """

    planted: int
    kinds: dict[str, int]
    wrong_before: int
    wrong_after: int
    actions: int
    doubts: int
    false: int
    seconds: float
    wall: float
    hota_before: float
    hota_after: float
    hota_right: float
    keys: dict[str, int]

    @property
    def per_error(self) -> float:
        """Actions for each error."""
        return self.actions / max(self.planted, 1)


class Person:
    """Works through the list of doubts.

    Args:
        page: a tab with the studio, of Playwright.
        truth: see :class:`Sight`.
        near: frames by which a doubt may miss the time of an error.
    """

    def __init__(self, page: Any, truth: Sequence[tuple[Any, Any]], near: int) -> None:
        self.page, self.truth, self.near = page, truth, near
        self.keys: Counter[str] = Counter()
        self.doubts = self.false = 0

    def look(self) -> Sight:
        """What is on the screen, all frames of it."""
        return Sight(frames_of(self.page), self.truth)

    def work(self, right: int) -> None:
        """Mends until nothing is wrong that was not before errors were planted, or doubts tell of nothing any more."""
        passed: Counter[str] = Counter()
        in_vain = 0
        self.press("k")  # doubts about identities
        self.press("n")
        sight = self.look()
        while sight.wrong() > right and in_vain < ENOUGH and self.keys.total() < MOST_KEYS:
            doubt = self._settled()
            command.note(
                f"{self.keys.total()} keys, {sight.wrong() - right} places wrong: {doubt and doubt['why']}"
            )
            if doubt is None:
                return
            self.doubts += 1
            in_vain += 1
            if sight.helps(doubt["remedy"]) > 0:
                self.press("m")
                in_vain = 0
            elif (edit := sight.by_hand(doubt["ids"], self._around(doubt))) is not None:
                # What takes many keys waits: often another doubt tells of the same error, and proposes what is right.
                if len(self._way(edit)) > PATIENCE and passed[doubt["key"]] < LATER:
                    passed[doubt["key"]] += 1
                    self.press("n")
                    in_vain = 0
                    continue
                self._do(edit)
                in_vain, sight = 0, self.look()
                continue  # whatever else the doubt tells of
            else:
                self.false += 1
                self.press("a")
            self._settled()
            sight = self.look()

    def press(self, key: str) -> None:
        """One action."""
        self.keys[key] += 1
        self.page.keyboard.press(key)

    def _around(self, doubt: Json) -> tuple[int, int]:
        return doubt["first"] - self.near, doubt["last"] + self.near

    def _settled(self) -> Json | None:
        """The doubt that is open, once the page has done what it was asked for."""
        self.page.evaluate("studio.run.changes.last")
        time.sleep(0.15)
        self.page.evaluate("studio.player.seeking")
        found: Json | None = self.page.evaluate("studio.doubts.doubt")
        if found is None and self.page.evaluate("studio.doubts.open.length"):
            self.press("n")
            return self._settled()
        return found

    def _do(self, edit: Json) -> None:
        """By hand: choose, go there, and one key."""
        ids = [edit[name] for name in ("into", "from", "a", "b", "id") if name in edit]
        for key in self._way(edit):
            self.press(key)
            self.page.evaluate("studio.player.seeking")
        if self.page.evaluate("studio.selection.ids") != ids:
            self._choose(ids)
        self.press({"join": "j", "cut": "c", "swap": "x", "delete": "Delete"}[edit["op"]])

    def _way(self, edit: Json) -> list[str]:
        """The keys that go to where an edit is made."""
        here, times, doubt = self.page.evaluate(
            "[studio.player.wanted, [...studio.run.times], studio.doubts.doubt]"
        )
        there = here
        if "frame" in edit:
            there = edit["frame"]
        elif edit["op"] == "delete" and not edit["first"] <= here <= edit["last"]:
            there = edit["first"]
        ways = [_steps(here, there, times)]
        if doubt is not None:
            turned = doubt["first"] if here == doubt["last"] else doubt["last"]
            ways.append(["v", *_steps(turned, there, times)])
        return min(ways, key=len)

    def _choose(self, ids: Sequence[int]) -> None:
        for k, one in enumerate(ids):
            place = self.page.evaluate(f"studio.picture.objects.findIndex((o) => o.id === {one})")
            if 0 <= place < 9:
                self.press(f"{'Shift+' if k else ''}Digit{place + 1}")
            else:  # not in the picture: a click on its lane's heading
                self.keys["click"] += 1
                self.page.evaluate(f"studio.selection.choose({one}, {json.dumps(k > 0)})")


def _steps(here: int, there: int, times: Sequence[float]) -> list[str]:
    """Keys from one frame to another: seconds, then frames."""
    way, sign = ("Right", 1) if there > here else ("Left", -1)
    seconds = int(abs(times[there] - times[here]) + 1e-4)
    reached = here + sign * round(seconds / (times[1] - times[0]))
    return ["Shift+Arrow" + way] * seconds + ["Arrow" + way] * abs(there - reached)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/studio/person.py", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=19019, metavar="N", help="of the film; default: 19019")
    add("--errors", type=flags.count, default=20, metavar="N", help="planted; default: 20")
    add(
        "--work",
        type=Path,
        default=CHECKOUT / "build" / "person",
        metavar="DIR",
        help="film, reports and the run; default: build/person",
    )
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Renders what is not there, plants, mends, and prints the figures as JSON."""
    from sipvideo.apps.reports.studio.doubt_order import right_run
    from sipvideo.apps.reports.studio.planting import coming_and_going

    film = rendered(args.work, args.seed)
    right = coming_and_going(right_run(film), args.seed)
    results, planted = _planted(right, args.errors, args.seed)
    folder = args.work / "runs" / "planted"
    save(folder, results, next(args.work.glob("film/mp4/*.mp4")))
    truth = [(result.detections.boxes, result.track_ids) for result in right]
    with serving(folder.parent) as address, tab() as page:
        page.goto(f"{address}/studio?run=planted")
        page.wait_for_selector("#doubt-list button")
        person = Person(page, truth, near=round(0.35 * film_rate(film)))
        goal = Sight(as_told(right), truth).wrong()
        told = frames_of(page)
        as_planted = Sight(told, truth)
        before, begun = as_planted.wrong() - goal, time.perf_counter()
        person.work(goal)
        wall, mended = time.perf_counter() - begun, frames_of(page)
    sight = Sight(mended, truth)
    actions = person.keys.total()
    figures = Figures(
        planted=len(planted),
        kinds=dict(Counter(one.kind for one in planted)),
        wrong_before=before,
        wrong_after=sight.wrong() - goal,
        actions=actions,
        doubts=person.doubts,
        false=person.false,
        seconds=actions * SECONDS_EACH,
        wall=round(wall, 1),
        hota_before=_hota(film, told, as_planted.rows[:, 1]),
        hota_after=_hota(film, mended, sight.rows[:, 1]),
        hota_right=_hota(film, told, as_planted.rows[:, 2]),
        keys=dict(person.keys),
    )
    print(json.dumps({**asdict(figures), "per_error": figures.per_error}, indent=2))
    return 0


def _planted(
    right: Sequence[FrameResult], errors: int, seed: int
) -> tuple[list[FrameResult], list[Planted]]:
    """So many errors of all kinds, as far as there is room: kinds that find no place are left out, and more asked for.

    Raises:
        ConfigError: the film has no room for so many.
    """
    from sipvideo.apps.reports.studio.planting import plant

    for wish in range(errors, 4 * errors):
        kinds = [KINDS[k % len(KINDS)] for k in range(wish)]
        np.random.default_rng(seed).shuffle(kinds)
        results, planted = plant(right, kinds, seed)
        if len(planted) >= errors:
            return results, planted
    raise ConfigError(f"the film has no room for {errors} errors")


def film_rate(film: Replay) -> float:
    """Frames per second."""
    return (len(film) - 1) / (film.seconds[-1] - film.seconds[0])


def _hota(film: Replay, frames: Sequence[Json], ids: Any) -> float:
    from sipvideo.evaluation.replay import compared, tracking_scores

    truth = [track["segmentations"] for track in film.truth]
    found = tracks_of(frames, ids.tolist())
    counts = compared(truth, found, (*film.frame_size, len(film)))
    return round(float(tracking_scores([counts]).hota), 4)


if __name__ == "__main__":
    sys.exit(main())
