"""Servers that tell no length, close early, or cannot seek."""

from __future__ import annotations

import contextlib
import gc
import http.server
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sipvideo.errors import SourceError
from sipvideo.sources import NetworkStream
from tests.media import Tone, number_in, picture, write_video
from tests.sources.frames import read_until_error

NO_LENGTH = "no length was told: the end of the connection is taken for that of the video"
FETCHED = "its index lies at its end and the server cannot seek: it was fetched first"


@contextlib.contextmanager
def served(data: bytes, way: str) -> Iterator[str]:
    """An address where the bytes are: with their ``length``, ``cut`` in spite of it, ``chunked``, or ``bare``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0" if way == "bare" else "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            if way in ("length", "cut"):
                self.send_header("Content-Length", str(len(data)))
            if way == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            sent = data[: len(data) * 6 // 10] if way == "cut" else data
            with contextlib.suppress(OSError):  # the reader may go away
                if way == "chunked":
                    for start in range(0, len(sent), 5000):
                        part = sent[start : start + 5000]
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.wfile.write(sent)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/film"
        finally:
            server.shutdown()


def clip(path: Path) -> bytes:
    images = [picture(k) for k in range(20)]
    tone = Tone(seconds=0.8)
    return write_video(path, images, tone=tone, encoder={"bf": "3"}).read_bytes()


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.flv"])
@pytest.mark.parametrize("way", ["bare", "chunked", "length"])
def test_every_frame_comes_however_the_server_ends(tmp_path: Path, name: str, way: str) -> None:
    with served(clip(tmp_path / name), way) as address, NetworkStream(address, 5) as source:
        frames = list(source)
    assert [number_in(frame.image) for frame in frames] == list(range(20))
    assert set(source.notes) <= {NO_LENGTH}


@pytest.mark.parametrize("way", ["bare", "chunked", "length"])
def test_an_index_behind_the_frames_needs_no_seeking(tmp_path: Path, way: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(20)]
    data = write_video(tmp_path / "a.mp4", images, tone=Tone(seconds=0.8)).read_bytes()
    assert len(data) > 200_000  # more than the reader keeps
    with served(data, way) as address, NetworkStream(address, 5) as source:
        frames = list(source)
    assert [frame.timestamp for frame in frames] == pytest.approx([k / 25 for k in range(20)])
    assert FETCHED in source.notes


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_connection_that_ends_too_early_gives_its_frames_first(tmp_path: Path, name: str) -> None:
    with served(clip(tmp_path / name), "cut") as address, NetworkStream(address, 5) as source:
        frames, message = read_until_error(source)
    assert 5 <= len(frames) < 20
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert f"reading stopped after {len(frames)} frames" in message


def test_an_mp4_that_cannot_be_fetched_either_is_told_in_one_line(tmp_path: Path) -> None:
    data = clip(tmp_path / "a.mp4")
    with (
        served(data, "cut") as address,
        pytest.raises(SourceError, match=r"^http://[^ ]+: [^\n]+$"),
        NetworkStream(address, 5) as source,
    ):
        list(source)


@pytest.mark.parametrize("way", ["length", "cut"])
def test_a_stream_that_is_closed_and_dropped_is_freed_at_once(tmp_path: Path, way: str) -> None:
    """Not by the garbage collector some day: until then its decoder's threads would live."""
    film = write_video(tmp_path / "film.ts", [picture(k) for k in range(60)])
    gc.collect()
    gc.disable()
    try:
        with served(film.read_bytes(), way) as address:
            stream = NetworkStream(address)
            with contextlib.suppress(SourceError):
                assert len(list(stream)) == 60
            stream.close()
            known = weakref.ref(stream), weakref.ref(stream._decoder)
            del stream
            assert [one() for one in known] == [None, None]
    finally:
        gc.enable()
