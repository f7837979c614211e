"""Network cameras on this machine, for tests and measurements: what they film says when it was filmed.

Each is a process of its own, which can be killed or frozen like a real one: MJPEG over HTTP, H.264 in MPEG transport
streams over UDP and TCP, and over RTSP. The pictures come from this process, at a steady rate, with the time painted
into them, so that their age can be read from what finally arrives, whatever buffers were on the way.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal, Protocol

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo.apps.reports import rtsp

Kind = Literal["http", "udp", "tcp", "rtsp"]
Picture = NDArray[np.uint8]
Film = Callable[[float], Picture]
"""``time.monotonic`` -> picture, uint8 [H, W, 3], RGB, of an even size."""

BLOCK, COLUMNS, ROWS = 8, 8, 4
"""The painted time: bits of milliseconds as black or white blocks that survive any codec."""

CLOCK = 90_000
"""Ticks per second of the streams' timestamps."""

SIZE = struct.Struct("<II")
"""Height and width, before each picture on the way to a camera's process."""


def paint_time(image: NDArray[np.uint8], moment: float) -> None:
    """Writes a moment, in whole milliseconds, into the upper left corner."""
    bits = round(moment * 1000) >> np.arange(ROWS * COLUMNS) & 1
    blocks = (bits.reshape(ROWS, COLUMNS) * 255).astype(np.uint8)
    pixels = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)
    image[: pixels.shape[0], : pixels.shape[1]] = pixels[..., None]


def painted_time(image: NDArray[np.uint8]) -> float:
    """The moment that :func:`paint_time` wrote, in seconds."""
    pixels = image[: ROWS * BLOCK, : COLUMNS * BLOCK].mean(2)
    blocks = pixels.reshape(ROWS, BLOCK, COLUMNS, BLOCK)[:, 2:-2, :, 2:-2].mean((1, 3))
    return int(((blocks > 128).ravel() << np.arange(ROWS * COLUMNS)).sum()) / 1000


def free_port() -> int:
    """A port of the loopback interface that nobody listens to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class NetworkCamera:
    """A camera behind an address. It can be killed and started again under the same address.

    Args:
        kind: how it is served.
        film: what it sees; the size may change, as when somebody turns to the camera's settings.
        fps: pictures per second.
    """

    def __init__(self, kind: Kind, film: Film, fps: float = 30.0) -> None:
        self.kind = kind
        self._film = film
        self._fps = fps
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._feeder: threading.Thread | None = None

    @property
    def address(self) -> str:
        """What to open."""
        return f"{self.kind}://127.0.0.1:{self._port}" + "/camera" * (self.kind in ("http", "rtsp"))

    def start(self) -> None:
        """Switches it on; returns when it can be connected to."""
        command = [sys.executable, "-m", __spec__.name, self.kind, str(self._port), f"{self._fps}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        with self._process.stdout as ready:
            ready.readline()
        self._feeder = threading.Thread(target=self._feed, args=(self._process,), daemon=True)
        self._feeder.start()

    def kill(self) -> None:
        """As if its plug were pulled."""
        if self._process is None or self._feeder is None:
            return
        self._process.kill()
        self._process.wait()
        self._feeder.join()
        self._process = None

    def freeze(self) -> None:
        """It hangs: connections stay, nothing comes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends :meth:`freeze`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> NetworkCamera:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        due = time.monotonic()
        with contextlib.suppress(OSError), process.stdin as pipe:
            while process.poll() is None:
                moment = time.monotonic()
                image = self._film(moment)
                paint_time(image, moment)
                pipe.write(SIZE.pack(*image.shape[:2]) + image.tobytes())
                pipe.flush()
                # What was not filmed while the process hung is not made up for.
                due = max(due + 1 / self._fps, time.monotonic() - 1 / self._fps)
                time.sleep(max(due - time.monotonic(), 0.0))


# Below: the process of a camera.


class _Newest:
    """The newest picture of the pipe, for any number of connections; the end of the pipe ends the process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._picture: Picture | None = None
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while header := sys.stdin.buffer.read(SIZE.size):
            height, width = SIZE.unpack(header)
            data = sys.stdin.buffer.read(3 * height * width)
            if len(data) < 3 * height * width:
                break
            with self._changed:
                self._picture = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                self._number += 1
                self._changed.notify_all()
        os._exit(0)

    def __iter__(self) -> Iterator[Picture]:
        number = self._number
        while True:
            with self._changed:
                while self._number == number or self._picture is None:
                    self._changed.wait()
                number, picture = self._number, self._picture
            yield picture


class _Target(Protocol):
    """Where a muxer's bytes go."""

    def write(self, data: bytes) -> Any:
        """Takes what a muxer wrote."""


def _encode(
    target: str | _Target, pictures: Iterator[Picture], fps: float, form: str, **options: str
) -> None:
    """H.264 as long as pictures come; a new size begins a new stream on the same way."""
    begun = time.monotonic()
    picture: Picture | None = next(pictures)
    while picture is not None:
        size = picture.shape[:2]
        with av.open(target, "w", format=form, options={"flush_packets": "1", **options}) as output:
            # One thread: several slices per picture would tear pictures apart where a part is lost.
            fast = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
            stream = output.add_stream("libx264", rate=Fraction(fps), options=fast)
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            stream.gop_size = max(round(fps / 2), 1)
            stream.codec_context.time_base = stream.time_base = Fraction(1, CLOCK)
            while picture is not None and picture.shape[:2] == size:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = round((time.monotonic() - begun) * CLOCK)
                frame.time_base = Fraction(1, CLOCK)
                output.mux(stream.encode(frame))
                picture = next(pictures, None)


def _http(connection: socket.socket, pictures: Iterator[Picture], fps: float) -> None:
    connection.recv(1 << 16)
    kind = b"Content-Type: multipart/x-mixed-replace;boundary=picture\r\n"
    connection.sendall(b"HTTP/1.0 200 OK\r\n" + kind + b"\r\n--picture\r\n")
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        head = f"Content-Type: image/jpeg\r\nContent-Length: {file.tell()}\r\n\r\n"
        connection.sendall(head.encode() + file.getvalue() + b"\r\n--picture\r\n")


def _tcp(connection: socket.socket, pictures: Iterator[Picture], fps: float) -> None:
    with connection.makefile("wb", buffering=0) as target:
        _encode(target, pictures, fps, "mpegts", max_delay="0")


def _rtsp(connection: socket.socket, pictures: Iterator[Picture], fps: float) -> None:
    rtsp.converse(connection, "H264", lambda way: _encode(way, pictures, fps, "rtp", **rtsp.RTP))


def _connected(
    kind: Kind, connection: socket.socket, pictures: Iterator[Picture], fps: float
) -> None:
    with connection:
        rtsp.until_left(
            {"http": _http, "tcp": _tcp, "rtsp": _rtsp}[kind], connection, pictures, fps
        )


def main(kind: Kind, port: int, fps: float) -> None:
    """Serves the pictures of the pipe until it ends."""
    newest = _Newest()
    if kind == "udp":
        print("ready", flush=True)
        # Whoever does not listen yet is told as a refused packet.
        while True:
            address = f"udp://127.0.0.1:{port}?pkt_size=1316"
            rtsp.until_left(_encode, address, iter(newest), fps, "mpegts", max_delay="0")
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            arguments = (kind, connection, iter(newest), fps)
            threading.Thread(target=_connected, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))  # type: ignore[arg-type]
