"""The camera's end of an RTSP connection, for cameras on this machine: RTP between the answers, nothing over UDP."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import av

RTP = {"packetsize": "1400", "payload_type": "96"}
"""FFmpeg's options for packets as :func:`converse` announces them."""


class Interleaved:
    """RTP and RTCP packets between the answers of an RTSP connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def write(self, data: bytes) -> None:
        """Sends one packet; RTCP is known by its type."""
        packet = bytes(data)
        channel = 192 <= packet[1] <= 223
        self.send(struct.pack(">cBH", b"$", channel, len(packet)) + packet)

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        with self._turn:
            self._connection.sendall(data)


def description(codec: str) -> str:
    """What a camera tells of itself (SDP); the decoder's parameters come in the stream.

    Args:
        codec: H264 or H265.
    """
    mode = "a=fmtp:96 packetization-mode=1\r\n" if codec == "H264" else ""
    return (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        f"a=rtpmap:96 {codec}/90000\r\n{mode}a=control:video\r\n"
    )


def converse(connection: socket.socket, codec: str, play: Callable[[Interleaved], object]) -> None:
    """Answers a viewer until it leaves.

    Args:
        connection: to the viewer.
        codec: see :func:`description`.
        play: sends RTP packets until the connection ends; called in a thread of its own.
    """
    session = description(codec)
    way = Interleaved(connection)
    asked = connection.makefile("rb")
    while (line := asked.readline()).strip():
        if line[:1] == b"$":  # the viewer's RTCP, whose first four bytes tell its length
            line += asked.read(max(4 - len(line), 0))
            asked.read(max(int.from_bytes(line[2:4], "big") + 4 - len(line), 0))
            continue
        method = line.split()[0].decode()
        headers = dict(iter(lambda: _header(asked), None))
        answer = [f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n"]
        if method == "OPTIONS":
            answer += "Public: DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
        elif method == "SETUP":
            answer += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "DESCRIBE":
            answer += f"Content-Type: application/sdp\r\nContent-Length: {len(session)}\r\n"
        way.send("".join([*answer, "\r\n", session * (method == "DESCRIBE")]).encode())
        if method == "PLAY":
            threading.Thread(target=until_left, args=(play, way), daemon=True).start()
        elif method == "TEARDOWN":
            break


def _header(file: Any) -> tuple[str, str] | None:
    name, found, value = file.readline().decode().partition(":")
    return (name.strip().lower(), value.strip()) if found else None


def until_left(work: Callable[..., object], *arguments: Any, **options: Any) -> None:
    """Whoever looks may leave at any moment."""
    with contextlib.suppress(OSError, av.FFmpegError):
        work(*arguments, **options)
