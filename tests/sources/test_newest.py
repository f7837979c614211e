"""Network streams of which only the pictures that are wanted are decoded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.apps.reports.cameras import painted_time
from sipvideo.apps.reports.replayed import FPS, Film, Rack, Way
from sipvideo.sources import Capture, LatestFrame, NetworkStream, VideoFile, newest
from sipvideo.sources.decoder import Decoder
from sipvideo.sources.source import Passed
from sipvideo.sources.times import PictureTimes
from tests.media import film as small_film
from tests.sources.test_latest import assert_adds_up
from tests.waiting import PATIENCE, until

SMALL = (96, 128)
FILMS: dict[str, tuple[Way, Film]] = {
    "H.264, B frames, GOP 50": ("rtsp", Film(gop=50, size=SMALL, seconds=2)),
    "H.264, B frames, GOP 10": ("http", Film(gop=10, size=SMALL, seconds=2)),
    "H.264, GOP 10": ("rtsp", Film(gop=10, b_frames=0, size=SMALL, seconds=2)),
    "H.264, open GOP 10": ("rtsp", Film(gop=10, size=SMALL, seconds=2, open_gop=True)),
    "HEVC": ("rtsp", Film("libx265", gop=25, size=SMALL, seconds=2)),
    "HEVC over HTTP": ("http", Film("libx265", gop=10, size=SMALL, seconds=2)),
    "Motion JPEG": ("http", Film("mjpeg", size=SMALL, seconds=2)),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    clip = small_film(folder / "clip.mp4", 24)
    paths = {}
    for number, (name, (_, film)) in enumerate(FILMS.items()):
        paths[name] = folder / f"{number}.{'mkv' if film.codec == 'mjpeg' else 'ts'}"
        film.write(clip, paths[name])
    return paths


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    with Rack() as rack:
        yield rack


def number_of(image: NDArray[np.uint8]) -> int:
    """Of a picture in its film."""
    return round(painted_time(image) * FPS)


def watching(address: str) -> LatestFrame:
    return LatestFrame(lambda: NetworkStream(address))


def unwanted(source: LatestFrame) -> int:
    return source.status().dropped.get("unwanted", 0)


def wait_for_unwanted(source: LatestFrame, count: int) -> None:
    """Until so many more pictures have come that nobody wants."""
    before = unwanted(source)
    until(lambda: unwanted(source) >= before + count)


def test_pictures_that_are_wanted_now_and_then_are_those_that_decoding_all_of_them_gives(
    films: dict[str, Path], rack: Rack
) -> None:
    whole = {name: [frame.image for frame in VideoFile(path)] for name, path in films.items()}
    with contextlib.ExitStack() as stack:
        sources = {
            name: stack.enter_context(watching(rack.switch_on(way, films[name], time.monotonic())))
            for name, (way, _) in FILMS.items()
        }
        for source in sources.values():
            source.wait_open()
        for pause in (3, 6, 14, 5):  # pictures; some groups of pictures go by, and some do not
            for source in sources.values():
                source.want(0.0)
            for source in sources.values():
                wait_for_unwanted(source, pause)
                source.take()  # what was there before
                source.want(float("inf"))
            for name, source in sources.items():
                taken = source.take(PATIENCE)
                assert taken is not None
                expected = whole[name][number_of(taken.frame.image)]
                assert np.array_equal(taken.frame.image, expected), name
        for source in sources.values():
            status = source.status()
            assert_adds_up(status)
            assert status.dropped.keys() <= {"unwanted", "replaced", "skipped"}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every packet that is decoded."""
    original, calls = Decoder.decoded, []

    def counting(self: Decoder, packet: Any, times: PictureTimes) -> Any:
        calls.append(1)
        return original(self, packet, times)

    monkeypatch.setattr(Decoder, "decoded", counting)
    return calls


@pytest.mark.parametrize("name", ["H.264, B frames, GOP 50", "Motion JPEG"])
def test_what_nobody_wants_is_counted_and_not_decoded(
    films: dict[str, Path], rack: Rack, decoded: list[int], name: str
) -> None:
    with watching(rack.switch_on(FILMS[name][0], films[name], time.monotonic())) as source:
        source.wait_open()
        source.want(0.0)
        wait_for_unwanted(source, 1)
        done = len(decoded)
        wait_for_unwanted(source, 8)
        assert len(decoded) == done
        status = source.status()
        assert status.text == "live"
        assert status.source_fps > 0
        assert_adds_up(status)


def test_of_pictures_without_predecessors_only_the_newest_is_decoded(
    films: dict[str, Path], rack: Rack, decoded: list[int]
) -> None:
    way, _ = FILMS["Motion JPEG"]
    with watching(rack.switch_on(way, films["Motion JPEG"], time.monotonic())) as source:
        source.wait_open()
        source.want(0.0)
        wait_for_unwanted(source, 8)
        source.take()
        source.want(float("inf"))
        done, came = len(decoded), source.status().captured
        assert source.take(PATIENCE) is not None
        assert len(decoded) - done <= source.status().captured - came + 1


class Scripted:
    """In place of a decoder: a stream of one key frame and others, each of which takes 10 ms to decode."""

    step = 1 / FPS

    def __init__(self, packets: int) -> None:
        context = SimpleNamespace(reorder_depth=0, skip_frame="", flush_buffers=lambda: None)
        self.stream = SimpleNamespace(codec_context=context)
        self.decodings = 0
        self._packets = packets

    def packets(self, watch: object) -> Iterator[Any]:
        for pts in range(self._packets):
            yield SimpleNamespace(size=1, is_keyframe=pts == 0, pts=pts)

    def decoded(self, packet: Any, times: object) -> list[Any]:
        self.decodings += 1
        return [] if packet is None else [SimpleNamespace(pts=packet.pts, is_corrupt=False)]

    def picture_times(self) -> Any:
        return SimpleNamespace(of=lambda picture, since: picture.pts / FPS, end=0.0)

    def rgb(self, picture: Any) -> Any:
        return None

    def check_end(self, shown: int, end: float) -> None:
        pass


@pytest.mark.parametrize(
    ("pause", "first"), [(10, 10), (24, 24), (30, 31)], ids=["short", "bearable", "long"]
)
def test_a_picture_that_took_long_to_decode_makes_way_for_one_that_came_meanwhile(
    monkeypatch: pytest.MonkeyPatch, pause: int, first: int
) -> None:
    stream: Any = Scripted(40)
    clock = SimpleNamespace(monotonic=lambda: stream.decodings / 100)
    monkeypatch.setattr(newest, "time", clock)
    asked = iter(range(1000))
    items = [*newest.NewestPictures(stream, lambda: next(asked) >= pause).captures()]
    kinds = [type(item) for item in items]
    assert kinds == [Passed] * first + [Capture] * (40 - first)
    index = 0
    for item in items:
        assert item.index - index == sum(item.missing.values())
        index = item.index + isinstance(item, Capture)
    assert index == 40


def test_packets_beyond_the_bound_are_decoded_instead_of_kept(
    films: dict[str, Path], rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "MOST_PACKETS", 4)
    name = "H.264, B frames, GOP 50"
    expected = [frame.image for frame in VideoFile(films[name])]
    with watching(rack.switch_on("rtsp", films[name], time.monotonic())) as source:
        source.wait_open()
        source.want(0.0)
        source.take()
        taken = source.take(PATIENCE)
        assert taken is not None
        assert np.array_equal(taken.frame.image, expected[number_of(taken.frame.image)])


def test_a_damaged_stream_goes_on_after_its_damage(
    films: dict[str, Path], rack: Rack, tmp_path: Path
) -> None:
    data = bytearray(films["H.264, B frames, GOP 10"].read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 700):
        data[place : place + 40] = bytes(40)
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    whole = [frame.image for frame in VideoFile(films["H.264, B frames, GOP 10"])]
    with watching(rack.switch_on("http", damaged, time.monotonic())) as source:
        right = 0
        for turn in range(40):
            source.want(0.0 if turn % 3 else float("inf"))
            taken = source.take(0.05)
            if taken is not None:
                right += any(np.array_equal(taken.frame.image, image) for image in whole)
        source.want(float("inf"))
        until(lambda: source.take(0.1) is not None)
        assert source.status().state == "live"
        assert right > 0
        assert_adds_up(source.status())


def clock(base: int = 90_000) -> Callable[..., float]:
    """When pictures of a transport stream are shown."""
    times = PictureTimes(Fraction(0), Fraction(1, base), 0.04, restarts=True, trusted=True)

    def at(seconds: float, since: float | None = None) -> float:
        picture: Any = SimpleNamespace(pts=round(seconds * base), duration=None)
        return times.of(picture, since)

    return at


def test_a_stream_of_which_nothing_was_wanted_for_a_minute_keeps_its_clock() -> None:
    at = clock()
    assert at(1.0) == 1.0
    assert at(61.0, since=60.02) == 61.0
    assert at(61.04) == pytest.approx(61.04)
    assert at(200.0) == pytest.approx(61.08), "without a pause it is a clock that starts anew"
