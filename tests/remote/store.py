"""A store that speaks the protocol of S3, run on loopback, and the line to it, which may break."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import until

KEY, SECRET = "sipvideo-tests", "a-secret-that-nobody-may-see"
BUCKET = "films"


class Line:
    """A port that leads to another one: counts what passes, and breaks when it is told to.

    Attributes:
        requests: methods of the requests that passed.
        paths: the same with what they are about.
        on_request: told of each, before it passes.
        received: bytes that came back.
        broken: no connection is taken.
        lose: after how many bytes that come back connections are cut, once; None: never.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self.paths: list[str] = []
        self.on_request: Callable[[str], object] | None = None
        self.received = 0
        self.broken = False
        self.lose: int | None = None
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_off(self) -> None:
        """Cuts all connections and takes no more."""
        self.broken = True
        self._cut()

    def close(self) -> None:
        """For good."""
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = None
            with contextlib.suppress(OSError):
                if not self.broken:
                    server = socket.create_connection(("127.0.0.1", self._target))
            if server is None:
                client.close()
                continue
            self._open |= {client, server}
            for pair in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if back:
                    self.received += len(data)
                    if self.lose is not None and self.received >= self.lose:
                        self.lose = None
                        break
                elif found := re.match(rb"(GET|PUT|POST|HEAD|DELETE) /(\S*) ", data):
                    self.requests.append(found[1].decode())
                    self.paths.append(f"{found[1].decode()} {found[2].decode()}")
                    if self.on_request is not None:
                        self.on_request(self.paths[-1])
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


class Store:
    """The server, with its files in a folder that outlives it.

    Attributes:
        folder: buckets are folders there.
        line: the way to it that tests take.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.line = Line(self.port)

    def start(self) -> None:
        """Begins to answer."""
        secrets = {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}
        where = ["--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        command = [sys.executable, "-m", "nanio", "serve", *where, "--log-level", "error"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=os.environ | secrets, **quiet)  # type: ignore[call-overload]
        until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False

    def stop(self) -> None:
        """Ends; its files stay."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def environment(self, **other: str) -> dict[str, str]:
        """What users of the store have in their environment."""
        given = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        given |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.line.port}"}
        return given | {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"} | other

    @property
    def has_broken(self) -> bool:
        """Whether the line was cut where it was to be."""
        return self.line.lose is None

    @property
    def fs(self) -> Any:
        """The same store seen by another way, for tests to put and look."""
        import s3fs

        address = f"http://127.0.0.1:{self.port}"
        return s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=address,
            use_listings_cache=False,
            config_kwargs={"signature_version": "s3v4"},
        )


def forget() -> None:
    """The connections of this process, which know addresses and credentials of other tests."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
