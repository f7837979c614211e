"""Zones and lines as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sipvideo.errors import ConfigError
from sipvideo.events import geometry, load_rules, rules_text
from sipvideo.masks import CompactMasks

NAMES = ("person", "car")
SQUARE = "[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "zones.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_both_is_read(tmp_path: Path) -> None:
    text = f"""
zones:
  queue: {{polygon: {SQUARE}, classes: [Person, 1], stay: 30, more_than: 5, when: touch}}
lines:
  door: {{from: [0.3, 0.9], to: [0.7, 0.9], directions: [in, out]}}
settle: 0.5
"""
    rules = load_rules(write(tmp_path, text), NAMES)
    assert rules.zones["queue"].stay == 30
    assert rules.lines["door"].begin == (0.3, 0.9)
    assert rules.settle == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected zones or lines"),
        ("- 1", "expected a mapping"),
        ("zones: {a: {polygon: [[0, 0], [1.5, 0], [1, 1]]}}", "zones.a.polygon.1.0"),
        ("zones: {a: {polygon: [[0, 0], [1, 1]]}}", "zones.a.polygon"),
        ("zones: {a: {polygon: [[0, 0], [1, 1], [0.5, 0.5]]}}", "no area"),
        ("lines: {a: {from: [0.5, 0.5], to: [0.5, 0.5]}}", "no length"),
        ("lines: {a: {from: [0.5, 0.5], too: [1, 1]}}", "lines.a"),
        (f"zones: {{a: {{polygon: {SQUARE}, classes: [persn]}}}}", "did you mean 'person'"),
        (f"zones: {{a: {{polygon: {SQUARE}, classes: [2]}}}}", "unknown class 2"),
        (
            f"zones: {{a: {{polygon: {SQUARE}}}}}\nlines: {{a: {{from: [0, 0], to: [1, 1]}}}}",
            "one place",
        ),
        (f"zones: {{a: {{polygon: {SQUARE}, staay: 3}}}}", "did you mean 'stay'"),
        ("zones: [", "not valid YAML"),
        ("zones: {a: {polygon: [[.nan, 0], [1, 0], [1, 1]]}}", "zones.a.polygon"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"zones\.yaml") as error:
        load_rules(write(tmp_path, text), NAMES)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_rules(tmp_path / "none.yaml", NAMES)


def test_feet_are_the_middle_of_the_lowest_pixels() -> None:
    dense = np.zeros((2, 100, 200), bool)
    dense[0, 20:60, 40:60] = True
    dense[0, 58:60, 40:50] = False  # it stands on its right leg
    feet = geometry.feet(CompactMasks.from_dense(dense))
    assert feet[0] * (200, 100) == pytest.approx((55, 60))
    assert np.isfinite(feet[1]).all()  # an empty mask stands somewhere


def test_contains_agrees_with_the_drawn_polygon() -> None:
    rng = np.random.default_rng(2)
    polygon = ((0.1, 0.2), (0.9, 0.1), (0.6, 0.5), (0.8, 0.9), (0.2, 0.8))
    dense = geometry.drawn(polygon, (400, 400)).dense(0)
    points = rng.random((500, 2))
    found = np.array([geometry.contains(polygon, (x, y)) for x, y in points.tolist()])
    columns, rows = (points * 400).astype(int).T
    assert (found == dense[rows, columns]).mean() > 0.98


def test_right_of_a_line_is_where_it_is_when_one_looks_along_it() -> None:
    up = (0.5, 1.0), (0.5, 0.0)
    assert geometry.side(*up, (0.9, 0.5)) == 1
    assert geometry.side(*up, (0.1, 0.5)) == -1


def test_rules_are_written_as_they_are_read(tmp_path: Path) -> None:
    text = f"""
zones:
  "Küche: 1": {{polygon: {SQUARE}, classes: [person], stay: 30, when: share, share: 0.25}}
lines:
  door: {{from: [0.3, 0.9], to: [0.7, 0.9], directions: [in, "off"]}}
gone_after: 5
"""
    rules = load_rules(write(tmp_path, text), NAMES)
    assert load_rules(write(tmp_path, rules_text(rules)), NAMES) == rules
