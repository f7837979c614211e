"""Network streams and cameras."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import SourceError
from sipvideo.sources import (
    Camera,
    NetworkStream,
    open_source,
)
from tests.media import SIZE, film, number_in, picture, write_video
from tests.sources.frames import assert_alike, read_until_error

# Network streams


@contextlib.contextmanager
def tcp_server(data: bytes, then_silent: bool = False) -> Iterator[str]:
    """Sends the bytes to whoever connects, then hangs up, or keeps the line open without a word."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)
                    if then_silent:
                        done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join(10)


@pytest.fixture
def transport_stream(tmp_path: Path) -> bytes:
    return film(tmp_path / "a.ts", 30).read_bytes()


def test_a_network_stream_gives_every_frame_that_arrives(transport_stream: bytes) -> None:
    with tcp_server(transport_stream) as address, open_source(address) as source:
        assert isinstance(source, NetworkStream)
        assert source.is_live
        assert source.start is None
        assert source.frame_size == SIZE
        frames = list(source)
        assert [number_in(f.image) for f in frames] == [k % 24 for k in range(30)]
        assert np.allclose(np.diff([f.timestamp for f in frames]), 0.04)
        with pytest.raises(SourceError, match="can be read only once"):
            list(source)


def test_a_silent_stream_ends_with_an_error_after_the_timeout(transport_stream: bytes) -> None:
    with (
        tcp_server(transport_stream, then_silent=True) as address,
        NetworkStream(address, timeout=1) as source,
    ):
        frames, message = read_until_error(source)
    assert len(frames) > 10
    assert re.search(rf"reading stopped after {len(frames)} frames .*: no answer for 1 s", message)


def test_an_address_without_answer_is_refused_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, but never says a word
        port = server.getsockname()[1]
        with pytest.raises(SourceError, match=r"no answer for 0\.3 s") as caught:
            NetworkStream(f"rtsp://me:secret@127.0.0.1:{port}/door", timeout=0.3)
    assert f"rtsp://127.0.0.1:{port}/door" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(SourceError, match=r"tcp://127\.0\.0\.1:\d+: cannot be opened: .*refused"):
        NetworkStream(f"tcp://127.0.0.1:{port}", timeout=2)


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(
        SourceError, match="nonsense://host/x: cannot be opened: Protocol not found"
    ):
        open_source("nonsense://host/x")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def test_a_film_on_a_web_server_is_read_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [picture(k) for k in range(20)], options={"movflags": "faststart"})
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            with open_source(f"{address}/a.mp4") as source:
                assert not source.is_live
                assert source.duration == pytest.approx(0.8)
                assert [number_in(f.image) for f in source] == list(range(20))
            with pytest.raises(SourceError, match="404"):
                open_source(f"{address}/b.mp4")
        finally:
            server.shutdown()
            thread.join()


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    for text in ("rtsp://user:secret@[::1/door", "rtsp://user:secret@\u2100/door"):
        with pytest.raises(SourceError, match="rtsp: not an address") as caught:
            open_source(text)
        assert "secret" not in str(caught.value)


def test_a_file_address_and_a_name_with_a_colon_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "plain.mp4", 3).rename("take:2.mp4")
    assert len(list(open_source("take:2.mp4"))) == 3
    assert len(list(open_source(f"file://{tmp_path}/take:2.mp4"))) == 3


# Cameras


@pytest.mark.parametrize("text", ["97", "/dev/video97"])
def test_a_missing_camera_is_refused_without_noise(
    capfd: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SourceError, match=r"97: no such camera \(/dev/video97\)"):
        open_source(text)
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_is_busy_or_may_not_be_used_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "video0"
    device.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="another program is using it, or it is no camera"):
        Camera(str(device))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SourceError, match=f"no permission for {device}: .* group 'video'"):
        Camera(str(device))


def test_a_camera_gives_rgb_on_a_rising_clock_until_it_is_unplugged(tmp_path: Path) -> None:
    # OpenCV opens a file like a device; its end is what unplugging looks like.
    path = film(tmp_path / "device.avi", 6, "mjpeg")
    with Camera(str(path)) as source:
        assert source.is_live
        assert source.frame_size == SIZE
        frames, message = read_until_error(source)
    assert message == f"{path}: no more pictures after 6 frames"
    assert [f.index for f in frames] == list(range(6))
    assert (np.diff([f.timestamp for f in frames]) > 0).all()
    assert_alike(frames[2].image, picture(2), tolerance=12)
