"""What identities ought to reach, beside what they reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

from sipvideo.apps.reports.identities.sets import MOVING

Json = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """A figure and what it ought to be.

    Attributes:
        about: the figure, for people.
        aim: what it ought to be.
        at_least: else at most.
        value: from the sets' figures; KeyError where they were not measured.
        shown: the format of a value.
    """

    about: str
    aim: float
    at_least: bool
    value: Callable[[Json], float]
    shown: str = ".3f"

    def row(self, sets: Json) -> list[str] | None:
        """Cells of a table: figure, aim, reached, missed by; None where it was not measured."""
        try:
            value = self.value(sets)
        except KeyError:
            return None
        lacking = self.aim - value if self.at_least else value - self.aim
        missed = format(lacking, self.shown) if lacking > 0 else ""
        sign = "at least" if self.at_least else "at most"
        aim, reached = format(self.aim, self.shown), format(value, self.shown)
        return [self.about, f"{sign} {aim}", reached, missed]


def _figure(name: str, kind: str, who: str, key: str) -> Callable[[Json], float]:
    return lambda sets: float(sets[name][kind][who][key])


def _share(name: str) -> Callable[[Json], float]:
    def value(sets: Json) -> float:
        figures = sets[name]["network"]
        return float(figures["ours"]["ass_a"] / figures["perfect"]["ass_a"])

    return value


def _moving(sets: Json) -> float:
    base = sets["still"]["network"]["ours"]["ass_a"]
    return float(mean(sets[name]["network"]["ours"]["ass_a"] / base for name in MOVING))


def _returned(key: str, who: str) -> Callable[[Json], float]:
    def value(sets: Json) -> float:
        one = sets["returns"]["network"][who]
        return float(one[key] / max(one["right"] + one["false"] + one["new"], 1))

    return value


def _too_many(sets: Json) -> float:
    one = sets["hard"]["network"]["repaired"]
    return float(abs(sum(one["identities"]) / sum(one["objects"]) - 1))


def _least_half(sets: Json) -> float:
    return float(min(kind["ours"]["half"] for kinds in sets.values() for kind in kinds.values()))


AIMS = (
    Aim("medium, network: AssA", 0.785, True, _figure("medium", "network", "ours", "ass_a")),
    Aim(
        "medium, network: switches",
        10,
        False,
        _figure("medium", "network", "ours", "switches"),
        ".0f",
    ),
    Aim(
        "medium, network: share of the perfect identities' AssA",
        0.96,
        True,
        _share("medium"),
        ".1%",
    ),
    Aim("hard, network: AssA", 0.66, True, _figure("hard", "network", "ours", "ass_a")),
    Aim(
        "hard, network: switches", 35, False, _figure("hard", "network", "ours", "switches"), ".0f"
    ),
    Aim("hard, network: share of the perfect identities' AssA", 0.96, True, _share("hard"), ".1%"),
    Aim(
        "medium, network, repaired: HOTA",
        0.66,
        True,
        _figure("medium", "network", "repaired", "hota"),
    ),
    Aim(
        "hard, network, repaired: HOTA", 0.57, True, _figure("hard", "network", "repaired", "hota")
    ),
    Aim("hard, network, repaired: identities beyond the objects", 0.15, False, _too_many, ".1%"),
    Aim("hard, true boxes: AssA", 0.82, True, _figure("hard", "truth", "ours", "ass_a")),
    Aim(
        "hard, true boxes: switches", 60, False, _figure("hard", "truth", "ours", "switches"), ".0f"
    ),
    Aim("moving cameras, network: AssA of that with a standing one", 0.95, True, _moving),
    Aim("returns, network: right", 0.6, True, _returned("right", "ours"), ".1%"),
    Aim("returns, network: false", 0.05, False, _returned("false", "ours"), ".1%"),
    Aim("half, least of all sets and reports", 0.98, True, _least_half),
)
"""For our tracker on the films of this page."""


def aims(sets: Json) -> list[list[str]]:
    """Rows of a table: figure, aim, reached, missed by; those that were measured."""
    return [row for row in (aim.row(sets) for aim in AIMS) if row]
