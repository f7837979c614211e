"""The studio's page in a real browser, by mouse, finger and keys, on a run with planted errors."""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from sipvideo.build import load, packaged_weights
from sipvideo.studio.shelf import Studio, places_in
from sipvideo.web.server import StudioState, create_studio_app, listen, make_server
from sipvideo.web.settings import Person, Settings
from tests.waiting import PATIENCE
from tests.waiting import until as eventually
from tests.web.browser import CHROMIUM, FLAGS, until
from tests.web.studio_run import FRAMES, RENAMED, SIZE, SWAPPED, PlantedRun, number_in, planted_run

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


@dataclass
class Desk:
    """A server whose runs are copies of one, so that no test sees another's edits."""

    address: str
    folder: Path
    run: PlantedRun
    http: httpx.Client
    studio: Studio

    def fresh(self, name: str) -> str:
        shutil.copytree(self.run.folder, self.folder / name)
        return name

    def objects(self, key: str, frame: int) -> dict[int, dict[str, Any]]:
        """The objects of a frame as the server has them, by identity."""
        answer = self.http.get(f"/api/studio/{key}/frames", params={"first": frame, "count": 1})
        return {one["id"]: one for one in answer.json()["frames"][0]["objects"]}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    run = planted_run(tmp_path_factory.mktemp("film"))
    folder = tmp_path_factory.mktemp("runs")
    people = {"guest": Person("gus", edits=False), "half": Person("hal", frames=(0, SWAPPED - 1))}
    settings = Settings(token="owner", people=people)
    studio = Studio(lambda: places_in(folder), load=lambda: load(device="cpu"), owner=True)
    state = StudioState(studio, settings)
    server = make_server(create_studio_app(state), state)
    with listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started or not thread.is_alive())
            pass_ = {"authorization": "Bearer owner"}
            with httpx.Client(base_url=address, timeout=PATIENCE, headers=pass_) as http:
                yield Desk(address, folder, run, http, studio)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    running = chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield running
    running.close()


def opened(page: Any, desk: Desk, key: str, token: str = "owner") -> None:
    page.goto(f"{desk.address}/studio?run={key}&token={token}")
    until(lambda: shown(page) == 0)


def shown(page: Any) -> int:
    """The frame that is shown, with its masks."""
    frame = page.locator("#place").get_attribute("data-frame")
    return int(frame) if frame and page.evaluate("studio.picture.objects.length > 0") else -1


def go(page: Any, frame: int) -> None:
    """By keys, from the beginning: seconds, then frames."""
    for key, count in (("Home", 1), ("Shift+ArrowRight", frame // 25), ("ArrowRight", frame % 25)):
        for _ in range(count):
            page.keyboard.press(key)
    until(lambda: shown(page) == frame)


def said(page: Any, text: str) -> None:
    until(lambda: text in page.inner_text("#said"))


def pick(page: Any, track_id: int, more: bool = False) -> None:
    """Chooses an object by its number in the picture."""
    place = page.evaluate(f"studio.picture.objects.findIndex((one) => one.id === {track_id})")
    page.keyboard.press(f"{'Shift+' if more else ''}Digit{place + 1}")


def spot(page: Any, x: float, y: float) -> tuple[float, float]:
    """Frame pixels as a point of the window."""
    box = page.locator("#overlay").bounding_box()
    return box["x"] + x / SIZE[1] * box["width"], box["y"] + y / SIZE[0] * box["height"]


def test_a_seek_shows_the_exact_frame_and_a_film_plays_under_its_own_masks(
    page: Any, desk: Desk
) -> None:
    opened(page, desk, desk.fresh("play"))
    for frame in (37, 38, 99, 0, SWAPPED):
        go(page, frame)
        picture = np.asarray(Image.open(BytesIO(page.locator("#stage").screenshot())))
        assert number_in(picture, picture.shape[1] / SIZE[1]) == frame
    page.keyboard.press("Home")
    # What the browser shows when the masks of a frame are painted: its burnt in number.
    page.evaluate(
        """() => {
          const canvas = document.createElement("canvas"), { player } = studio;
          [canvas.width, canvas.height] = [320, 240];
          const context = canvas.getContext("2d", { willReadFrequently: true });
          window.played = [];
          player.addEventListener("frame", () => {
            if (!player.playing) return;
            context.drawImage(player.video, 0, 0, 320, 240);
            let number = 0;
            for (let k = 0; k < 8; k++) number |= (context.getImageData(k * 12 + 6, 6, 1, 1).data[0] > 128) << k;
            window.played.push([player.frame, number]);
          });
        }"""
    )
    page.keyboard.press("Space")
    until(lambda: page.evaluate("played.length") > 8)
    page.keyboard.press("Space")
    played = page.evaluate("played")
    # A browser may tell of a picture one picture late.
    assert {shown - number for number, shown in played} <= {0, 1}
    assert [number for number, shown in played if number == shown]
    assert played == sorted(played)
    assert played[-1][0] > 0


def test_identities_are_mended_by_keys_undone_and_kept(page: Any, desk: Desk) -> None:
    key, run = desk.fresh("keys"), desk.run
    a, b = run.swapped
    third, other = run.renamed
    before = desk.objects(key, SWAPPED)
    opened(page, desk, key)
    go(page, SWAPPED)
    pick(page, a)
    pick(page, b, more=True)
    page.keyboard.press("x")
    said(page, f"Swapped {a} and {b}")
    assert desk.objects(key, SWAPPED)[a]["box"] == before[b]["box"]
    assert desk.objects(key, SWAPPED - 1)[a]["label"] == desk.objects(key, SWAPPED)[a]["label"]

    # Two inputs: the one, J, and the other one afterwards.
    page.keyboard.press("Escape")
    pick(page, third)
    for _ in range(RENAMED - SWAPPED):
        page.keyboard.press("ArrowRight")
    until(lambda: shown(page) == RENAMED)
    page.keyboard.press("j")
    pick(page, other)
    said(page, f"Joined {other} into {third}")
    assert other not in desk.objects(key, FRAMES - 1)

    page.keyboard.press("c")
    said(page, f"Cut {third}")
    page.keyboard.press("z")
    said(page, "Undone: cut")
    page.keyboard.press("z")
    said(page, "Undone: joined")
    assert other in desk.objects(key, FRAMES - 1)
    page.keyboard.press("y")
    said(page, "Done again: joined")

    page.keyboard.press("l")
    page.keyboard.type("runn")
    page.keyboard.press("Enter")
    said(page, f"{third} is a runner")
    page.keyboard.press("Delete")
    said(page, f"Deleted {third}")
    page.reload()
    until(lambda: shown(page) == 0)
    assert third not in desk.objects(key, 0)
    assert third not in page.evaluate("[...studio.run.tracks.keys()]")
    page.click("#tab-log")
    until(lambda: page.locator("#log-list li").count() == 8)
    assert page.locator("#log-list .undone").count() == 1


def test_a_lane_dragged_onto_another_joins_them(page: Any, desk: Desk) -> None:
    key = desk.fresh("drag")
    third, other = desk.run.renamed
    opened(page, desk, key)
    lanes = page.evaluate("studio.timeline.lanes.map((track) => track.id)")
    box = page.locator("#lane-canvas").bounding_box()
    heights = [box["y"] + 24 * (lanes.index(one) + 0.5) for one in (other, third)]
    page.mouse.move(box["x"] + 0.9 * box["width"], heights[0])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], heights[1], steps=6)
    page.mouse.up()
    said(page, f"Joined {other} into {third}")
    assert third in desk.objects(key, FRAMES - 1)


def test_lanes_stand_beside_their_headings_also_where_there_are_more_than_fit(
    page: Any, desk: Desk
) -> None:
    key = desk.fresh("lanes")
    cuts = [{"op": "cut", "id": desk.run.whole, "frame": frame} for frame in (80, 60, 40, 20)]
    desk.http.post(f"/api/studio/{key}/edits", json={"base": 0, "edits": cuts}).raise_for_status()
    page.set_viewport_size({"width": 1360, "height": 500})
    opened(page, desk, key)
    page.evaluate("document.getElementById('scroller').scrollTop = 37")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    apart = page.evaluate(
        """() => {
          const { canvas, scroller, lanes } = studio.timeline, top = canvas.getBoundingClientRect().top;
          const rows = [...document.querySelectorAll("#headings button:not([hidden])")].map((row) => {
            const place = lanes.findIndex((lane) => lane.id === Number(row.dataset.id));
            return Math.abs(row.getBoundingClientRect().top - (top + place * 24 - scroller.scrollTop));
          });
          return [rows.length, Math.max(...rows), canvas.clientHeight - scroller.clientHeight];
        }"""
    )
    assert apart[0] > 4
    assert apart[1:] == [0, 0]


def test_of_two_windows_one_wins_and_the_other_is_told(page: Any, desk: Desk) -> None:
    key = desk.fresh("two")
    (a, b), whole = desk.run.swapped, desk.run.whole
    opened(page, desk, key)
    page.evaluate("studio.run.events.close()")  # it has not heard of the other one yet
    second = page.context.new_page()
    opened(second, desk, key)
    second.keyboard.press("ArrowRight")
    until(lambda: shown(second) == 1)
    pick(second, a)
    second.keyboard.press("c")
    said(second, f"Cut {a}")
    pick(page, whole)
    with page.expect_response("**/edits") as answer:
        page.keyboard.press("Shift+Delete")
    assert answer.value.status == 409
    said(page, f"cut {a} at 0:00.04")
    assert whole in desk.objects(key, 0)
    page.keyboard.press("Shift+Delete")
    said(page, f"Deleted {whole}")
    # The other window hears of it by itself.
    said(second, f"deleted {whole}")
    until(lambda: whole not in second.evaluate("[...studio.run.tracks.keys()]"))
    assert b in desk.objects(key, 0)


def test_brush_eraser_and_polygon_change_the_mask(page: Any, desk: Desk) -> None:
    key, whole = desk.fresh("masks"), desk.run.whole

    def area() -> int:
        return int(page.evaluate(f"studio.picture.object({whole})?.mask.area ?? 0"))

    opened(page, desk, key)
    pick(page, whole)
    own = area()
    x0, y0, x1, y1 = desk.objects(key, 0)[whole]["box"]
    page.keyboard.press("b")
    page.mouse.move(*spot(page, x1, y0))
    page.mouse.down()
    page.mouse.move(*spot(page, x1, y1), steps=4)
    page.mouse.up()
    said(page, "Mended the mask")
    until(lambda: area() > own)
    drawn = area()
    page.keyboard.press("e")
    for _ in range(6):
        page.keyboard.press("]")
    page.keyboard.press("Enter")  # by keys it begins in the middle of the object
    until(lambda: 0 < area() < drawn)
    page.keyboard.press("p")
    for corner in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)):
        page.mouse.click(*spot(page, *corner))
    page.keyboard.press("Enter")
    until(lambda: abs(area() - (x1 - x0) * (y1 - y0)) <= 2 * (x1 - x0))
    found = desk.objects(key, 0)[whole]
    assert found["edited"]
    assert found["box"] == pytest.approx([x0, y0, x1, y1], abs=2)
    # A new object: drawn while nothing is chosen, and asked for its class.
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    for corner in ((200, 20), (260, 20), (230, 60)):
        page.mouse.click(*spot(page, *corner))
    page.keyboard.press("Enter")
    page.keyboard.type("runner")
    page.keyboard.press("Enter")
    said(page, "New object")
    assert len(desk.objects(key, 0)) == 5


def test_a_click_takes_away_and_the_mask_is_carried_on(page: Any, desk: Desk) -> None:
    key, whole = desk.fresh("clicks"), desk.run.whole
    opened(page, desk, key)
    pick(page, whole)
    before = page.evaluate(f"studio.picture.object({whole}).mask.area")
    x0, y0, x1, _ = desk.objects(key, 0)[whole]["box"]
    page.keyboard.press("r")
    page.keyboard.down("Shift")
    page.mouse.click(*spot(page, (x0 + x1) / 2, y0 + 4))
    page.keyboard.up("Shift")
    said(page, "Mended the mask")
    until(lambda: 0 < page.evaluate(f"studio.picture.object({whole}).mask.area") < before)
    page.keyboard.press("Escape")
    page.evaluate("studio.timeline.range = [0, 3]")
    page.keyboard.press("f")
    until(lambda: page.locator("#task").is_visible() or "Carrying" not in page.inner_text("#said"))
    until(lambda: not page.locator("#task").is_visible())
    told = page.inner_text("#said")
    assert "was carried to" in told or "as the model has it" in told
    assert not desk.objects(key, 4)[whole]["edited"]


def test_on_a_phone_two_taps_and_a_button_join(browser: Any, desk: Desk) -> None:
    key = desk.fresh("phone")
    a, b = desk.run.swapped
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    opened(page, desk, key)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for track_id in (a, b):
        box = desk.objects(key, 0)[track_id]["box"]
        page.touchscreen.tap(*spot(page, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        if track_id == a:
            page.tap("#several")
    assert page.evaluate("studio.selection.ids") == [a, b]
    page.tap("[data-do=swap]")
    said(page, "Swapped")
    page.tap("[data-do=undo]")
    said(page, "Undone")
    context.close()


def test_everything_can_be_reached_and_named_without_a_mouse(page: Any, desk: Desk) -> None:
    opened(page, desk, desk.fresh("tab"))
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, a, [tabindex]")]
          .filter((one) => one.checkVisibility() && one.tabIndex >= 0)
          .filter((one) => !(one.innerText?.trim() || one.ariaLabel || one.labels?.length || one.title))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.dataset.do || document.activeElement.id || document.activeElement.tagName"
            )
        )
    wanted = {"undo", "overlay", "play", "join", "brush", "tab-doubts", "scroller", "f-label"}
    assert wanted <= reached
    page.locator("#scroller").focus()
    for key in ("ArrowDown", "ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("studio.selection.ids.length") == 2
    page.keyboard.press("?")
    until(lambda: page.locator("#help").is_visible())
    assert "swap the two" in page.inner_text("#keys")


def test_a_link_for_reading_shows_no_tools_and_a_part_of_the_film_is_all_that_may_be_changed(
    browser: Any, desk: Desk
) -> None:
    key, whole = desk.fresh("links"), desk.run.whole
    context = browser.new_context()
    page = context.new_page()
    opened(page, desk, key, "guest")
    assert page.inner_text("#reading") == "read only"
    assert not page.locator("#mending").is_visible()
    pick(page, whole)
    page.keyboard.press("Delete")
    said(page, "for reading only")
    page.keyboard.press("ArrowRight")
    until(lambda: shown(page) == 1)
    context.close()

    context = browser.new_context()
    page = context.new_page()
    opened(page, desk, key, "half")
    assert page.inner_text("#range") == "yours: 0:00.00 to 0:01.96"
    pick(page, whole)
    page.keyboard.press("Shift+Delete")
    said(page, f"Deleted {whole}")
    assert whole not in desk.objects(key, SWAPPED - 1)
    assert whole in desk.objects(key, SWAPPED)
    page.click("#tab-log")
    until(lambda: "hal" in page.inner_text("#log-list"))
    context.close()


def test_a_film_that_was_moved_is_pointed_to(page: Any, desk: Desk, tmp_path: Path) -> None:
    key = desk.fresh("moved")
    summary = desk.folder / key / "summary.json"
    told = json.loads(summary.read_text("utf-8"))
    film = shutil.copy(told["input"], tmp_path / "elsewhere.mp4")
    summary.write_text(json.dumps(told | {"input": "/gone/walk.mp4"}), "utf-8")
    opened(page, desk, key)
    assert not page.evaluate("studio.run.info.has_video")
    page.click("#tab-files")
    page.fill("#files [name=source]", str(film))
    page.keyboard.press("Enter")
    page.wait_for_selector("#video[src]", state="attached")  # after the page has come anew
    until(lambda: shown(page) == 0)
    go(page, 5)
    picture = np.asarray(Image.open(BytesIO(page.locator("#stage").screenshot())))
    assert number_in(picture, picture.shape[1] / SIZE[1]) == 5


def test_what_was_mended_is_in_the_export(page: Any, desk: Desk) -> None:
    key, (third, other) = desk.fresh("export"), desk.run.renamed
    opened(page, desk, key)
    page.evaluate(f"studio.selection.set([{third}, {other}])")
    page.keyboard.press("j")
    said(page, "Joined")
    page.click("#tab-files")
    page.check("#files [value=lines]")
    with page.expect_download() as download:
        page.click("#files .export button")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "results/results.json" in archive.namelist()
        last = json.loads(archive.read("results/results.jsonl").splitlines()[-1])
    assert {one["track_id"] for one in last["objects"]} == {
        *desk.run.swapped,
        desk.run.whole,
        third,
    }


def test_what_was_learnt_makes_the_run_anew_and_both_are_seen_side_by_side(
    page: Any, desk: Desk
) -> None:
    key, (a, b) = desk.fresh("taught"), desk.run.swapped
    lines = desk.folder / key / "results.jsonl"
    begin = "".join(lines.read_text("utf-8").splitlines(True)[:9])
    lines.write_text(begin, "utf-8")
    # A training of minutes is stood for by the model that comes along.
    figures = {"mask_ap": 0.5, "box_ap": 0.5, "pictures": 3}
    learnt = {
        "weights": str(packaged_weights()),
        "better": True,
        "held_out": {"before": figures, "after": {**figures, "mask_ap": 0.6}},
        "kept": {"before": figures, "after": figures},
    }
    task = desk.studio.tasks.start(key, "learn", lambda task: learnt)
    eventually(lambda: task.state == "done")
    opened(page, desk, key)
    page.click("#tab-learning")
    until(lambda: "mask AP, kept" in page.inner_text("#learnt"))
    page.check("#learnt [name=edits]")
    page.click("#learnt .anew button")
    until(lambda: "side by side" in page.inner_text("#learnt .anew"))
    count = page.evaluate("studio.run.count")
    assert (desk.folder / f"{key}-anew/results.jsonl").is_file()

    page.click("#learnt .anew a")
    until(lambda: page.evaluate("studio?.beside?.player.frame === 0"))
    assert page.inner_text("#beside figcaption a") == f"{key}-anew"
    assert page.evaluate("studio.beside.run.count") == count
    # Any two runs stand beside each other, here with the same film and other edits.
    other = desk.fresh("other")
    base = {"base": 0, "edits": [{"op": "delete", "id": a}]}
    desk.http.post(f"/api/studio/{other}/edits", json=base).raise_for_status()
    page.goto(f"{desk.address}/studio?run={desk.fresh('one')}&beside={other}")
    until(lambda: shown(page) == 0)
    go(page, 37)
    until(lambda: page.evaluate("studio.beside.player.frame === 37"))
    picture = np.asarray(Image.open(BytesIO(page.locator("#beside .stage").screenshot())))
    assert number_in(picture, picture.shape[1] / SIZE[1]) == 37
    until(lambda: page.evaluate("studio.beside.picture.objects.length === 3"))
    assert page.evaluate(f"studio.picture.object({a}) && studio.beside.picture.object({b})")
    left, right = (page.locator(one).bounding_box() for one in ("#stage", "#beside .stage"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.keyboard.press("Space")
    until(lambda: page.evaluate("studio.beside.player.frame > 40"))
    page.keyboard.press("Space")
    until(lambda: page.evaluate("studio.beside.player.frame === studio.player.frame"))
    page.set_viewport_size({"width": 390, "height": 844})
    left, right = (page.locator(one).bounding_box() for one in ("#stage", "#beside .stage"))
    assert left["y"] + left["height"] <= right["y"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
