"""Videos and pictures in a bucket give what they give from the disk, also over a line that breaks."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sipvideo.errors import SourceError
from sipvideo.remote import Patience, RemoteFile, patient
from sipvideo.remote.blocks import KEPT
from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import Excerpt, Source, open_source
from sipvideo.structures import Detections, FrameResult
from tests.media import Tone, number_in, picture, write_video
from tests.remote.store import BUCKET, SECRET, Store, forget
from tests.sinks.runs import plain


def film(path: Path, count: int = 30, tone: bool = True) -> Path:
    return write_video(
        path, [picture(k) for k in range(count)], tone=Tone(seconds=count / 25) if tone else None
    )


def put(store: Store, path: Path, key: str = "") -> str:
    key = key or path.name
    store.fs.put_file(str(path), f"{BUCKET}/{key}")
    return f"s3://{BUCKET}/{key}"


def told(source: Source) -> list[tuple[int, float, int]]:
    with source:
        return [(f.index, f.timestamp, hash(f.image.tobytes())) for f in source]


def annotate(source: Source, path: Path) -> None:
    with AnnotatedVideo(path, plain, source) as sink:
        for frame in source:
            nothing = Detections.empty(frame.size)
            sink.write(FrameResult(frame, nothing, np.zeros(0, np.int64), 1.0))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Small films have many blocks then."""
    monkeypatch.setattr("sipvideo.remote.blocks.SIZE", 150_000)
    return 150_000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.webm", "a.mov"])
def test_every_container_gives_the_frames_and_times_of_the_local_file(
    store: Store, tmp_path: Path, name: str
) -> None:
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
    pictures = [picture(k) for k in range(30)]
    path = write_video(tmp_path / name, pictures, codec)
    here, there = open_source(str(path)), open_source(put(store, path))
    for what in ("frame_size", "frame_count", "fps", "duration", "time_base", "clock_start"):
        assert getattr(here, what) == getattr(there, what), what
    assert told(there) == told(here)
    assert there.notes == here.notes


COUNT = 200


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films with sound, of many bytes, by suffix; the index of the mp4 is at its end."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(COUNT)]
    folder = tmp_path_factory.mktemp("noise")
    fast = {"preset": "ultrafast", "crf": "20"}
    return {
        name: write_video(
            folder / f"a.{name}", pictures, tone=Tone(seconds=COUNT / 25), encoder=fast
        )
        for name in ("mp4", "mkv")
    }


def test_an_index_at_the_end_costs_no_second_download(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    path = noise["mp4"]
    size = path.stat().st_size
    assert size > KEPT * small_blocks, "more than the blocks that are kept"
    address = put(store, path)
    store.line.received = 0
    assert told(open_source(address)) == told(open_source(str(path)))
    # Answers have headers.
    assert store.line.received < size + 4 * small_blocks + 1000 * len(store.line.requests)


def test_sound_and_pictures_read_side_by_side_are_fetched_once(
    store: Store, tmp_path: Path, noise: dict[str, Path], small_blocks: int
) -> None:
    path = noise["mkv"]
    address = put(store, path)
    annotate(open_source(str(path)), tmp_path / "here.mp4")
    store.line.received = 0
    annotate(open_source(address), tmp_path / "there.mp4")
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    size = path.stat().st_size
    assert store.line.received < size + 4 * small_blocks + 1000 * len(store.line.requests)


def test_a_part_of_a_film_fetches_no_more_than_up_to_its_end(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    path = noise["mkv"]
    address = put(store, path)
    store.line.received = 0
    assert told(Excerpt(open_source(address), 0.2, 0.6)) == told(
        Excerpt(open_source(str(path)), 0.2, 0.6)
    )
    assert store.line.received < 0.6 * path.stat().st_size


def test_memory_holds_a_bounded_part_of_a_film(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    file = RemoteFile(put(store, noise["mkv"]))
    with file.open() as reader:
        while reader.read(5000):
            pass
    assert file._blocks is not None
    assert len(file._blocks._blocks) <= KEPT


def test_pictures_folders_and_patterns_in_a_bucket_are_sequences(
    store: Store, tmp_path: Path
) -> None:
    for k in (1, 2, 7, 10):
        Image.fromarray(picture(k)).save(tmp_path / f"{k}.png")
        put(store, tmp_path / f"{k}.png", "one.png" if k == 7 else f"seq/{k}.png")
    put(store, tmp_path / "7.png", "seq/.hidden.png")
    for where in ("seq/", "seq", "seq/*.png", "**/*0.png", "seq/10.png", "one.png"):
        wanted = {"seq/": [1, 2, 10], "seq": [1, 2, 10], "seq/*.png": [1, 2, 10], "one.png": [7]}
        with open_source(f"s3://{BUCKET}/{where}") as source:
            assert [number_in(f.image) for f in source] == wanted.get(where, [10]), where


def test_the_line_may_break_in_the_middle(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    path = noise["mkv"]
    address = put(store, path)
    store.line.received, store.line.lose = 0, path.stat().st_size // 2
    with patient(Patience(300)):
        source = open_source(address)
    assert told(source) == told(open_source(str(path)))
    assert store.has_broken
    assert not source.notes, "the results are the same"


def test_a_store_that_is_gone_for_a_while_is_waited_for_and_told(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    path = noise["mkv"]
    address = put(store, path)
    lines: list[str] = []
    with patient(Patience(300, lines.append)):
        source = open_source(address)
    found = []
    for frame in source:
        found.append(frame.index)
        if frame.index == 5:
            store.stop()
            store.line.break_off()
            threading.Timer(1.5, come_back, [store]).start()
    assert found == list(range(COUNT))
    assert "tried again for up to 300 s" in lines[0]
    assert "is back after" in lines[-1]


def come_back(store: Store) -> None:
    store.start()
    store.line.broken = False


def test_a_store_that_stays_away_ends_the_film_with_its_frames_so_far(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    address = put(store, noise["mkv"])
    with patient(Patience(0.5)):
        source = open_source(address)
    found = []

    def read() -> None:
        for frame in source:
            found.append(frame.index)
            store.line.break_off()

    with pytest.raises(SourceError, match=r"a.mkv: reading stopped after \d+ frames .* no conn"):
        read()
    assert found == list(range(len(found)))
    assert found


def test_whoever_wants_to_stop_waits_for_no_store(store: Store, noise: dict[str, Path]) -> None:
    address = put(store, noise["mkv"])
    store.line.break_off()
    with patient(Patience(3600, stopped=lambda: True)), pytest.raises(SourceError, match="no conn"):
        open_source(address)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_replaced_while_it_is_read_is_an_error(
    store: Store, noise: dict[str, Path], small_blocks: int
) -> None:
    address = put(store, noise["mkv"])
    source = open_source(address)

    def read() -> None:
        for frame in source:
            if frame.index == 3:
                put(store, noise["mp4"], "a.mkv")

    with pytest.raises(SourceError, match="replaced while it was read"):
        read()
    gc.collect()  # s3fs leaves the connection of an answer that it does not want to Python


@pytest.mark.parametrize(
    ("where", "environment", "line"),
    [
        ("films/none.mp4", {}, "s3://films/none.mp4: no such file"),
        ("nowhere/a.mp4", {}, "s3://nowhere/a.mp4: no such bucket"),
        ("films/", {}, r"s3://films/: no pictures \(.jpg"),
        ("films/text.mp4", {}, "s3://films/text.mp4: not a video"),
        ("films/list.m3u8", {}, "s3://films/list.m3u8: a play list"),
        ("films/cut.mp4", {}, "cut.mp4: damaged or cut off: the index"),
        ("films/text.mp4", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "access denied: credentials are"),
        ("films/text.mp4", {"AWS_ACCESS_KEY_ID": "wrong"}, "access denied: credentials are wrong"),
        ("key:word@films/text.mp4", {}, "s3://films/text.mp4: credentials do not belong"),
        ("FILMS$/a.mp4", {}, "not an address of a bucket"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    environment: dict[str, str],
    line: str,
) -> None:
    store.fs.pipe_file(f"{BUCKET}/text.mp4", b"words, not pictures" * 99)
    store.fs.pipe_file(f"{BUCKET}/list.m3u8", b"#EXTM3U\nfile:///etc/passwd\n")
    store.fs.pipe_file(f"{BUCKET}/cut.mp4", film(tmp_path / "a.mp4").read_bytes()[:2000])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget()
    with pytest.raises(SourceError, match=line) as caught:
        list(open_source(f"s3://{where}"))
    assert SECRET not in str(caught.value)
    assert "word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_credentials_the_line_says_where_they_belong(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    forget()
    with pytest.raises(SourceError, match=r"no credentials found .AWS_ACCESS_KEY_ID and"):
        open_source(f"s3://{BUCKET}/a.mp4")


def test_without_the_extra_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("fsspec", "fsspec.config"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SourceError, match=r"s3://b/a.mp4: s3:// needs .*'sipvideo\[remote\]'"):
        open_source("s3://b/a.mp4")
