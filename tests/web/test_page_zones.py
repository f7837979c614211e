"""Zones and lines drawn on the page, in a real browser, by mouse, finger and keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipvideo.events import load_rules
from sipvideo.live.recording import Recording
from sipvideo.web.zones import KeptZones
from tests.apps.scripted import CLASSES
from tests.web.browser import CHROMIUM, shown, until
from tests.web.serving import Running, serving

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")

WHOLE = ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98))


@pytest.fixture(scope="module")
def owned(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose owner lets visitors change zones."""
    folder = tmp_path_factory.mktemp("events")

    def recorder(_: str, name: str) -> Recording:
        return Recording(name, CLASSES, folder, ("events",))

    kept = KeptZones(folder / "zones")
    with serving(sources={"1": str(street)}, recorder=recorder, zones=kept) as running:
        yield running


def opened(page: Any, server: Running) -> None:
    page.goto(server.address)
    until(lambda: shown(page) > 0)
    page.keyboard.press("z")
    page.get_by_text("Draw a zone").wait_for()


def spot(page: Any, x: float, y: float) -> tuple[float, float]:
    """A part of the picture as a point of the window."""
    page.locator("#overlay").scroll_into_view_if_needed()
    box = page.locator("#overlay").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def rules(server: Running) -> dict[str, Any]:
    told: dict[str, Any] = server.http.get("/api/sources/1/zones").json()["rules"]
    return told


def test_a_zone_and_a_line_are_drawn_named_counted_downloaded_and_removed(
    page: Any, owned: Running, tmp_path: Path
) -> None:
    opened(page, owned)
    page.get_by_text("Draw a zone").click()
    for x, y in WHOLE:
        page.mouse.click(*spot(page, x, y))
    page.mouse.click(*spot(page, *WHOLE[0]))  # closes it
    until(lambda: "zone 1" in rules(owned).get("zones", {}))
    corners = rules(owned)["zones"]["zone 1"]["polygon"]
    assert corners == [pytest.approx(corner, abs=0.01) for corner in WHOLE]

    page.fill("[data-field=name]", "hall")
    page.select_option("[data-field=when]", "touch")
    page.fill("[data-field=stay]", "2.5")
    page.keyboard.press("Tab")
    until(lambda: rules(owned)["zones"].get("hall", {}).get("stay") == 2.5)
    assert rules(owned)["zones"]["hall"]["when"] == "touch"
    # Counts appear at once, without a reload.
    until(lambda: "0 came" not in page.inner_text("#zones .counted"))

    page.get_by_text("Draw a line").click()
    page.mouse.move(*spot(page, 0.5, 0.1))
    page.mouse.down()
    page.mouse.move(*spot(page, 0.5, 0.5), steps=3)
    page.mouse.move(*spot(page, 0.5, 0.9), steps=3)
    page.mouse.up()
    until(lambda: rules(owned).get("lines"))
    assert rules(owned)["lines"]["line 1"]["from"] == pytest.approx([0.5, 0.1], abs=0.01)
    page.fill("[data-field=forward]", "to the left")
    page.keyboard.press("Tab")
    page.get_by_text("Turn the arrow").click()
    until(lambda: rules(owned)["lines"]["line 1"]["from"] == pytest.approx([0.5, 0.9], abs=0.01))
    assert rules(owned)["lines"]["line 1"]["directions"] == ["to the left", "backward"]

    # A corner is pulled elsewhere.
    page.mouse.move(*spot(page, 0.5, 0.1))
    page.mouse.down()
    page.mouse.move(*spot(page, 0.7, 0.2), steps=4)
    page.mouse.up()
    until(lambda: rules(owned)["lines"]["line 1"]["to"] == pytest.approx([0.7, 0.2], abs=0.01))

    with page.expect_download() as download:
        page.get_by_text("Download YAML").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    read = load_rules(tmp_path / "zones.yaml", CLASSES)
    assert (list(read.zones), list(read.lines)) == (["hall"], ["line 1"])

    page.reload()
    until(lambda: "hall" in page.inner_text("#zones"))  # kept, and shown while nobody draws
    page.keyboard.press("z")
    for name in ("hall", "line 1"):
        page.locator("#zones .places button", has_text=name).click()
        page.get_by_text("Delete", exact=True).click()
    until(lambda: rules(owned) == {})


def test_zones_are_drawn_by_keys_alone_and_mistakes_are_told(page: Any, owned: Running) -> None:
    opened(page, owned)
    page.get_by_text("Draw a zone").focus()
    page.keyboard.press("Enter")
    for keys in (["ArrowLeft"] * 5, ["ArrowUp"] * 10, ["ArrowRight"] * 10):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.get_by_text("Done", exact=True).click()
    until(lambda: "zone 1" in rules(owned).get("zones", {}))
    wanted = [[0.4, 0.5], [0.4, 0.3], [0.6, 0.3]]
    assert rules(owned)["zones"]["zone 1"]["polygon"] == wanted

    page.fill("[data-field=classes]", "walkr")
    page.keyboard.press("Tab")
    page.locator("#zones [role=alert]", has_text="walker").wait_for()
    assert "classes" not in rules(owned)["zones"]["zone 1"]
    page.fill("[data-field=classes]", "walker")
    page.keyboard.press("Tab")
    until(lambda: rules(owned)["zones"]["zone 1"].get("classes") == ["walker"])
    page.fill("[data-field=points]", "10 10, 20")
    page.keyboard.press("Tab")
    page.locator("#zones [role=alert]", has_text="pairs of numbers").wait_for()
    page.fill("[data-field=points]", "10 10, 20 10, 20 30")
    page.keyboard.press("Tab")
    until(lambda: rules(owned)["zones"]["zone 1"]["polygon"][2] == [0.2, 0.3])
    page.locator("#overlay").focus()
    page.keyboard.press("Delete")
    until(lambda: rules(owned) == {})


def test_without_the_owner_s_leave_a_phone_draws_for_itself(
    browser: Any, street: Path, tmp_path: Path
) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    with serving(sources={"1": str(street)}) as server:
        page.goto(server.address)
        until(lambda: shown(page) > 0)
        page.locator('[data-do="zones"]').tap()
        page.get_by_text("Draw a zone").tap()
        for x, y in WHOLE:
            page.touchscreen.tap(*spot(page, x, y))
        page.get_by_text("Done", exact=True).tap()
        page.select_option("[data-field=when]", "touch")
        until(lambda: "0 came" not in page.inner_text("#zones .counted"))
        assert "For you alone" in page.inner_text("#zones")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert rules(server) == {}
        page.reload()  # this browser still knows them
        until(lambda: "0 came" not in (page.inner_text("#zones .counted") or "0 came"))
        page.locator('[data-do="zones"]').tap()
        page.get_by_text("Back to the server's zones").tap()
        until(lambda: page.locator("#zones .places li").count() == 0)
        page.goto("about:blank")
    context.close()


def test_a_webcam_and_a_film_before_its_upload_are_counted(
    page: Any, server: Running, street: Path
) -> None:
    page.goto(server.address)
    page.select_option("#source", "webcam")
    page.click("#start")
    until(lambda: shown(page) > 0)
    page.keyboard.press("z")
    page.get_by_text("Draw a line").click()
    page.mouse.click(*spot(page, 0.25, 0.1))
    page.mouse.click(*spot(page, 0.25, 0.9))
    page.locator("#zones .counted", has_text="0 forward, 0 backward").wait_for()
    # The webcam is shown as in a mirror; rules are of the picture as it is.
    own = json.loads(page.evaluate("localStorage.getItem('sipvideo.zones.webcam')"))
    assert own["lines"]["line 1"]["from"] == pytest.approx([0.75, 0.1], abs=0.01)

    page.click("#tab-videos")
    page.check("#zones-first")
    page.set_input_files("#file", str(street))
    film = page.locator(".preparing canvas")
    film.scroll_into_view_if_needed()
    page.locator(".preparing").get_by_text("Draw a zone").click()
    box = film.bounding_box()
    for x, y in WHOLE:
        film.click(position={"x": x * box["width"], "y": y * box["height"]})
    page.locator(".preparing").get_by_text("Done", exact=True).click()
    page.locator(".preparing [data-field=when]").select_option("touch")
    page.locator(".preparing").get_by_text("Upload", exact=True).click()
    page.locator(".about", has_text="zone 1: 2 entered").wait_for()
    page.get_by_text("Events, CSV").wait_for()
    page.get_by_text("Remove").click()
