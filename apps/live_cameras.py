"""Network cameras on this machine, for tests and measurements: what they film says when it was filmed.

FFmpeg serves MJPEG over HTTP and MPEG transport streams over UDP and TCP; GStreamer's server, where Debian's packages
for it are installed, serves RTSP. The pictures come from this process, at a steady rate, with the time painted into
them, so that their age can be read from what finally arrives, whatever buffers were on the way.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["http", "udp", "tcp", "rtsp"]
Film = Callable[[float], NDArray[np.uint8]]
"""``time.monotonic`` -> picture, uint8 [H, W, 3], RGB, of always one even size."""

BLOCK, COLUMNS, ROWS = 8, 8, 4
"""The painted time: bits of milliseconds as black or white blocks that survive any codec."""

SYSTEM_PYTHON = "/usr/bin/python3"

RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
if len(sys.argv) > 1:
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(sys.argv[2])
    factory.set_shared(True)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    GLib.MainLoop().run()
"""


def missing(kind: Kind) -> str:
    """Why a camera of that kind cannot run here; empty if it can."""
    if kind != "rtsp":
        return "" if shutil.which("ffmpeg") else "FFmpeg is not installed"
    try:
        subprocess.run(
            [SYSTEM_PYTHON, "-c", RTSP_SERVER], capture_output=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)"
    return ""


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
        film: what it sees.
        fps: pictures per second.
    """

    def __init__(self, kind: Kind, film: Film, fps: float = 30.0) -> None:
        self.kind = kind
        self._film = film
        self._fps = fps
        self._port = free_port()
        self._size = film(time.monotonic()).shape[:2]
        self._process: subprocess.Popen[bytes] | None = None
        self._feeder: threading.Thread | None = None

    @property
    def address(self) -> str:
        """What to open."""
        scheme = {"http": "http", "udp": "udp", "tcp": "tcp", "rtsp": "rtsp"}[self.kind]
        return f"{scheme}://127.0.0.1:{self._port}" + "/camera" * (self.kind in ("http", "rtsp"))

    def start(self) -> None:
        """Switches it on; returns when it can be connected to."""
        command = self._rtsp_command() if self.kind == "rtsp" else self._ffmpeg_command()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._feeder = threading.Thread(target=self._feed, args=(self._process,), daemon=True)
        self._feeder.start()
        while self.kind != "udp" and self._process.poll() is None and not self._listens():
            time.sleep(0.02)

    def kill(self) -> None:
        """As if its plug were pulled."""
        if self._process is None or self._feeder is None:
            return
        self._process.kill()
        self._process.wait()
        self._feeder.join()
        self._process = None

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
                pipe.write(image.tobytes())
                # While nobody looks the pipe is full: what was not filmed then is not made up for.
                due = max(due + 1 / self._fps, time.monotonic() - 1 / self._fps)
                time.sleep(max(due - time.monotonic(), 0.0))

    def _listens(self) -> bool:
        # Looked up and not tried: FFmpeg serves one connection only.
        listening = f":{self._port:04X} 00000000:0000 0A"
        with open("/proc/net/tcp", encoding="ascii") as table:
            return listening in table.read()

    def _ffmpeg_command(self) -> list[str]:
        height, width = self._size
        command = ["ffmpeg", "-loglevel", "error", "-fflags", "nobuffer", "-f", "rawvideo"]
        command += ["-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{self._fps:g}"]
        command += ["-i", "-", "-flush_packets", "1", "-pix_fmt"]
        if self.kind == "http":
            command += ["yuvj420p", "-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg", "-listen", "1"]
            return [*command, self.address]
        command += ["yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]
        command += ["-g", f"{self._fps / 2:.0f}", "-muxdelay", "0", "-f", "mpegts"]
        return [*command, self.address + ("?pkt_size=1316" if self.kind == "udp" else "?listen=1")]

    def _rtsp_command(self) -> list[str]:
        height, width = self._size
        pipeline = (
            f"( fdsrc fd=0 ! rawvideoparse format=rgb width={width} height={height}"
            f" framerate={self._fps:.0f}/1 ! videoconvert ! video/x-raw,format=I420 !"
            # Several slices per picture and parameter sets before each would tear pictures apart.
            " x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast bitrate=4000"
            f" key-int-max={self._fps / 2:.0f} ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        return [SYSTEM_PYTHON, "-c", RTSP_SERVER, str(self._port), pipeline]
