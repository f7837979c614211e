"""The page of a report: complete, true to the figures, safe, and nothing from outside."""

from __future__ import annotations

import base64
import copy
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from sipvideo.evaluation import charts, evaluate_pictures, score
from sipvideo.evaluation.html import About, Strip, picture_page, video_page
from sipvideo.evaluation.mistakes import KINDS
from sipvideo.evaluation.names import TITLES, TRACKING_TITLES, number
from sipvideo.evaluation.report import Report
from tests.evaluation.sets import random_set

VOID = {"meta", "img", "rect", "path", "polyline"}
ABOUT = About("set/instances.json", {"results": "a.json"})


class Page(HTMLParser):
    """Every tag must be closed; collects text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1:] != ["style"]:
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def report() -> Report:
    truth, results = random_set(3, videos=5, damage=False)
    return score(truth, results, "compat", resamples=50)


def test_every_figure_is_on_the_page(report: Report) -> None:
    page = Page(video_page(report, ABOUT))
    for name, value in report.figures.items():
        at = page.words.index(TITLES[name])
        assert number(value) in page.words[at : at + 3]
    for name, title in TRACKING_TITLES.items():
        assert title in page.words
        value = getattr(report.tracking.combined, name)
        assert (str(value) if isinstance(value, int) else f"{value:.3f}") in page.words
    assert all(kind.replace("_", " ") in page.words for kind in KINDS)
    assert all(c.name in page.words for c in report.classes if c.objects)
    low, high = report.intervals["ap"].low, report.intervals["ap"].high
    assert f"95 %: {number(low)} to {number(high)}" in page.words


def test_nothing_comes_from_outside(report: Report) -> None:
    text = video_page(report, ABOUT, [Strip("a", "b", [("frame 0", b"x", b"y")])])
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "http" not in text
    assert "url(" not in text
    addresses = [value for key, value in page.attributes if key in ("src", "href")]
    assert all(value.startswith("data:image/jpeg;base64,") for value in addresses)
    assert [base64.b64decode(value.split(",")[1]) for value in addresses] == [b"x", b"y"]


def test_text_from_files_is_only_text(report: Report) -> None:
    evil = '<script>alert("1")</script>&amp;'
    truth, results = random_set(3, videos=5, damage=False)
    truth = copy.deepcopy(truth)
    for category in truth["categories"]:
        category["name"] = evil
    scored = score(truth, results, "compat", resamples=0)
    about = About(evil, {evil: evil}, [evil])
    titles = {v.video_id: evil for v in scored.videos}
    page = Page(video_page(scored, about, [Strip(evil, evil, [(evil, b"", b"")])], titles))
    assert "script" not in page.tags
    assert page.words.count(evil) >= len(scored.videos) + 8


def test_curves_go_through_the_precision_at_each_recall() -> None:
    points = np.linspace(0, 1, 101)
    svg = charts.curves([("a", 1 - points), ("b", np.full(101, -1.0))], points, "x")
    first, second = re.findall(r'points="([^"]*)"', svg)
    assert second == ""
    xy = np.array([pair.split(",") for pair in first.split()], float)
    assert len(xy) == 101
    assert (xy[:, 0] - charts.LEFT) / charts.WIDTH == pytest.approx(points, abs=1e-3)
    assert 1 - (xy[:, 1] - charts.TOP) / charts.HEIGHT == pytest.approx(1 - points, abs=1e-3)


def test_each_class_with_objects_has_curves(report: Report) -> None:
    text = video_page(report, ABOUT)
    with_objects = sum(c.ap >= 0 for c in report.classes)
    assert len(re.findall("<svg class=.plot.", text)) == 1 + with_objects


@pytest.mark.parametrize(("value", "length"), [(-1, 0), (0, 0), (0.25, 25), (1, 100), (7, 100)])
def test_a_bar_stays_on_its_rail(value: float, length: float) -> None:
    assert f'class="c0" width="{length:.2f}"' in charts.bar(value)
    assert 'width="0.00"' in charts.bar(value, 0)


def test_bars_stand_in_second_columns_without_a_title(report: Report) -> None:
    """Phones leave these columns out, title and cells."""
    dog = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 9, 9]}
    truth = {
        "images": [{"id": 1, "height": 20, "width": 20}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [dog],
    }
    pictures = {"bbox": evaluate_pictures(truth, [], "bbox")}
    for page in (video_page(report, ABOUT), picture_page(pictures, ABOUT)):
        for table in re.findall("<table>.*?</table>", page, re.DOTALL):
            rows = [
                re.split("</t[hd]>", row) for row in re.findall("<tr>.*?</tr>", table, re.DOTALL)
            ]
            bars = {k for row in rows for k, cell in enumerate(row) if 'class="bar"' in cell}
            assert bars <= {1}
            assert not bars or rows[0][1].endswith(">")


def test_a_report_of_nothing_is_a_page() -> None:
    truth: dict[str, Any] = {"videos": [], "categories": [], "annotations": []}
    page = Page(video_page(score(truth, [], resamples=10), ABOUT))
    assert "Nothing is annotated." in page.words


def test_the_page_of_pictures_has_both_kinds() -> None:
    truth = {
        "images": [{"id": 1, "height": 20, "width": 20}],
        "categories": [{"id": 1, "name": "<b>"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [2, 2, 9, 9],
                "segmentation": [[2, 2, 11, 2, 11, 11, 2, 11]],
            }
        ],
    }
    scores = {kind: evaluate_pictures(truth, [], kind) for kind in ("segm", "bbox")}  # type: ignore[arg-type]
    page = Page(picture_page(scores, ABOUT))
    assert {"Mask AP", "Box AP", "<b>"} <= set(page.words)
    assert "dog" not in page.words
