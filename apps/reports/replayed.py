"""Many network cameras in one process that send encoded films, so that the cameras themselves cost next to nothing.

A film says in each picture which of its moments it shows (:func:`sipvideo.apps.reports.cameras.paint_time`), and runs
over and over from a moment that the rack is told: so the age of a picture can be read from what finally arrives.
Whoever connects gets what came since the last key frame at once, and then each picture when it is due.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import av
import cv2
import numpy as np

from sipvideo.apps.reports import rtsp
from sipvideo.apps.reports.cameras import Picture, free_port, paint_time
from sipvideo.sources import VideoFile

Way = Literal["rtsp", "http"]
FPS = 25
CODECS = {"h264": "H264", "hevc": "H265"}
"""Codecs that go over RTSP, and their names there."""

RESET = struct.pack("ii", 1, 0)
"""A socket that lingers for no time at all: closing it looks like a pulled plug."""


@dataclass(frozen=True)
class Film:
    """How a film is encoded.

    Attributes:
        codec: FFmpeg's name of an encoder: libx264, libx265 or mjpeg.
        gop: pictures from one key frame to the next.
        b_frames: how many pictures in a row may need one that comes later.
        size: (height, width).
        seconds: how long it is, whole groups of pictures.
        megabits: per second, at most.
        open_gop: whether pictures before a key frame may need those after it, and those of the group before.
    """

    codec: str = "libx264"
    gop: int = 50
    b_frames: int = 3
    size: tuple[int, int] = (720, 1280)
    seconds: int = 10
    megabits: float = 4.0
    open_gop: bool = False

    def write(self, clip: Path, path: Path) -> None:
        """Encodes a clip, to and fro, with the moments painted in.

        Args:
            clip: any video.
            path: an MPEG transport stream, or Motion JPEG in Matroska.
        """
        with av.open(
            str(path), "w", format="mpegts" if self.codec != "mjpeg" else "matroska"
        ) as output:
            stream: Any = output.add_stream(self.codec, rate=FPS, options=self._options())
            stream.height, stream.width = self.size
            stream.pix_fmt = "yuvj420p" if self.codec == "mjpeg" else "yuv420p"
            for number, image in zip(range(self.seconds * FPS), _to_and_fro(clip), strict=False):
                picture = _resized(image, self.size)
                paint_time(picture, number / FPS)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))

    def _options(self) -> dict[str, str]:
        if self.codec == "mjpeg":
            return {"qmin": "3", "qmax": "5"}
        rate = f"{self.megabits}M"
        options = {"preset": "fast", "g": str(self.gop), "bf": str(self.b_frames)}
        if self.codec == "libx265":
            keys = (
                f"keyint={self.gop}:min-keyint={self.gop}:scenecut=0:open-gop={int(self.open_gop)}"
            )
            return options | {"preset": "ultrafast", "x265-params": f"{keys}:log-level=none"}
        options |= {"keyint_min": str(self.gop), "sc_threshold": "0", "crf": "21"}
        options["x264-params"] = f"open-gop={int(self.open_gop)}"
        return options | {"maxrate": rate, "bufsize": rate}


def _resized(image: Picture, size: tuple[int, int]) -> Picture:
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _to_and_fro(clip: Path) -> Iterator[Picture]:
    with VideoFile(clip) as video:
        images = [frame.image for frame in video]
    while True:
        yield from images
        yield from images[-2:0:-1]


class Rack:
    """The cameras of this machine, in a process of their own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", __spec__.name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def switch_on(self, way: Way, film: Path, zero: float = 0.0, port: int = 0) -> str:
        """Starts a camera and returns its address.

        Args:
            way: how it is served.
            film: see :meth:`Film.write`.
            zero: a moment of ``time.monotonic`` at which the film's first picture is due, now or in the past.
            port: where it was before; 0: any free one.
        """
        port = port or free_port()
        self._ask(do="on", way=way, film=str(film), zero=zero, port=port)
        return f"{way}://127.0.0.1:{port}/camera"

    def switch_off(self, address: str) -> int:
        """Pulls a camera's plug; returns its port, to switch another one on in its place."""
        port = int(address.rpartition(":")[2].partition("/")[0])
        self._ask(do="off", port=port)
        return port

    @property
    def processor_seconds(self) -> float:
        """Processor time that the cameras took so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Switches all of them off."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Rack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, **order: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError("the cameras' process has ended")


# Below: the process of the cameras.


class _Reel:
    """An encoded film in memory that never ends."""

    def __init__(self, path: str) -> None:
        self._file = av.open(path)
        self.stream = self._file.streams.video[0]
        packets = [packet for packet in self._file.demux(self.stream) if packet.size]
        self._packets = [(bytes(packet), packet.is_keyframe) for packet in packets]
        base = Fraction(1, FPS) / Fraction(self.stream.time_base or 1)
        first = min(packet.pts or 0 for packet in packets)
        self._shown = [round(((packet.pts or 0) - first) / base) for packet in packets]
        # A picture leaves the encoder as soon as none ahead of it is missing.
        self._late = max(number - shown for number, shown in enumerate(self._shown))
        self._base = int(base)

    @property
    def codec(self) -> str:
        return self.stream.codec_context.name

    def packets(self, zero: float) -> Iterator[av.Packet[Any]]:
        """From the last key frame on, each when it is due; times go on when the film begins again."""
        count = len(self._packets)
        number = max(int((time.monotonic() - zero) * FPS) - self._late, 0)
        while not self._packets[number % count][1]:
            number -= 1
        begun = number // count * count
        while True:
            data, key = self._packets[number % count]
            time.sleep(max(zero + (number + self._late) / FPS - time.monotonic(), 0.0))
            packet: Any = av.Packet(data)
            packet.time_base = self.stream.time_base
            packet.stream = self.stream
            turns = number // count * count - begun
            packet.pts = (turns + self._shown[number % count] + self._late) * self._base
            packet.dts = (number - begun) * self._base
            packet.is_keyframe = key
            yield packet
            number += 1

    def send(self, target: Any, zero: float, form: str, **options: str) -> None:
        """All of it, muxed."""
        with av.open(target, "w", format=form, options={"flush_packets": "1", **options}) as output:
            stream = output.add_stream_from_template(self.stream)
            for packet in self.packets(zero):
                packet.stream = stream
                output.mux(packet)


class _Camera:
    """Listens at a port, and sends its film to whoever comes."""

    def __init__(self, way: Way, reel: _Reel, zero: float, port: int) -> None:
        self._way, self._reel, self._zero = way, reel, zero
        self._server = socket.create_server(("127.0.0.1", port))
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self._connections.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            rtsp.until_left(self._rtsp if self._way == "rtsp" else self._http, connection)

    def _rtsp(self, connection: socket.socket) -> None:
        play = partial(self._reel.send, zero=self._zero, form="rtp", **rtsp.RTP)
        rtsp.converse(connection, CODECS[self._reel.codec], play)

    def _http(self, connection: socket.socket) -> None:
        connection.recv(1 << 16)
        jpegs = self._reel.codec == "mjpeg"
        kind = "multipart/x-mixed-replace;boundary=picture" if jpegs else "video/mp2t"
        connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        if not jpegs:
            with connection.makefile("wb", buffering=0) as target:
                return self._reel.send(target, self._zero, "mpegts", max_delay="0")
        for packet in self._reel.packets(self._zero):
            head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {packet.size}\r\n\r\n"
            connection.sendall(head.encode() + bytes(packet) + b"\r\n")
        return None

    def close(self) -> None:
        for one in (self._server, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def main(orders: IO[str]) -> None:
    """Does what is asked, line after line."""
    reels: dict[str, _Reel] = {}
    cameras: dict[int, _Camera] = {}
    for line in orders:
        order = json.loads(line)
        port, film = order["port"], order.get("film", "")
        if order["do"] == "on":
            reels[film] = reels.get(film) or _Reel(film)
            cameras[port] = _Camera(order["way"], reels[film], order["zero"], port)
        else:
            cameras.pop(port).close()
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.stdin)
