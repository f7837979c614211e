"""A function as a sink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sipvideo.errors import SinkError
from sipvideo.sinks import Callback, CocoRleLines
from sipvideo.structures import Detections, Frame, FrameResult


def result(index: int) -> FrameResult:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), index, index / 25)
    return FrameResult(frame, Detections.empty(frame.size), np.zeros(0, np.int64), 1.0)


def test_a_function_gets_every_result_in_order() -> None:
    seen: list[FrameResult] = []
    results = [result(k) for k in range(3)]
    with Callback(seen.append) as sink:
        for one in results:
            sink.write(one)
    assert seen == results
    assert sink.frames_written == 3


def test_an_error_of_the_function_names_it_and_ends_the_sink(tmp_path: Path) -> None:
    def doubtful(one: FrameResult) -> None:
        if one.frame.index == 2:
            raise KeyError("lost")

    line = r"callback .*doubtful: frame 2: KeyError: 'lost'"
    path = tmp_path / "a.jsonl"
    with CocoRleLines(path) as lines, Callback(doubtful) as sink:
        for k in range(2):
            lines.write(result(k))
            sink.write(result(k))
        with pytest.raises(SinkError, match=line) as caught:
            sink.write(result(2))
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(path.read_text().splitlines()) == 2, "what others had written is kept"
    with pytest.raises(ValueError, match="the sink is closed"):
        sink.write(result(9))


def test_ctrl_c_inside_the_function_is_no_error_of_the_sink() -> None:
    def interrupted(one: FrameResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Callback(interrupted) as sink:
        sink.write(result(0))


def test_the_name_for_people_can_be_given() -> None:
    def fails(one: FrameResult) -> None:
        raise ValueError("no")

    with pytest.raises(SinkError, match=r"^callback alarm: frame 0: ValueError: no$"):
        Callback(fails, "alarm").write(result(0))
