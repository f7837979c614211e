"""Events on their way to real receivers that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sipvideo.errors import ConfigError
from sipvideo.events import outlets
from sipvideo.events.outlets import Delivery, OutletError, event_line, open_outlet

PATIENCE = 60.0
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or ""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(outlets, "LONGEST_WAIT", 0.1)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def receiver(port: int, got: list[dict[str, Any]], *, loses: int = 0) -> Iterator[None]:
    """A web server that keeps what it gets; the first answers are lost after the event was taken."""
    refused = [loses]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            got[-1]["authorization"] = self.headers.get("Authorization")
            refused[0] -= 1
            self.send_response(503 if refused[0] >= 0 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def append(log: Path, numbers: range) -> None:
    with log.open("a") as file:
        for number in numbers:
            file.write(event_line({"id": f"run:{number}"}))


def wait_for(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_events_reach_a_receiver_that_comes_late_goes_and_returns(tmp_path: Path) -> None:
    log, told, got = tmp_path / "events.jsonl", [], []
    append(log, range(3))
    port = free_port()
    delivery = Delivery(log, open_outlet(f"http://127.0.0.1:{port}/hook"), told.append)
    wait_for(lambda: told)
    assert "refused" in told[0]
    with receiver(port, got):
        wait_for(lambda: len(got) == 3)
    append(log, range(3, 6))
    delivery.news()
    with receiver(port, got, loses=2):
        wait_for(lambda: len(got) >= 6)
        assert delivery.close(PATIENCE) == 0
    ids = [event["id"] for event in got]
    assert list(dict.fromkeys(ids)) == [
        f"run:{k}" for k in range(6)
    ]  # in order, each at least once
    assert ids.count("run:3") == 3  # two lost answers
    assert any("again" in line for line in told[1:])


def test_what_could_not_be_sent_is_counted_and_stays_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    append(log, range(4))
    delivery = Delivery(log, open_outlet(f"http://127.0.0.1:{free_port()}/"), lambda _: None)
    assert delivery.close(0.1) == 4
    assert len(log.read_text().splitlines()) == 4


def test_a_password_reaches_the_receiver_and_nobody_else(tmp_path: Path) -> None:
    log, told, got = tmp_path / "events.jsonl", [], []
    append(log, range(1))
    port = free_port()
    outlet = open_outlet(f"http://anna:s%3Acret@127.0.0.1:{port}/hook?token=hidden")
    assert "cret" not in outlet.name
    assert "hidden" not in outlet.name
    delivery = Delivery(log, outlet, told.append)
    wait_for(lambda: told)
    assert "cret" not in told[0]
    with receiver(port, got):
        assert delivery.close(PATIENCE) == 0
    assert got[0]["authorization"] == "Basic YW5uYTpzOmNyZXQ="


@pytest.mark.parametrize(
    "address", ["ftp://host/x", "mqtt://host", "mqtt://host/", "http://", "events", "mqtt://h/a/#"]
)
def test_other_addresses_are_refused_in_one_line(address: str) -> None:
    with pytest.raises(ConfigError):
        open_outlet(address)


@contextlib.contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    """A real MQTT broker in a process of its own."""
    settings = folder / "broker.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [MOSQUITTO, "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: process.poll() is not None or _open(port))
        assert process.poll() is None
        yield
    finally:
        process.kill()
        process.wait()


def _open(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


class Gated:
    """A receiver that is out of reach while its gate is closed."""

    def __init__(self, outlet: outlets.Outlet) -> None:
        self.name, self.close, self._send = outlet.name, outlet.close, outlet.send
        self.gate = threading.Event()

    def send(self, line: str) -> None:
        if not self.gate.is_set():
            raise OutletError(f"{self.name}: closed")
        self._send(line)


@pytest.mark.skipif(not MOSQUITTO, reason="needs the broker mosquitto")
def test_a_broker_that_dies_and_returns_gets_every_event(tmp_path: Path) -> None:
    paho = pytest.importorskip("paho.mqtt.client")
    log, told, port = tmp_path / "events.jsonl", [], free_port()
    append(log, range(5))
    got: list[str] = []

    @contextlib.contextmanager
    def listener() -> Iterator[None]:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_message = lambda *given: got.append(json.loads(given[2].payload)["id"])
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", port)
        client.subscribe("shop/door", qos=1)
        client.loop_start()
        assert subscribed.wait(PATIENCE)
        try:
            yield
        finally:
            client.disconnect()
            client.loop_stop()

    outlet = Gated(open_outlet(f"mqtt://127.0.0.1:{port}/shop/door"))
    with broker(tmp_path, port), listener():
        delivery = Delivery(log, outlet, told.append)
        outlet.gate.set()
        wait_for(lambda: len(set(got)) == 5)
    outlet.gate.clear()  # a new broker knows no subscriber: whoever comes first must be the listener
    append(log, range(5, 9))
    delivery.news()
    wait_for(lambda: told)
    with broker(tmp_path, port), listener():
        outlet.gate.set()
        assert delivery.close(PATIENCE) == 0
        wait_for(lambda: len(set(got)) == 9)
    assert list(dict.fromkeys(got)) == [f"run:{k}" for k in range(9)]
