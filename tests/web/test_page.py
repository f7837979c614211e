"""The page in a real browser: Chromium with a film as its webcam, and the default model."""

from __future__ import annotations

import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from sipvideo.live import LiveSession
from sipvideo.live.controls import COMMANDS
from sipvideo.showing import ShowingOptions
from sipvideo.web.server import create_app, listen, make_server
from sipvideo.web.settings import Settings
from sipvideo.web.state import ServerState
from tests.live_servers import camera
from tests.web.browser import CHROMIUM, FLAGS, PEDESTRIANS, ROOT, shown, until
from tests.web.serving import Running, serving

pytest.importorskip("playwright.sync_api", reason="needs playwright")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of the example film with the default model."""
    from sipvideo.build import load

    segmenter = load()
    state = ServerState(
        segmenter, LiveSession(segmenter, {"1": str(PEDESTRIANS)}, loop=True), Settings()
    )
    server = make_server(create_app(state), state)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def test_the_page_shows_at_first_what_the_server_was_asked_for(browser: Any) -> None:
    looks = ShowingOptions(draw=("boxes",), labels=("id", "score"), trails=7.0)
    with serving(Settings(showing=looks)) as server:
        page = browser.new_context().new_page()
        page.goto(server.address)
        page.wait_for_function("window.sipvideo")
        expected = {"labels": True, "boxes": True, "trails": True, "opacity": 0}
        assert page.evaluate("window.sipvideo.settings") == expected
        stage = page.evaluate("window.sipvideo.stage.looks")
        assert (stage["tags"], stage["seconds"], stage["outlines"]) == (["id", "score"], 7, False)
        page.close()


def painted(page: Any, canvas: str) -> int:
    """Number of pixels of a canvas that are not transparent."""
    script = """(id) => {
        const canvas = document.getElementById(id);
        if (!canvas.width || canvas.hidden) return 0;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let k = 3; k < data.length; k += 4) count += data[k] > 0;
        return count;
    }"""
    return int(page.evaluate(script, canvas))


def test_a_webcam_shows_people_with_identities(page: Any, address: str) -> None:
    page.goto(address)
    page.select_option("#source", "webcam")
    page.click("#start")
    until(lambda: shown(page) > 5)
    until(lambda: "person" in page.inner_text("#objects").lower())
    assert re.search(r"^\d+$", page.locator("#objects .id").first.inner_text())
    assert painted(page, "overlay") > 2000
    assert painted(page, "picture") == 640 * 480
    assert page.locator("#status").get_attribute("data-state") == "live"
    assert 0 < float(page.inner_text("#age")) < 60_000

    page.locator("#objects button").first.hover()
    assert page.evaluate("window.sipvideo.stage.highlighted") is not None

    # What the page draws is where the people are: masks cover the same pixels in the server's and the page's terms.
    areas = page.evaluate(
        "window.sipvideo.stage.objects.map(o => [o.mask.reduce((a, b) => a + b), o.box])"
    )
    assert all(0 < area <= 1.2 * (x1 - x0 + 4) * (y1 - y0 + 4) for area, (x0, y0, x1, y1) in areas)


def test_a_source_of_the_server_is_shown_and_every_key_works(
    page: Any, address: str, tmp_path: Path
) -> None:
    page.goto(address)
    until(lambda: shown(page) > 2)
    until(lambda: painted(page, "overlay") > 2000)
    assert painted(page, "picture") == 768 * 576

    for key, name in (("c", "labels"), ("b", "boxes"), ("t", "trails")):
        before = page.evaluate(f"window.sipvideo.settings.{name}")
        page.keyboard.press(key)
        assert page.evaluate(f"window.sipvideo.settings.{name}") is not before
        button = page.locator(f'button[data-do="{name}"]')
        assert button.get_attribute("aria-pressed") == str(not before).lower()
    opacity = page.evaluate("window.sipvideo.settings.opacity")
    page.keyboard.press("o")
    assert page.evaluate("window.sipvideo.settings.opacity") < opacity
    page.keyboard.press("Shift+O")
    assert page.evaluate("window.sipvideo.settings.opacity") == opacity

    page.keyboard.press("h")
    assert page.locator("dialog#help kbd").count() == len(
        COMMANDS
    )  # q does not quit a page, z draws zones
    page.keyboard.press("Escape")
    page.locator("dialog#help").wait_for(state="hidden")
    page.keyboard.press("Space")
    until(lambda: page.inner_text("#status-text") == "Paused")
    time.sleep(0.5)
    number = shown(page)
    time.sleep(0.5)
    assert shown(page) == number
    page.keyboard.press("Space")
    until(lambda: shown(page) > number)
    page.keyboard.press("x")

    with page.expect_download() as download:
        page.keyboard.press("s")
    picture = download.value.path()
    assert picture.read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("r")
    assert page.locator("#recording").is_visible()
    number = shown(page)
    until(lambda: shown(page) > number + 3)
    with page.expect_download() as download:
        page.keyboard.press("r")
    film = tmp_path / "film"
    download.value.save_as(film)
    with av.open(str(film)) as container:
        sizes = {(frame.width, frame.height) for frame in container.decode(video=0)}
    assert sizes == {(768, 576)}


def test_the_page_has_the_keys_of_the_window_and_one_to_draw_zones() -> None:
    script = (ROOT / "sipvideo" / "web" / "page" / "controls.js").read_text()
    found = re.findall(r'^  \["(.)", "(\w+)", "', script, re.MULTILINE)
    wanted = [(" " if c.key == "space" else c.key, c.name) for c in COMMANDS if c.name != "quit"]
    assert [pair for pair in found if pair != ("z", "zones")] == wanted


def test_a_video_is_uploaded_watched_and_downloaded(
    page: Any, server: Running, street: Path
) -> None:
    page.goto(server.address)
    page.click("#tab-videos")
    page.set_input_files("#file", str(street))
    page.wait_for_selector('.chip[data-state="done"]')
    assert page.inner_text(".job .about") == "25 frames, 2 objects"
    film = page.locator(".job video")
    until(lambda: film.evaluate("film => film.readyState") >= 1)
    assert film.evaluate("film => [film.videoWidth, film.videoHeight]") == [160, 120]
    with page.expect_download() as download:
        page.get_by_text("All (zip)").click()
    assert len(zipfile.ZipFile(download.value.path()).namelist()) == 4
    page.get_by_text("Remove").click()
    page.wait_for_selector(".job", state="detached")


def test_refusals_and_cancelling_are_shown(page: Any, tmp_path: Path, street: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(300_000))
    with serving(Settings(max_upload=200_000), delay=0.3) as server:
        page.goto(server.address)
        page.click("#tab-videos")
        page.set_input_files("#file", str(large))
        page.get_by_text("are too large").wait_for()
        page.set_input_files("#file", str(street))
        page.locator(".about", has_text="per second").wait_for()
        page.get_by_text("Cancel", exact=True).click()
        page.wait_for_selector('.chip[data-state="cancelled"]')
        page.goto("about:blank")


def test_a_server_that_goes_away_is_said_and_found_again(browser: Any, street: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    with serving(sources={"1": str(street)}) as server:
        port = int(server.address.rpartition(":")[2])
        page.goto(server.address)
        until(lambda: shown(page) > 2)
    page.locator("#notice", has_text="The server does not answer, trying again in").wait_for()
    assert page.inner_text("#status-text") == "Reconnecting"
    number = shown(page)
    with serving(sources={"1": str(street)}, port=port):
        until(lambda: shown(page) > number)
        page.locator("#notice").wait_for(state="hidden")
        context.close()


def test_a_camera_of_the_server_that_dies_is_said_until_it_is_back(page: Any) -> None:
    with camera("http") as filming, serving(sources={"1": filming.address}) as server:
        page.goto(server.address)
        until(lambda: shown(page) > 2)
        filming.kill()
        page.locator("#notice", has_text="Reconnecting").wait_for()
        assert page.inner_text("#status-text") == "Reconnecting"
        number = shown(page)
        filming.start()
        until(lambda: shown(page) > number)
        page.locator("#notice").wait_for(state="hidden")
        page.goto("about:blank")


def test_a_camera_that_is_not_there_is_said(chromium: Any, server: Running) -> None:
    running = chromium.launch(executable_path=CHROMIUM, args=FLAGS[:6])
    page = running.new_page(permissions=["camera"])
    page.goto(server.address)
    page.select_option("#source", "webcam")
    page.click("#start")
    page.get_by_text("There is no camera on this device.").wait_for()
    running.close()


@pytest.mark.parametrize("size", [(390, 844), (1360, 860), (844, 390)])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_is_cut_off_on_any_screen(
    browser: Any, server: Running, size: tuple[int, int], scheme: str
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(server.address)
    until(lambda: shown(tab) > 2)
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    for selector in ("#stage", "#tools", "#chart", "#objects"):
        box = tab.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
    for button in tab.locator("#tools button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 40  # for fingers
    context.close()


def test_nothing_is_loaded_from_elsewhere(page: Any, server: Running) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/docs"):
        page.goto(server.address + path)
        page.wait_for_load_state("load")
    page.get_by_text("Streams live results").wait_for()
    assert len(asked) > 8
    assert all(url.startswith(("http://127.0.0.1", "blob:", "data:")) for url in asked)
