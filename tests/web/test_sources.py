"""Live sources that are added and removed while the server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sipvideo.live import LiveSession
from sipvideo.web.api import sources as api
from sipvideo.web.settings import Settings
from tests.live_servers import camera
from tests.waiting import until
from tests.web.serving import Running, receive, segmenter, serving
from tests.web.test_zones import recorder


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without sources of its own that takes some, and saves events."""
    session = LiveSession(segmenter(), loop=True)
    events = recorder(tmp_path_factory.mktemp("events"))
    with serving(Settings(allow_sources=True), session=session, recorder=events) as running:
        yield running


def keys(server: Running) -> list[str]:
    return [one["id"] for one in server.http.get("/api/sources").json()]


def test_a_camera_is_added_watched_and_removed_while_another_goes_on(open_server: Running) -> None:
    http = open_server.http
    with camera("http") as door, camera("tcp") as hall:
        first = http.post("/api/sources", json={"source": door.address})
        assert first.status_code == 201, first.text
        assert first.headers["location"] == f"/api/sources/{first.json()['id']}"
        assert first.json()["name"] == door.address
        assert http.post("/api/sources", json={"source": hall.address, "id": "hall"}).is_success
        assert keys(open_server) == [first.json()["id"], "hall"]
        with open_server.socket("/api/sources/hall/live") as socket:
            while receive(socket)[0]["type"] != "result":
                pass
            assert http.delete("/api/sources/hall").status_code == 204
            socket.send(json.dumps({"type": "reset"}))
            while (message := receive(socket)[0])["type"] != "status":
                pass
            until(lambda: receive(socket)[0].get("state") == "closed")
            assert message["name"] == hall.address
        assert http.get("/api/sources/hall").status_code == 404
        assert http.delete("/api/sources/hall").status_code == 404
        lines = http.get(f"/api/sources/{first.json()['id']}/results", params={"count": 2})
        assert len(lines.text.splitlines()) == 2
        again = http.post("/api/sources", json={"source": hall.address})
        assert again.json()["id"] not in ("hall", first.json()["id"])
        for key in keys(open_server):
            assert http.delete(f"/api/sources/{key}").is_success
    assert keys(open_server) == []
    assert "sipvideo_source" in http.get("/metrics").text


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"source": "/etc/passwd"}, 422, "expected the number of a camera, or rtsp"),
        ({"source": "file:///etc/passwd"}, 422, "expected the number of a camera, or rtsp"),
        ({"source": "concat:a|b"}, 422, "expected the number of a camera"),
        ({"source": "97"}, 422, "camera 97: no such camera"),
        ({"source": "rtsp://me:secret@127.0.0.1:9/door"}, 422, "Connection refused"),
        ({"source": "http://x", "id": "a/b"}, 422, "id: "),
        ({"sauce": "http://x"}, 422, "source: "),
        ([], 422, "source: "),
        ({"source": "http://" + 9000 * "x"}, 413, "sources of up to"),
    ],
)
def test_what_is_no_live_source_is_refused_in_one_line(
    open_server: Running, asked: Any, status: int, words: str
) -> None:
    refused = open_server.http.post("/api/sources", json=asked)
    assert refused.status_code == status
    assert words in refused.json()["detail"]
    assert "\n" not in refused.text
    assert "secret" not in refused.text
    assert keys(open_server) == []


def test_an_id_is_given_once_and_so_many_sources_at_most(
    open_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = open_server.http
    with camera("http") as door:
        asked = {"source": door.address, "id": "door"}
        assert http.post("/api/sources", json=asked).status_code == 201
        refused = http.post("/api/sources", json=asked)
        assert refused.status_code == 409
        assert refused.json()["detail"] == "door: there is a source of this name already"
        monkeypatch.setattr(api, "MOST_SOURCES", 1)
        refused = http.post("/api/sources", json={"source": door.address})
        assert refused.status_code == 409
        assert "as many as the server takes" in refused.json()["detail"]
        assert http.delete("/api/sources/door").is_success


def test_without_the_owner_s_leave_sources_stay_as_they_are(server: Running) -> None:
    for refused in (
        server.http.post("/api/sources", json={"source": "0"}),
        server.http.delete("/api/sources/1"),
    ):
        assert refused.status_code == 403
        assert "--allow-sources" in refused.json()["detail"]
    assert keys(server) == ["1"]
