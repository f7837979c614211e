"""Zones that visitors draw: for a source of the server, for themselves, for an upload."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sipvideo.apps import serve
from sipvideo.errors import ConfigError
from sipvideo.events import Rules, load_rules
from sipvideo.events.snapshots import Wanted
from sipvideo.live.recording import Recording
from sipvideo.showing import Showing
from sipvideo.web.zones import MOST_PLACES, MOST_TRIALS, KeptZones, drawn_rules
from tests.apps.scripted import CLASSES
from tests.waiting import until
from tests.web.serving import receive, segmenter, send_picture, serving

ALL = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "when": "touch"}
DRAWN: dict[str, Any] = {
    "zones": {"all": ALL},
    "lines": {"door": {"from": [0.5, 0], "to": [0.5, 1], "directions": ["in", "out"]}},
}


def recorder(folder: Path) -> Callable[[str, str], Recording]:
    return lambda _, name: Recording(name, CLASSES, folder, ("events",))


def counts_of(socket: Any, zone: str) -> dict[str, Any]:
    """The first counts that somebody was inside of the zone."""
    while True:
        message, _ = receive(socket)
        counted = message if message["type"] == "counts" else message.get("counts", {})
        if counted.get("zones", {}).get(zone, {}).get("visits"):
            found: dict[str, Any] = counted["zones"][zone]
            return found


def test_a_source_s_zones_change_for_everybody_and_outlast_the_server(
    street: Path, tmp_path: Path
) -> None:
    kept = KeptZones(tmp_path / "zones")
    sources = {"1": str(street)}
    with serving(sources=sources, recorder=recorder(tmp_path / "log"), zones=kept) as server:
        with server.socket("/api/sources/1/live") as socket:
            while (message := receive(socket)[0])["type"] != "zones":
                pass
            assert message == {"type": "zones", "rules": {}, "editable": True}
            answer = server.http.put("/api/sources/1/zones", json=DRAWN)
            assert answer.status_code == 200, answer.text
            assert answer.json()["rules"] == DRAWN
            while (message := receive(socket)[0])["type"] != "zones":
                pass
            assert message["rules"] == DRAWN
            assert counts_of(socket, "all")["visits"]["walker"] >= 1
        told = server.http.get("/api/sources/1/zones").json()
        assert told["counts"]["zones"]["all"]["visits"]["walker"] >= 1
        name = server.http.get("/api/sources/1").json()["name"]
    log = next((tmp_path / "log").glob("*/events/events.jsonl"))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(event["kind"] == "entered" and event["place"] == "all" for event in events)
    assert kept.read(name, CLASSES) == Rules.model_validate(DRAWN)
    assert kept.read("another", CLASSES) is None
    kept.write(name, Rules())
    assert kept.read(name, CLASSES) == Rules()


def test_of_two_changes_at_once_one_waits_and_the_later_one_is_kept(
    street: Path, tmp_path: Path
) -> None:
    class Slow(KeptZones):
        writing = together = 0

        def write(self, source: str, rules: Rules) -> None:
            self.writing += 1
            self.together = max(self.together, self.writing)
            time.sleep(0.1)
            super().write(source, rules)
            self.writing -= 1

    kept = Slow(tmp_path / "zones")
    log = recorder(tmp_path / "log")
    with serving(sources={"1": str(street)}, recorder=log, zones=kept) as server:
        address = "/api/sources/1/zones"

        def change(name: str) -> int:
            return server.http.put(address, json={"zones": {name: ALL}}).status_code

        with ThreadPoolExecutor(4) as visitors:
            assert [*visitors.map(change, "abcd")] == [200] * 4
        told = server.http.get(address).json()["rules"]
    assert kept.together == 1
    assert (
        load_rules(next((tmp_path / "zones").iterdir()), CLASSES).zones.keys()
        == told["zones"].keys()
    )


def test_without_the_owner_s_leave_zones_are_tried_by_each_for_themselves(
    street: Path, tmp_path: Path
) -> None:
    with serving(sources={"1": str(street)}, recorder=recorder(tmp_path)) as server:
        refused = server.http.put("/api/sources/1/zones", json=DRAWN)
        assert refused.status_code == 403
        assert "--allow-zones" in refused.json()["detail"]
        with server.socket("/api/sources/1/live") as socket:
            socket.send(json.dumps({"type": "zones", "rules": DRAWN}))
            assert counts_of(socket, "all")["visits"]["walker"] >= 1
            assert server.state.views.views["1"].trials.watches
        assert server.http.get("/api/sources/1/zones").json()["rules"] == {}
        until(lambda: not server.state.views.views["1"].trials.watches)
        problems = []
        with contextlib.ExitStack() as stack:
            for _ in range(MOST_TRIALS + 1):
                socket = stack.enter_context(server.socket("/api/sources/1/live"))
                socket.send(json.dumps({"type": "zones", "rules": DRAWN}))
                while (message := receive(socket)[0])["type"] != "tried":
                    pass
                problems.append(message["problem"])
        assert problems[:-1] == [""] * MOST_TRIALS
        assert "try again later" in problems[-1]


def test_a_visitor_s_webcam_counts_in_the_visitor_s_zones() -> None:
    with serving() as server, server.socket("/api/webcam") as socket:
        socket.send(json.dumps({"type": "zones", "rules": {"zones": {"a": {"polygon": [[0, 0]]}}}}))
        problem = receive(socket)[0]["problem"]
        assert problem.startswith("zones: zones.a.polygon: ")
        socket.send(json.dumps({"type": "zones", "rules": DRAWN | {"settle": 0, "lasting": 0}}))
        assert receive(socket)[0] == {"type": "tried", "problem": ""}
        send_picture(socket, 1.0)
        inside = counts_of(socket, "all")["inside"]
        assert inside["walker"] == 1
        socket.send(json.dumps({"type": "zones", "rules": {}}))
        assert receive(socket)[0]["problem"] == ""
        send_picture(socket, 2.0)
        assert "counts" not in receive(socket)[0]


def test_an_upload_is_counted_in_the_zones_that_came_with_it(street: Path) -> None:
    with serving() as server:
        query = {"name": "street.mp4", "zones": json.dumps(DRAWN)}
        answer = server.http.post("/api/jobs", params=query, content=street.read_bytes())
        job = server.wait(answer.json()["id"], "done", "failed")
        assert job["state"] == "done", job
        assert job["counts"]["all"]["entered"] == 2
        files = {file["name"]: file["url"] for file in job["results"]}
        lines = server.http.get(files["events.jsonl"]).text.splitlines()
        assert {json.loads(line)["kind"] for line in lines} >= {"appeared", "entered"}
        assert "events.csv" in files
        query["zones"] = '{"zones": {"a": 3}}'
        refused = server.http.post("/api/jobs", params=query, content=street.read_bytes())
        assert refused.status_code == 422
        assert "zones.a" in refused.json()["detail"]


def test_zones_are_written_as_the_file_that_commands_take(tmp_path: Path) -> None:
    with serving() as server:
        answer = server.http.post("/api/zones", json=DRAWN)
        (tmp_path / "zones.yaml").write_text(answer.text)
        assert load_rules(tmp_path / "zones.yaml", CLASSES) == Rules.model_validate(DRAWN)


def test_a_picture_of_an_event_is_fetched_from_the_address_that_the_event_tells(
    street: Path, tmp_path: Path
) -> None:
    def recorder(key: str, name: str) -> Recording:
        wanted = Wanted(picture=True, address=f"/api/sources/{key}/events/")
        showing = Showing(wanted=wanted)
        return Recording(name, CLASSES, tmp_path, ("events",), showing=showing)

    def first() -> dict[str, Any]:
        """The first event of the log."""
        for log in tmp_path.glob("*/.events.partial/events.jsonl"):
            if lines := log.read_text().splitlines():
                found: dict[str, Any] = json.loads(lines[0])
                return found
        return {}

    with serving(sources={"1": str(street)}, recorder=recorder) as server:
        until(first)
        answer = server.http.get(first()["picture_url"])
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content.startswith(b"\xff\xd8")
        for name in ("events.jsonl", "..%2Fsummary.json", "0123456789ab-1.mp4"):
            assert server.http.get(f"/api/sources/1/events/{name}").status_code == 404


def test_a_server_that_starts_again_watches_what_was_drawn_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zones.yaml").write_text("zones: {other: {polygon: [[0, 0], [1, 0], [1, 1]]}}")
    words = ["--source", "street", "--events", str(tmp_path), "--zones", f"{tmp_path}/zones.yaml"]
    kept = KeptZones(tmp_path / "zones")
    kept.write("street", Rules.model_validate(DRAWN))
    for more, zones in (([], ["other"]), (["--allow-zones"], ["all"])):
        args = serve.parse([*words, *more])
        recorder = serve._recorder(args, segmenter(), kept if more else None, "http://shop/")
        assert recorder is not None
        with recorder("1", "street") as recording:
            assert recording.event_watch is not None
            assert list(recording.event_watch.rules.zones) == zones
    assert "watched as drawn on the page" in capsys.readouterr().err


SQUARE = {"polygon": [[0, 0], [1, 0], [1, 1]]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "an object"),
        ({"zones": 3}, "valid dictionary"),
        ({"zones": {"a": {"polygon": [[0, 0], [2, 0], [1, 1]]}}}, "zones.a.polygon"),
        ({"lines": {"a": {"from": [0, 0], "to": [0, 0]}}}, "no length"),
        ({"zones": {"a": SQUARE | {"classes": ["walkr"]}}}, "walker"),
        ({"zones": {str(k): SQUARE for k in range(MOST_PLACES + 1)}}, "at most"),
        ({"zones": {"a" * 61: SQUARE}}, "short line"),
        ({"zones": {"a\nb": SQUARE}}, "short line"),
        ({"zones": {"a": SQUARE}, "gone_after": 4000}, "gone_after"),
        ({"zones": {"a": SQUARE}, "settle": float("nan")}, "settle"),
    ],
)
def test_wrong_zones_are_told_in_one_line(values: Any, words: str) -> None:
    with pytest.raises(ConfigError) as problem:
        drawn_rules(values, CLASSES)
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


def test_too_many_bytes_and_no_json_are_refused() -> None:
    with serving() as server:
        for body, status in ((b"x" * 70_000, 413), (b"no json", 422), (b"[" * 60_000, 422)):
            answer = server.http.post("/api/zones", content=body)
            assert answer.status_code == status
            assert "\n" not in answer.json()["detail"]
