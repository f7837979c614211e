"""A store on loopback for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.remote.store import BUCKET, Line, Store, forget


@pytest.fixture(scope="session")
def running_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all tests of a process."""
    pytest.importorskip("nanio", reason="the S3 server nanio needs Python 3.11")
    store = Store(tmp_path_factory.mktemp("store"))
    try:
        yield store
    finally:
        store.stop()


@pytest.fixture
def store(running_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty bucket, a whole line, and the environment that leads there."""
    for bucket in running_store.folder.iterdir():
        shutil.rmtree(bucket)
    running_store.fs.mkdir(BUCKET)
    running_store.line = Line(running_store.port)
    for name, value in running_store.environment(SIPVIDEO_PATIENCE="300").items():
        monkeypatch.setenv(name, value)
    forget()
    yield running_store
    running_store.line.close()
    forget()
