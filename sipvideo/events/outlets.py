"""Where events go while a run goes on: a webhook or an MQTT broker, at least once, from the log on disk.

The log is the truth: an event is first written there, then sent from there by a thread of its own. A receiver that is
gone for a while costs no memory and holds nothing up; what it missed follows in order when it is back. An event may
arrive twice (the answer was lost, the run was killed): its ``id`` lets a receiver drop the second one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sipvideo.errors import ConfigError, SipVideoError
from sipvideo.extras import absence

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts: doubled each time."""
ANSWER = 10.0
"""Seconds that a receiver may take for one event."""


class OutletError(SipVideoError):
    """A receiver did not take an event; it will be sent again."""


class Outlet(Protocol):
    """A receiver of events."""

    name: str
    """Its address for people, without a password."""

    def send(self, line: str) -> None:
        """Hands over one event as JSON, and returns when the receiver has it. Raises OutletError."""

    def close(self) -> None:
        """Ends the connection."""


def open_outlet(address: str) -> Outlet:
    """The receiver at ``http(s)://...`` (a POST per event) or ``mqtt(s)://[user:password@]host[:port]/topic``.

    Raises:
        ConfigError: another address, or paho-mqtt is missing.
    """
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname:
        return Webhook(address)
    if parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.path.strip("/"):
        return Mqtt(address)
    raise ConfigError(
        f"{_named(address)}: expected http://HOST/PATH, https://HOST/PATH or mqtt://HOST:PORT/TOPIC"
    )


class Webhook:
    """One POST with a JSON body per event; any status of 2xx is an acknowledgement."""

    def __init__(self, address: str) -> None:
        self.name = _named(address)
        parts = urlsplit(address)
        self._headers = {"Content-Type": "application/json", "User-Agent": "sipvideo"}
        if parts.username is not None:
            import base64

            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        host = parts.netloc.rpartition("@")[2]
        self._address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))

    def send(self, line: str) -> None:
        """Posts one event. Raises OutletError."""
        request = urllib.request.Request(self._address, line.encode(), self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise OutletError(f"{self.name}: answers {error.code} {error.reason}") from error
        except (OSError, ValueError) as error:  # URLError is an OSError
            reason = getattr(error, "reason", error)
            raise OutletError(
                f"{self.name}: {getattr(reason, 'strerror', None) or reason}"
            ) from error

    def close(self) -> None:
        """Nothing is held between events."""


class Mqtt:
    """Publishes each event to a topic with QoS 1, and waits for the broker's acknowledgement."""

    def __init__(self, address: str) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise ConfigError(f"{_named(address)}: {absence('paho')}") from error
        self.name = _named(address)
        parts = urlsplit(address)
        self._host = parts.hostname or ""
        self._port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._topic = unquote(parts.path.strip("/"))
        if {"+", "#"} & set(unquote(address)):
            raise ConfigError(f"{self.name}: a topic to publish to has no wildcards")
        self._client = Client(CallbackAPIVersion.VERSION2)
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._connected = threading.Event()
        self._refusal = ""
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._started = False

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, rest: Any) -> None:
        self._refusal = str(reason) if reason.is_failure else ""
        if not reason.is_failure:
            self._connected.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, rest: Any) -> None:
        self._connected.clear()

    def send(self, line: str) -> None:
        """Publishes one event. Raises OutletError."""
        try:
            if not self._started:
                self._client.connect(self._host, self._port, keepalive=20)
                self._client.loop_start()
                self._started = True
            if not self._connected.wait(ANSWER):
                raise OutletError(f"{self.name}: {self._refusal or 'no connection'}")
            message = self._client.publish(self._topic, line, qos=1)
            message.wait_for_publish(ANSWER)
            if not message.is_published():
                raise OutletError(f"{self.name}: the broker did not acknowledge an event")
        except (OSError, ValueError, RuntimeError) as error:
            raise OutletError(
                f"{self.name}: {getattr(error, 'strerror', None) or error}"
            ) from error

    def close(self) -> None:
        """Ends the connection and its thread."""
        with contextlib.suppress(Exception):
            self._client.disconnect()
            self._client.loop_stop()


class Delivery:
    """Sends what a log holds to one receiver, in order, in a thread of its own.

    Args:
        log: lines of JSON, which somebody else appends to.
        outlet: the receiver.
        tell: takes lines for people: when the receiver does not answer, and when it does again.
        sent: bytes of the log that it has already.
    """

    def __init__(
        self, log: Path, outlet: Outlet, tell: Callable[[str], None], sent: int = 0
    ) -> None:
        self.outlet = outlet
        self.sent = sent
        self._log = log
        self._tell = tell
        self._news = threading.Event()
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(
            target=self._run, name=f"events to {outlet.name}", daemon=True
        )
        self._thread.start()

    def news(self) -> None:
        """The log has grown."""
        self._news.set()

    def close(self, patience: float) -> int:
        """Waits so many seconds for what is left, then stops; the number of events that were not sent."""
        until = time.monotonic() + patience
        while time.monotonic() < until and self._thread.is_alive() and self._left():
            self._news.set()
            time.sleep(0.02)
        self._stop.set()
        self._news.set()
        self._thread.join(ANSWER + 1)
        self.outlet.close()
        with self._log.open("rb") as file:
            file.seek(self.sent)
            return sum(1 for _ in file)

    def _left(self) -> bool:
        return os.path.getsize(self._log) > self.sent

    def _run(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self.sent)
            while not self._stop.is_set():
                line = file.readline()
                if not line.endswith(b"\n"):  # the end, or a line that is being written
                    file.seek(self.sent)
                    self._news.wait(1.0)
                    self._news.clear()
                elif self._send(line.decode().rstrip()):
                    self.sent = file.tell()

    def _send(self, line: str) -> bool:
        """Tries until the receiver has the event, or the run ends."""
        wait = FIRST_WAIT
        while not self._stop.is_set():
            if self._attempt(line):
                return True
            self._stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        return False

    def _attempt(self, line: str) -> bool:
        """Sends once; says when the receiver stops answering, and when it answers again."""
        try:
            self.outlet.send(line)
        except OutletError as error:
            if not self._failing:
                self._tell(f"{error}; events wait in {self._log} and are sent again")
            self._failing = True
            return False
        if self._failing:
            self._tell(f"{self.outlet.name}: takes events again")
        self._failing = False
        return True


def _named(address: str) -> str:
    """The address without a password."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    name = quote(unquote(user.partition(":")[0])) + at + host
    return urlunsplit((parts.scheme, name, parts.path, "", ""))


def event_line(record: dict[str, Any]) -> str:
    """One event as a line of JSON."""
    return json.dumps(record, ensure_ascii=False) + "\n"
