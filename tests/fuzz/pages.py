"""Requests and messages to a running server: it answers, goes on, and says nothing of its own mishaps."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from websockets.exceptions import WebSocketException

from sipvideo.web.jobs import Jobs
from sipvideo.web.settings import Settings
from sipvideo.web.wire import pack
from tests.fuzz import engines, pictures, videos
from tests.fuzz.case import Case
from tests.fuzz.mutate import VALUES, Rng, choose, json_bytes, mutated_bytes, mutated_tree
from tests.web import serving

ENDED = ("done", "failed", "cancelled", "interrupted")
PATIENCE = 15.0
SERVER = "../server"
"""Folder of uploads, beside those of the cases: the server outlives them."""

_RUNNING: list[Any] = []


@functools.cache
def _server() -> serving.Running:
    """One server for the life of the process, with a source that never ends."""
    clip = Path(SERVER).resolve() / "clip.mp4"
    clip.parent.mkdir(parents=True, exist_ok=True)
    clip.write_bytes(videos.base("mp4_h264_aac"))
    serving.segmenter = lambda delay=0.0: engines.finder()
    settings = Settings(data=clip.parent / "uploads", max_upload=2**20, max_duration=20, keep=5)
    _RUNNING.append(serving.serving(settings, {"1": str(clip)}))
    return _RUNNING[0].__enter__()  # it ends with the process


def _still_well(running: serving.Running) -> None:
    answer = running.http.get("/api/health", timeout=PATIENCE)
    assert answer.status_code == 200, f"the server is ill: {answer.status_code}"


def request(rng: Rng, folder: Path) -> Case:
    """Requests of any method, path, query, headers and body."""
    running = _server()
    keys = ("1", "2", "x" * 300, "..", "%2e%2e", "\x00", "é", "0" * 16)
    paths = (
        *("/", "/api/health", "/api/sources", "/api/sources/{}", "/api/sources/{}/reset"),
        *("/api/jobs", "/api/jobs/{}", "/api/jobs/{}/cancel", "/api/jobs/{}/results.zip"),
        *("/api/jobs/{}/results/{}", "/page/{}", "/static/{}", "/{}", "/openapi.json"),
    )
    path = choose(rng, paths)
    path = path.format(
        *(quote(choose(rng, (*keys, "../../../etc/passwd"))) for _ in range(path.count("{}")))
    )
    method = choose(rng, ("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH"))
    query = {choose(rng, ("name", "count", "download", "token")): str(choose(rng, VALUES))[:400]}
    query = {key: value.encode("utf-8", "replace").decode() for key, value in query.items()}
    headers = {choose(rng, HEADERS): choose(rng, HEADER_VALUES)}
    body = rng.bytes(int(2 ** rng.uniform(0, 12)))

    def work() -> int:
        with contextlib.suppress(httpx.TransportError, UnicodeError):
            answer = running.http.request(
                method, path, params=query, content=body, headers=headers, timeout=PATIENCE
            )
            assert answer.status_code < 500, f"{answer.status_code} for {method} {path}"
            assert b"root:" not in answer.content
        _still_well(running)
        return 0

    return Case(f"{method} {path} {query} {headers}", work=work)


HEADERS = (
    "range",
    "host",
    "origin",
    "content-type",
    "authorization",
    "cookie",
    "accept",
    "if-none-match",
)
HEADER_VALUES = (
    *("bytes=0-", "bytes=5-1", "bytes=-1,-2", "bytes=" + "0-1," * 500, "example.com", "null"),
    *(
        "http://evil.example",
        "Bearer x",
        "x" * 8000,
        "localhost:1",
        "[::1",
        "a=b; c",
        "application/json",
    ),
)


def raw_request(rng: Rng, folder: Path) -> Case:
    """Bytes that are hardly HTTP any more."""
    running = _server()
    body = b'{"a": 1}'
    text = (
        b"POST /api/jobs?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n"
        b"Connection: close\r\n\r\n" + body
    )
    upgrade = (
        b"GET /api/webcam HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x82\xfe\x00\x7e\x00"
    )
    data, how = mutated_bytes(rng, choose(rng, (text, upgrade)), text)
    port = int(running.address.rpartition(":")[2])

    def work() -> int:
        with socket.create_connection(("127.0.0.1", port), 5) as line, contextlib.suppress(OSError):
            line.settimeout(0.05)
            line.sendall(data)
            answer = line.recv(65536)
            assert not answer.startswith(b"HTTP/1.1 5"), answer[:60]
        _still_well(running)
        return 0

    return Case(how, work=work)


def upload(rng: Rng, folder: Path) -> Case:
    """A damaged video as an upload, followed to its end, and removed."""
    running = _server()
    data, suffix, how = videos.damaged(rng)
    data = data[: 2**20 + 10]
    name = choose(rng, (f"a{suffix}", "../../x", "\x00", "a" * 900, "é.mp4", ""))

    def work() -> int:
        answer = running.http.post(
            "/api/jobs", params={"name": name}, content=data, timeout=PATIENCE
        )
        assert answer.status_code < 500, f"{answer.status_code} for an upload"
        if answer.status_code != 201:
            return 0
        key = answer.json()["id"]
        job = running.wait(key, *ENDED)
        assert "while processing" not in job["problem"], job[
            "problem"
        ]  # of an error that nobody foresaw
        for file in job["results"]:
            assert running.http.get(file["url"]).status_code == 200
        assert running.http.delete(f"/api/jobs/{key}").status_code == 204
        return 0

    return Case(f"{how} as {name[:20]!r}", work=work)


def _texts(rng: Rng) -> str | bytes:
    command = choose(
        rng, ({"type": "shown", "number": 1}, {"type": "reset"}, {"type": "clock", "sent": 1.5})
    )
    data, _ = json_bytes(rng, mutated_tree(rng, command)[0])
    return data[:100_000].decode("utf-8", "replace") if rng.random() < 0.9 else data[:100_000]


def _pictures(rng: Rng) -> str | bytes:
    header, _ = (
        mutated_tree(rng, {"captured": 12.5}) if rng.random() < 0.4 else ({"captured": 1.0}, "")
    )
    shown = (
        "jpeg",
        "jpeg_progressive",
        "jpeg_cmyk",
        "jpeg_turned",
        "webp",
        "webp_alpha",
        "webp_moves",
        "png",
    )
    picture = pictures.damaged(rng, shown)[0]
    try:
        message = pack(header if isinstance(header, dict) else {}, picture)
    except ValueError:  # NaN is no JSON
        message = pack({"captured": 1.0}, picture)
    return mutated_bytes(rng, message)[0] if rng.random() < 0.3 else message


def messages(rng: Rng, folder: Path) -> Case:
    """A few messages over a WebSocket, some answers taken, and gone."""
    running = _server()
    path = choose(
        rng,
        ("/api/webcam", "/api/webcam", "/api/sources/1/live", "/api/sources/1/results", "/api/x"),
    )
    make: Callable[[Rng], Any] = choose(rng, (_texts, _pictures, _pictures))
    sent = [make(rng) for _ in range(1 + int(rng.integers(4)))]

    def work() -> int:
        with (
            contextlib.suppress(WebSocketException, TimeoutError, OSError),
            running.socket(path) as line,
        ):
            for message in sent:
                line.send(message)
                with contextlib.suppress(TimeoutError):
                    line.recv(0.03)
        _still_well(running)
        return 0

    return Case(f"{path} {str(sent[0])[:100]}", work=work)


def records(rng: Rng, folder: Path) -> Case:
    """What an earlier server left: its records of uploads, damaged, and a page that lists them."""
    place = folder / "out" / "0123456789abcdef"
    place.mkdir(parents=True)
    record = {
        "id": place.name,
        "name": "a.mp4",
        "state": "done",
        "problem": "",
        "created": time.time(),
    }
    record |= {"ended": time.time(), "frames": 3, "frame_count": 3, "seconds": 0.1, "duration": 0.1}
    tree, how = mutated_tree(rng, record | {"fps": 2.0, "tracks": 1})
    data, more = json_bytes(rng, tree)
    (place / "job.json").write_bytes(data)

    def work() -> int:
        jobs = Jobs(engines.finder(), Settings(data=folder / "out"))
        for job in jobs.all():
            json.dumps(vars(job))
            jobs.results(job)
        jobs.expire()
        jobs.close()
        return 0

    return Case(f"{how} {more}", work=work)
