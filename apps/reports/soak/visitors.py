"""What a soak does to a server: cameras that fail and return, visitors that come and go, and the count of it all."""

from __future__ import annotations

import io
import json
import random
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sipvideo.apps.reports.cameras import Kind, NetworkCamera, painted_time
from sipvideo.web.wire import pack, unpack

Picture = NDArray[np.uint8]

SIZES = ((180, 320), (240, 426), (180, 320), (360, 480))
"""Heights and widths among which cameras change."""

PATIENCE = 60.0
"""Seconds for what a busy machine may take long to do: a picture from a camera that is back, an answer, a job."""


class Tally:
    """What happened so far; counted by many threads.

    Args:
        log: a file to which failures go, a line each, as they come.
    """

    def __init__(self, log: Path) -> None:
        self.ending = threading.Event()
        self.begun = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.failures = 0
        self._log = log
        self._lock = threading.Lock()
        self._ages: list[tuple[float, float]] = []
        self._filmed: dict[str, float] = {}
        self._recoveries: list[float] = []

    def count(self, what: str, number: int = 1) -> None:
        """One more of something."""
        with self._lock:
            self.counts[what] += number

    def fail(self, what: str) -> None:
        """Something that must not happen; while everything ends, anything may."""
        if self.ending.is_set():
            return
        with self._lock:
            self.failures += 1
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"{time.monotonic() - self.begun:8.1f} s  {what}\n")

    def shown(self, key: str, age: float, filmed: float) -> None:
        """A result reached a viewer: seconds since its capture, and when its picture was filmed."""
        now = time.monotonic()
        with self._lock:
            if not age <= now - filmed + 0.5 < PATIENCE:  # a damaged picture tells any time
                self.counts["pictures without a readable time"] += 1
                return
            self._ages.append((age, now - filmed))
            self._filmed[key] = filmed

    def filmed(self, key: str) -> float:
        """When the newest picture shown of a camera was filmed."""
        return self._filmed.get(key, 0.0)

    def recovered(self, seconds: float) -> None:
        """A camera was seen again so long after it was back."""
        with self._lock:
            self._recoveries.append(seconds)

    def take(self) -> tuple[NDArray[np.float64], list[float]]:
        """Ages [N, 2] (since capture, since filmed) and recoveries, in seconds, since the last call."""
        with self._lock:
            ages, recoveries = self._ages, self._recoveries
            self._ages, self._recoveries = [], []
        return np.array(ages, np.float64).reshape(-1, 2), recoveries


class Camera(threading.Thread):
    """A camera that is switched off, hangs, and changes its size, again and again."""

    def __init__(
        self, key: str, kind: Kind, films: dict[tuple[int, int], list[Picture]], tally: Tally
    ) -> None:
        super().__init__(daemon=True)
        self.key = key
        self._films = films
        self._tally = tally
        self._size = SIZES[0]
        self._random = random.Random(key)
        self.camera = NetworkCamera(kind, self._film, 5.0)
        self.camera.start()

    def run(self) -> None:
        """Until the soak ends."""
        ending, chance = self._tally.ending, self._random
        while not ending.wait(chance.uniform(15, 60)):
            what = chance.choice(("off", "off for long", "other size", "turned", "hangs"))
            self._tally.count(f"camera {what}")
            if what == "turned":  # another size in the middle of the stream
                self._size = chance.choice(SIZES)
            elif what == "hangs":
                self.camera.freeze()
                ending.wait(chance.uniform(2, 12))
                self.camera.thaw()
            else:
                self.camera.kill()
                if what == "other size":
                    self._size = chance.choice(SIZES)
                ending.wait(
                    chance.uniform(20, 40) if what == "off for long" else chance.uniform(1, 4)
                )
                self.camera.start()
            self._see_again(what, time.monotonic())
        self.camera.kill()

    def _see_again(self, what: str, back: float) -> None:
        ending = self._tally.ending
        while self._tally.filmed(self.key) <= back:
            if time.monotonic() - back > PATIENCE:
                self._tally.fail(f"camera {self.key} ({self.camera.kind}) not seen again: {what}")
                return
            if ending.wait(0.05):
                return
        self._tally.recovered(time.monotonic() - back)

    def _film(self, moment: float) -> Picture:
        pictures = self._films[self._size]
        return pictures[int(moment * 5) % len(pictures)].copy()


class Visitors:
    """People at the page of a server.

    Args:
        address: of the server, ``http://host:port/``.
        tally: where all is counted.
        pictures: of a webcam.
        clips: videos to upload, by name; ``whole`` among them is a good one.
    """

    def __init__(
        self, address: str, tally: Tally, pictures: list[Picture], clips: dict[str, bytes]
    ) -> None:
        self._address = address
        self._tally = tally
        self._pictures = [jpeg(picture) for picture in pictures]
        self._clips = clips

    def stay(self, key: str) -> None:
        """Watches one camera until the soak ends: every result counts."""
        while not self._tally.ending.is_set():
            self._watch_for_long(key)

    def _watch_for_long(self, key: str) -> None:
        try:
            with self._socket(f"api/sources/{key}/live") as socket:
                while not self._tally.ending.is_set():
                    self._see(key, socket)
        except (ConnectionClosed, OSError, ValueError) as error:
            self._tally.fail(f"the view of camera {key} ended: {error!r}")
            self._tally.ending.wait(1)

    def come_and_go(self, seed: int) -> None:
        """One visit after the other, until the soak ends."""
        chance = random.Random(seed)
        visits = [self._watch, self._webcam, self._webcam, self._upload, self._upload]
        visits += [self._lines, self._look_around, self._break_protocol]
        while not self._tally.ending.wait(chance.uniform(0, 3)):
            visit = chance.choice(visits)
            name = visit.__name__.strip("_").replace("_", " ")
            try:
                with httpx.Client(base_url=self._address, timeout=PATIENCE) as http:
                    visit(http, chance)
            except Exception as error:  # whatever it is, the soak goes on and tells it
                self._tally.fail(f"visit '{name}': {error!r}")
            self._tally.count(f"visit: {name}")

    def _socket(self, path: str) -> ClientConnection:
        address = self._address.replace("http", "ws", 1) + path
        return connect(address, open_timeout=PATIENCE, max_size=2**24)

    def _see(self, key: str, socket: ClientConnection) -> None:
        try:
            message = socket.recv(1.0)
        except TimeoutError:
            return
        if isinstance(message, str):
            status = json.loads(message)
            if status.get("state") == "failed":  # other messages tell of zones
                self._tally.fail(f"camera {key}: {status['text']}")
            return
        header, rest = unpack(message)
        age = time.monotonic() - header["captured"]
        picture = rest[sum(thing["bytes"] for thing in header["objects"]) :]
        with Image.open(io.BytesIO(picture)) as image:
            self._tally.shown(key, age, painted_time(np.asarray(image)))
        socket.send(json.dumps({"type": "shown", "number": header["number"]}))

    def _watch(self, _: httpx.Client, chance: random.Random) -> None:
        key, slow, rude = chance.choice("1234"), chance.random() < 0.3, chance.random() < 0.5
        end = time.monotonic() + chance.uniform(1, 20)
        socket = self._socket(
            f"api/sources/{key}/live" + "?pictures=false" * (chance.random() < 0.3)
        )
        while time.monotonic() < end:
            try:
                message = socket.recv(1.0)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                self._tally.ending.wait(2.0 * slow)
                number = unpack(message)[0]["number"]
                socket.send(json.dumps({"type": "shown", "number": number}))
                if chance.random() < 0.02:
                    socket.send('{"type": "reset"}')
        leave(socket, rude)

    def _webcam(self, _: httpx.Client, chance: random.Random) -> None:
        socket = self._socket("api/webcam")
        rude = chance.random() < 0.5
        for number in range(chance.randrange(5, 60)):
            broken = chance.random() < 0.05
            picture = self._pictures[number % len(self._pictures)]
            socket.send(
                pack({"captured": number}, picture[: len(picture) // 2] if broken else picture)
            )
            if chance.random() < 0.05:
                socket.send('{"type": "reset"}')
            header, _rest = unpack(bytes(socket.recv(PATIENCE)))  # type: ignore[arg-type]
            if (header["type"], header["captured"]) != ("problem" if broken else "result", number):
                raise ValueError(f"picture {number}, broken: {broken}, got {header}")
            if self._tally.ending.wait(0.25):
                break
        leave(socket, rude)

    def _upload(self, http: httpx.Client, chance: random.Random) -> None:
        name = chance.choice(sorted(self._clips))
        data = self._clips[name]
        if chance.random() < 0.15:
            return self._give_up_uploading(data)
        answer = http.post("api/jobs", params={"name": f"{name}.mp4"}, content=data)
        if answer.status_code == 429:
            return self._tally.count("uploads refused, as others wait")
        if name == "no video":
            return self._expect(answer, 415)
        self._expect(answer, 201)
        job = "api/jobs/" + answer.json()["id"]
        what = chance.choice(("wait", "wait", "cancel", "delete"))
        if what == "delete":
            return self._expect(http.delete(job), 204)
        if what == "cancel":
            self._expect(http.post(f"{job}/cancel"), 200)
        begun = time.monotonic()
        while (info := http.get(job).json())["state"] in ("waiting", "running"):
            if time.monotonic() - begun > 5 * PATIENCE or self._tally.ending.wait(0.5):
                raise ValueError(f"still {info['state']}: {info}")
        wanted = {"done"}
        if name == "cut":
            wanted.add("failed")
        if what == "cancel":
            wanted.add("cancelled")
        if info["state"] not in wanted:
            raise ValueError(f"{name}, {what}: {info}")
        self._download(http, job, info, chance)

    def _download(
        self, http: httpx.Client, job: str, info: dict[str, Any], chance: random.Random
    ) -> None:
        for file in info["results"]:
            part = {"range": "bytes=0-99"} if chance.random() < 0.3 else {}
            answer = http.get(file["url"], headers=part)
            self._expect(answer, 206 if part else 200)
            if not part and len(answer.content) != file["bytes"]:
                raise ValueError(f"{file}: got {len(answer.content)} bytes")
        if info["archive"] is not None:
            answer = http.get(info["archive"])
            self._expect(answer, 200)
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                if archive.testzip() is not None:
                    raise ValueError(f"{info['archive']}: damaged")
        if chance.random() < 0.5:  # the others are removed when their time is over
            self._expect(http.delete(job), 204)

    def _give_up_uploading(self, data: bytes) -> None:
        def some() -> Any:
            yield data[: len(data) // 2]
            raise ConnectionAbortedError

        try:
            httpx.post(f"{self._address}api/jobs", content=some(), timeout=PATIENCE)
        except ConnectionAbortedError:
            self._tally.count("uploads broken off")

    def _lines(self, http: httpx.Client, chance: random.Random) -> None:
        with http.stream("GET", f"api/sources/{chance.choice('1234')}/results?count=20") as answer:
            self._expect(answer, 200)
            for line in answer.iter_lines():
                json.loads(line)
                if chance.random() < 0.05:
                    break

    def _look_around(self, http: httpx.Client, chance: random.Random) -> None:
        for path in (
            "",
            "docs",
            "page/main.js",
            "api/health",
            "api/sources",
            "api/jobs",
            "openapi.json",
        ):
            self._expect(http.get(path), 200)
        self._expect(http.get("api/jobs/none"), 404)
        self._expect(http.post(f"api/sources/{chance.choice('1234')}/reset"), 200)

    def _break_protocol(self, _: httpx.Client, chance: random.Random) -> None:
        message = chance.choice(("{", "[]", '{"type": "other"}', b"", b"\xff" * 9))
        path = chance.choice(("api/webcam", "api/sources/1/live", "api/sources/1/results"))
        socket = self._socket(path)
        try:
            socket.send(message)
            while True:
                socket.recv(PATIENCE)
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code not in (1003, 1008):
                raise ValueError(f"{path}, {message!r}: {closed!r}") from closed

    def _expect(self, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            raise ValueError(f"{answer.request.url}: expected {status}, got {answer.status_code}")


def leave(socket: ClientConnection, rude: bool) -> None:
    """Ends a visit: rude people pull the plug."""
    if rude:
        socket.socket.shutdown(2)
    socket.close()


def jpeg(picture: Picture) -> bytes:
    """A picture as a browser sends it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()


def started(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    """Work in a thread of its own."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
