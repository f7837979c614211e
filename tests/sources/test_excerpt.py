"""Parts of sources."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from sipvideo.errors import SourceError
from sipvideo.sources.excerpt import Excerpt, seconds
from sipvideo.sources.source import Source
from sipvideo.structures import Frame


class Counting(Source):
    """Frames at 10 per second, from a clock that begins somewhere."""

    def __init__(self, count: int, start: float = 5.0) -> None:
        super().__init__("counting")
        self.fps, self.frame_count, self.duration, self.start = 10.0, count, count / 10, start
        self.converted: list[int] = []

    def _frames(self) -> Generator[Frame, None, None]:
        assert self.start is not None
        for index in range(self.frame_count or 0):
            yield Frame(np.zeros((4, 6, 3), np.uint8), index, self.start + index / 10)


def indices(*args: float | None, count: int = 50, **options: int | None) -> list[int]:
    with Excerpt(Counting(count), *args, **options) as excerpt:  # type: ignore[arg-type]
        found = [frame.index for frame in excerpt]
        assert excerpt.expected_frames == len(found)
        return found


def test_from_and_to_are_seconds_of_playing() -> None:
    assert indices(1.0, 2.0) == list(range(10, 20))
    assert indices(4.5) == list(range(45, 50))
    assert indices(0.0, 0.3) == [0, 1, 2]


def test_every_and_most() -> None:
    assert indices(0.2, None, every=20) == [2, 22, 42]
    assert indices(0.2, None, every=3, most=2) == [2, 5]
    assert indices(most=4) == [0, 1, 2, 3]


def test_frames_keep_their_times_and_the_excerpt_knows_its_own() -> None:
    with Excerpt(Counting(50), 1.0, every=2) as excerpt:
        first = next(iter(excerpt))
        assert (first.index, first.timestamp) == (10, 6.0)
        assert (excerpt.start, excerpt.fps, excerpt.duration) == (6.0, 5.0, 4.0)


def test_a_range_past_the_end_is_one_line() -> None:
    with (
        Excerpt(Counting(50), 9.0, 10.0) as excerpt,
        pytest.raises(SourceError, match=r"no frame from 9 s on, the last one is at 4\.9 s"),
    ):
        list(excerpt)


def test_notes_of_the_source_are_those_of_the_excerpt() -> None:
    source = Counting(5)
    excerpt = Excerpt(source, most=1)
    source.note("something was chosen")
    assert excerpt.notes == ["something was chosen"]
    excerpt.close()
    with pytest.raises(SourceError, match="closed"):
        list(source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("1:30", 90),
        ("1:02:03.5", 3723.5),
        ("250ms", 0.25),
        ("2min", 120),
        ("1.5h", 5400),
    ],
)
def test_times_are_written_in_many_ways(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "-1", "1:75", "1:2:3:4", "abc", "nan", "inf", "1e3", ":5"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        seconds(text)
