from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from sipvideo.masks import from_rles
from sipvideo.web.settings import Settings
from sipvideo.web.wire import decode_picture, pack, runs_mask, unpack
from tests.apps.scripted import CLASSES
from tests.media import SIZE, picture, write_video
from tests.waiting import PATIENCE, stays, until
from tests.web.serving import Running, jpeg, receive, receive_result, send_picture, serving


def closing_code(server: Running, path: str, *messages: str | bytes) -> int | None:
    """How the server ends a connection on which those messages come; None: cut off while they were sent."""

    def talk() -> None:
        with server.socket(path) as socket:
            for message in messages:
                socket.send(message)
            while True:
                socket.recv(PATIENCE)

    with pytest.raises(ConnectionClosed) as closed:
        talk()
    return closed.value.rcvd.code if closed.value.rcvd is not None else None


class Held:
    """A network that stands still until it is let go, with the first picture in work."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._going_on = threading.Event()

    def __call__(self) -> None:
        self._begun.set()
        self._going_on.wait()

    def let_go_when(self, server: Running, count: int) -> None:
        """Once so many pictures of visitors have come."""
        visitors = server.state.visitors

        def have_come() -> bool:
            dropped = sum(visitor.dropped for visitor in visitors._present)
            return self._begun.is_set() and dropped + len(visitors._slots) + 1 == count

        until(have_come)
        self._going_on.set()


def send_shown(socket: ClientConnection, header: dict[str, Any]) -> None:
    if header["type"] == "result":
        socket.send(json.dumps({"type": "shown", "number": header["number"]}))


def test_a_view_shows_pictures_with_their_masks(server: Running) -> None:
    with server.socket("/api/sources/1/live") as socket:
        status, _ = receive(socket)
        assert (status["type"], status["state"]) == ("status", "live")
        header, rest = receive_result(socket)
    height, width = header["size"]
    assert [o["class"] for o in header["objects"]] == list(CLASSES)
    place = 0
    for told in header["objects"]:
        x0, y0, x1, y1 = told["window"]
        mask = runs_mask(rest[place : place + told["bytes"]], (y1 - y0, x1 - x0))
        assert mask.any()
        place += told["bytes"]
    assert decode_picture(rest[place:]).shape == (height, width, 3)


def test_results_go_on_only_as_far_as_the_client_shows_them(server: Running) -> None:
    with server.socket("/api/sources/1/live?pictures=false") as socket:
        numbers = [receive_result(socket)[0]["number"] for _ in range(2)]
        with pytest.raises(TimeoutError):
            receive_result(socket, 0.4)
        until(lambda: server.state.views.views["1"].number > numbers[1] + 2)
        socket.send(json.dumps({"type": "shown", "number": numbers[0]}))
        header, rest = receive_result(socket)
        assert header["number"] > numbers[1] + 2  # the newest, not the next
        assert len(rest) == sum(told["bytes"] for told in header["objects"])


def test_a_client_that_stands_still_does_not_hold_up_another(server: Running) -> None:
    with (
        server.socket("/api/sources/1/live") as stuck,
        server.socket("/api/sources/1/live") as brisk,
    ):
        receive_result(stuck)
        numbers = []
        for _ in range(15):
            header, _ = receive_result(brisk)
            numbers.append(header["number"])
            send_shown(brisk, header)
        assert numbers == sorted(set(numbers))
        source = server.http.get("/api/sources/1").json()
        assert source["age_p50_ms"] is not None


def test_the_clock_lets_a_client_tell_the_age(server: Running) -> None:
    with server.socket("/api/sources/1/live") as socket:
        socket.send(
            json.dumps({"type": "clock", "sent": "\ud800"})
        )  # no character: comes back as it is
        while (header := receive(socket)[0])["type"] != "clock":
            pass
        assert header["sent"] == "\ud800"
        socket.send(json.dumps({"type": "clock", "sent": 12.5}))
        while (header := receive(socket)[0])["type"] != "clock":
            pass
    assert header["sent"] == 12.5
    assert 0 < time.monotonic() - header["clock"] < PATIENCE


def test_live_results_come_as_json(server: Running) -> None:
    with server.socket("/api/sources/1/results") as socket:
        record = json.loads(socket.recv(PATIENCE))
    assert record["source"] == "1"
    assert {told["class_name"] for told in record["objects"]} == set(CLASSES)
    masks = from_rles([told["segmentation"] for told in record["objects"]], tuple(record["size"]))
    assert (masks.areas() > 0).all()


def test_live_results_come_as_lines_too(server: Running) -> None:
    with server.http.stream("GET", "/api/sources/1/results", params={"count": 3}) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        frames = [json.loads(line)["frame"] for line in answer.iter_lines()]
    assert len(frames) == 3
    assert frames == sorted(set(frames))
    until(lambda: server.state.seats_taken == 0)  # freed when the server sees the end, too


def test_reset_begins_new_identities(server: Running) -> None:
    with server.socket("/api/sources/1/live?pictures=false") as socket:
        receive_result(socket)
        socket.send(json.dumps({"type": "reset"}))
    assert server.http.post("/api/sources/1/reset").status_code == 200
    assert server.http.post("/api/sources/2/reset").status_code == 404


def test_a_source_that_ended_is_said(street: Path) -> None:
    with serving(sources={"1": str(street)}, loop=False) as server:
        with server.socket("/api/sources/1/live") as socket:
            while receive(socket)[0].get("state") != "ended":
                pass
        time.sleep(0.5)  # the last result greets nobody any more
        assert server.http.get("/api/sources/1/results").text == ""
        assert server.http.get("/api/sources").json()[0]["state"] == "ended"


def test_a_frame_that_cannot_be_processed_is_said_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, street: Path
) -> None:
    with (
        serving(sources={"1": str(street)}) as server,
        server.socket("/api/sources/1/live") as socket,
    ):
        receive_result(socket)
        segmenter = server.state.views.views["1"].session.segmenter("1")
        with monkeypatch.context() as patch:
            patch.setattr(segmenter, "step", lambda frame: 1 / 0)
            while (header := receive(socket)[0]).get("state") != "failing":
                send_shown(socket, header)
            problem = "ZeroDivisionError: division by zero (--debug shows where)"
            assert header["text"] == f"failing: {problem}"
        while (header := receive(socket)[0]).get("state") != "live":
            send_shown(socket, header)


def test_a_film_that_starts_over_says_that_its_identities_do(server: Running) -> None:
    with server.socket("/api/sources/1/live?pictures=false") as socket:
        first, _ = receive_result(socket)
        header = first
        while header["video"] == first["video"]:
            send_shown(socket, header)
            header, _ = receive_result(socket)
        assert {told["seen"] for told in header["objects"]} == {0.0}


def test_nobody_watching_lets_the_network_rest(street: Path) -> None:
    with serving(sources={"1": str(street)}) as server:
        with server.socket("/api/sources/1/live") as socket:
            receive_result(socket)
        stays(lambda: server.state.views.views["1"].latest)


def test_a_webcam_gets_masks_and_identities_that_stay(server: Running) -> None:
    with server.socket("/api/webcam") as socket:
        seen = []
        for stamp in (1.5, 2.5, 3.5):
            time.sleep(0.02)
            send_picture(socket, stamp)
            header, rest = receive_result(socket)
            assert header["captured"] == stamp
            assert header["size"] == list(SIZE)
            assert len(rest) == sum(told["bytes"] for told in header["objects"])
            seen.append({told["id"] for told in header["objects"]})
        assert seen[0] == seen[1] == seen[2] != set()
        assert all(told["seen"] > 0 for told in header["objects"])
        socket.send(json.dumps({"type": "reset"}))
        send_picture(socket, 4.5)
        header, _ = receive_result(socket)
        assert all(told["seen"] == 0 for told in header["objects"])
        assert header["video"] == 1


def test_a_damaged_picture_is_one_line_and_not_the_end(server: Running) -> None:
    with server.socket("/api/webcam") as socket:
        for bad in (b"", b"nonsense", jpeg((8, 3000))):
            send_picture(socket, 1, bad)
            header, _ = receive_result(socket)
            assert header["type"] == "problem"
            assert header["problem"].startswith("webcam: ")
        send_picture(socket, 2)
        assert receive_result(socket)[0]["type"] == "result"


def test_a_visitor_who_floods_gets_the_newest_picture_only() -> None:
    held = Held()
    with serving(delay=held) as server, server.socket("/api/webcam") as socket:
        for stamp in range(20):
            send_picture(socket, stamp)
        held.let_go_when(server, 20)
        stamps: list[float] = []
        while 19 not in stamps:
            header, _ = receive_result(socket)
            stamps.append(header["captured"])
        # One was being worked on: an earlier one, whose result may have given way, or the last one itself.
        assert len(stamps) <= 2
        assert header["dropped"] in (18, 19)


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/api/webcam", b"\x05\x00\x00\x00", 1003),
        ("/api/webcam", pack({}, b""), 1003),
        ("/api/webcam", pack({"captured": "now"}, b""), 1003),
        ("/api/webcam", b'\x10\x00\x00\x00{"captured":NaN}', 1003),
        ("/api/webcam", "{", 1003),
        ("/api/webcam", "[]", 1003),
        ("/api/webcam", '{"type": "dance"}', 1003),
        ("/api/sources/1/live", "shown", 1003),
        ("/api/sources/1/live", '{"type": "shown", "number": []}', 1003),
        ("/api/sources/1/live", b"\xff", 1003),
        ("/api/sources/1/live", "[" * 100_000, 1003),
        ("/api/sources/1/results", "anything", 1003),
    ],
)
def test_what_is_not_in_the_protocol_ends_the_connection(
    server: Running, path: str, message: str | bytes, code: int
) -> None:
    assert closing_code(server, path, message) == code


def test_a_message_beyond_the_limit_ends_the_connection(server: Running) -> None:
    assert closing_code(server, "/api/webcam", bytes(2 * 1024 * 1024 + 1)) in (1009, None)


def test_too_many_messages_end_the_connection(server: Running) -> None:
    assert closing_code(server, "/api/webcam", *['{"type": "reset"}'] * 300) == 1008


@pytest.mark.parametrize("path", ["/api/sources/9/live", "/api/sources/9/results", "/api/nothing"])
def test_unknown_sources_are_not_found(server: Running, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, server.socket(path):
        pass
    assert refused.value.response.status_code in (403, 404)


def test_more_visitors_than_allowed_are_told_so() -> None:
    with serving(Settings(max_visitors=2)) as server, server.socket("/api/webcam"):
        with server.socket("/api/webcam"):
            with pytest.raises(InvalidStatus) as refused, server.socket("/api/webcam"):
                pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"] == "10"
            assert server.http.get("/api/health").json()["visitors"] == 2
        until(lambda: server.state.seats_taken == len(server.state.visitors) == 1)
        with server.socket("/api/webcam") as socket:
            send_picture(socket, 1)
            assert receive_result(socket)[0]["captured"] == 1


async def _visit(address: str, count: int, together: asyncio.Barrier) -> list[int]:
    """One visitor with a webcam: the identities of the last picture; one picture under way at a time."""
    async with websockets.connect(address, open_timeout=PATIENCE) as socket:
        await together.wait()
        for number in range(count):
            await socket.send(pack({"captured": number}, jpeg()))
            message = await asyncio.wait_for(socket.recv(), PATIENCE)
            assert isinstance(message, bytes)
            header, _ = unpack(message)
            assert header["captured"] == number
        return [told["id"] for told in header["objects"]]


@pytest.mark.skipif(not hasattr(asyncio, "Barrier"), reason="asyncio.Barrier came with Python 3.11")
def test_fifty_visitors_at_once_are_served_fairly_while_a_source_goes_on(street: Path) -> None:
    async def visit(address: str) -> list[list[int]]:
        together = asyncio.Barrier(50)
        return await asyncio.gather(*(_visit(address, 4, together) for _ in range(50)))

    with serving(Settings(max_visitors=51), sources={"1": str(street)}, delay=0.005) as server:
        served: list[int] = []
        answering = threading.Event()

        def ask() -> None:
            while not answering.wait(0.05):
                answer = httpx.get(f"{server.address}/api/health", timeout=PATIENCE)
                served.append(answer.status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        identities = asyncio.run(visit(server.address.replace("http", "ws") + "/api/webcam"))
        answering.set()
        asking.join()
        assert set(served) == {200}
        # Each has a tracker of its own, and so the same first identities.
        assert Counter(map(tuple, identities)).most_common(1)[0] == (tuple(identities[0]), 50)
        until(lambda: not server.state.seats_taken and not len(server.state.visitors))


def test_no_visitor_is_served_twice_before_all_were_served_once() -> None:
    held = Held()
    with serving(delay=held) as server, contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.socket("/api/webcam")) for _ in range(5)]
        for number in range(3):
            for socket in sockets:
                send_picture(socket, number)
        held.let_go_when(server, 15)
        # Everybody's newest picture, although earlier ones were there; the very first may have been taken at once.
        stamps = [receive_result(socket)[0]["captured"] for socket in sockets]
        assert stamps.count(2) >= 4


def test_a_view_of_a_large_picture_is_scaled_down(tmp_path: Path) -> None:
    # Masks stay in pixels of the frame; only the picture shrinks.
    large = write_video(tmp_path / "large.mp4", [picture(k, (1080, 1920)) for k in range(5)])
    with (
        serving(sources={"1": str(large)}) as server,
        server.socket("/api/sources/1/live") as socket,
    ):
        header, rest = receive_result(socket)
        picture_bytes = rest[sum(told["bytes"] for told in header["objects"]) :]
        assert header["size"] == [1080, 1920]
        assert decode_picture(picture_bytes).shape == (540, 960, 3)
