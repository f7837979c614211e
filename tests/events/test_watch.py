"""Events of scripted objects whose ways are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sipvideo.events import Event, EventWatch, Rules
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult

SIZE = (100, 200)
NAMES = ("person", "car")
LINE = {"lines": {"door": {"from": [0.5, 0], "to": [0.5, 1], "directions": ["west", "east"]}}}
"""From top to bottom in the middle: its left, as one looks down along it, is the picture's east."""
HALL = {"zones": {"hall": {"polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}}}

Path = Callable[[float], tuple[float, float] | None]
"""Second -> foot of an object 10 pixels wide and 20 high, in pixels; None: not seen."""


def result(
    index: int, second: float, places: dict[int, tuple[float, float]], labels: dict[int, int]
) -> FrameResult:
    ids = list(places)
    crops = [np.ones((20, 10), bool)] * len(ids)
    origins = [(round(x) - 5, round(y) - 20) for x, y in places.values()]
    masks = CompactMasks.from_crops(crops, origins, SIZE)
    detections = Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.full(len(ids), 0.9, np.float32),
        labels=np.array([labels.get(i, 0) for i in ids], np.int64),
        masks=masks,
        embeddings=np.zeros((len(ids), 0), np.float32),
    )
    frame = Frame(np.zeros((*SIZE, 3), np.uint8), index, second)
    return FrameResult(frame, detections, np.array(ids, np.int64), 0.0)


def events(
    rules: dict[str, object],
    paths: dict[int, Path],
    seconds: Sequence[float],
    labels: dict[int, int] | None = None,
) -> tuple[EventWatch, list[Event]]:
    """What the watch tells of objects that go along paths."""
    watch = EventWatch(Rules.model_validate(rules), NAMES)
    told = []
    for index, second in enumerate(seconds):
        seen = {i: path(second) for i, path in paths.items()}
        places = {i: place for i, place in seen.items() if place is not None}
        told += watch.update(result(index, second, places, labels or {}))
    return watch, told + watch.finish()


def clock(seconds: float, fps: float = 25) -> list[float]:
    return [k / fps for k in range(round(seconds * fps) + 1)]


def walk(x0: float, x1: float, seconds: float, y: float = 60) -> Path:
    """Straight from x0 to x1 in so many seconds, standing there afterwards."""
    return lambda t: (x0 + (x1 - x0) * min(t / seconds, 1), y)


def of(told: Sequence[Event], *kinds: str) -> list[Event]:
    return [event for event in told if event.kind in kinds]


def test_a_walker_crosses_once_in_the_line_s_direction_at_the_right_time() -> None:
    watch, told = events(LINE, {7: walk(20, 180, 4)}, clock(5))
    (crossing,) = of(told, "crossed")
    assert (crossing.track_id, crossing.place, crossing.direction) == (7, "door", "east")
    assert crossing.timestamp == pytest.approx(2.0, abs=0.05)
    assert watch.lines()["door"].crossed == {"west": {}, "east": {"person": 1}}


def test_the_way_back_is_the_other_direction() -> None:
    _, told = events(LINE, {0: lambda t: (100 + 80 * np.cos(np.pi * t / 4), 60)}, clock(8))
    assert [event.direction for event in of(told, "crossed")] == ["west", "east"]


def test_who_goes_around_the_end_of_a_line_does_not_cross_it() -> None:
    short = {"lines": {"door": {"from": [0.5, 0.7], "to": [0.5, 1]}}}
    _, told = events(short, {0: walk(20, 180, 4, y=60)}, clock(5))
    assert not of(told, "crossed")
    _, told = events(short, {0: walk(20, 180, 4, y=80)}, clock(5))
    assert len(of(told, "crossed")) == 1


@pytest.mark.parametrize("way", [(20, 180), (180, 20)])
def test_who_walks_along_the_picture_s_edge_crosses_a_line_that_ends_there(
    way: tuple[float, float],
) -> None:
    _, told = events(LINE, {0: walk(*way, 4, y=SIZE[0])}, clock(5))
    assert len(of(told, "crossed")) == 1


def test_who_sways_on_a_line_neither_crosses_nor_enters() -> None:
    sway = {0: lambda t: (100 + 4 * np.sin(2 * np.pi * t * 3), 60)}
    _, told = events(LINE | HALL, sway, clock(6))
    assert not of(told, "crossed", "left")
    assert len(of(told, "entered")) <= 1


def test_a_crossing_hidden_from_sight_counts() -> None:
    path = walk(20, 180, 4)
    _, told = events(LINE, {0: lambda t: None if 1.5 < t < 2.5 else path(t)}, clock(5))
    (crossing,) = of(told, "crossed")
    assert crossing.timestamp == pytest.approx(2.52, abs=0.05)  # when it was seen beyond


def test_entering_and_leaving_have_their_times_and_the_length_of_the_stay() -> None:
    there_and_back: Path = lambda t: (20 + 160 * (1 - abs(t - 4) / 4), 60)  # noqa: E731
    watch, told = events(HALL, {3: there_and_back}, clock(8))
    entered, left = of(told, "entered", "left")
    assert (entered.timestamp, left.timestamp) == pytest.approx((2.0, 6.0), abs=0.06)
    assert left.seconds == pytest.approx(4.0, abs=0.1)
    count = watch.zones()["hall"]
    assert (count.inside, count.visits) == ({}, {"person": 1})


def test_counts_of_now_are_of_those_inside() -> None:
    watch, _ = events(HALL, {0: walk(20, 150, 2), 1: walk(20, 60, 2, y=90)}, clock(4), {0: 1})
    assert watch.zones()["hall"].inside == {"car": 1}


def test_who_stays_is_told_once_a_visit() -> None:
    rules = {"zones": {"hall": HALL["zones"]["hall"] | {"stay": 3}}}
    _, told = events(rules, {0: walk(20, 150, 1)}, clock(9))
    (stayed,) = of(told, "stayed")
    assert stayed.timestamp == pytest.approx(0.62 + 3, abs=0.1)


def test_a_crowd_is_told_when_it_comes_and_when_it_goes() -> None:
    rules = {"zones": {"hall": HALL["zones"]["hall"] | {"more_than": 1}}}
    paths = {0: walk(120, 150, 1), 1: walk(130, 20, 4, y=90), 2: walk(20, 180, 6, y=40)}
    _, told = events(rules, paths, clock(8))
    assert [(e.kind, e.count) for e in of(told, "crowded", "cleared")] == [
        ("crowded", 2),
        ("cleared", 1),
        ("crowded", 2),
    ]


def test_false_alarms_tell_nothing() -> None:
    _, told = events(HALL, {5: lambda t: (150, 60) if 1 <= t < 1.3 else None}, clock(6))
    assert told == []


def test_who_is_not_seen_any_more_leaves_and_vanishes_when_last_seen() -> None:
    _, told = events(HALL, {0: lambda t: (150, 60) if t < 3 else None}, clock(6))
    assert [e.kind for e in told] == ["appeared", "entered", "left", "vanished"]
    assert all(e.timestamp == pytest.approx(2.96, abs=0.01) for e in told[2:])


def test_at_the_end_those_in_sight_have_not_vanished() -> None:
    _, told = events(
        HALL, {0: walk(150, 150, 1), 1: lambda t: (20, 60) if t < 4 else None}, clock(5)
    )
    assert [(e.kind, e.track_id) for e in of(told, "vanished", "left")] == [("vanished", 1)]


def test_classes_of_a_place_count_alone() -> None:
    rules = {"zones": {"hall": HALL["zones"]["hall"] | {"classes": ["car"]}}}
    _, told = events(rules, {0: walk(20, 180, 2), 1: walk(20, 180, 3, y=90)}, clock(5), {1: 1})
    assert {e.track_id for e in of(told, "entered")} == {1}


@pytest.mark.parametrize(("when", "expected"), [("touch", 1.875), ("foot", 2.0), ("share", 2.0)])
def test_masks_decide_what_is_inside(when: str, expected: float) -> None:
    rules = {"zones": {"hall": HALL["zones"]["hall"] | {"when": when}}}
    _, told = events(rules, {0: walk(20, 180, 4)}, clock(5))
    assert of(told, "entered")[0].timestamp == pytest.approx(expected, abs=0.05)


def test_frames_that_were_dropped_change_no_event_and_hardly_its_time() -> None:
    paths: dict[int, Path] = {
        0: walk(20, 180, 4),
        1: lambda t: (180 - 30 * t, 90) if t < 5 else None,
    }
    _, all_of_them = events(LINE | HALL, paths, clock(8, 30))
    _, few = events(LINE | HALL, paths, clock(8, 10))
    assert [(e.kind, e.track_id, e.direction) for e in all_of_them] == [
        (e.kind, e.track_id, e.direction) for e in few
    ]
    for one, other in zip(all_of_them, few, strict=True):
        assert one.timestamp == pytest.approx(other.timestamp, abs=0.11)


def test_events_are_numbered_and_a_reset_begins_anew() -> None:
    watch, told = events(LINE | HALL, {0: walk(20, 180, 4)}, clock(5))
    assert [e.number for e in told] == list(range(len(told)))
    watch.reset()
    assert watch.lines()["door"].crossed == {"west": {}, "east": {}}
    (first, *_) = [e for k in range(20) for e in watch.update(result(k, k / 25, {0: (20, 60)}, {}))]
    assert (first.kind, first.number, first.timestamp) == ("appeared", 0, 0.0)


def test_who_is_known_again_returns_and_does_not_appear() -> None:
    watch = EventWatch(Rules(), NAMES)
    told = []
    for k in range(150):
        second = k / 25
        gone = 1 < second < 4
        shot = result(k, second, {} if gone else {3: (50, 60)}, {})
        away = np.array(
            [3.0 if 100 <= k < 120 else 0.0] * (not gone), np.float32
        )  # it says so for a while
        told += watch.update(dataclasses.replace(shot, returned=away))
    assert [e.kind for e in told] == ["appeared", "vanished", "returned"]
    assert (told[2].timestamp, told[2].seconds) == (4.0, 3.0)


def test_two_returns_of_the_same_length_are_two() -> None:
    """As with a camera that shows a picture every four seconds."""
    watch, told = EventWatch(Rules(gone_after=10), NAMES), []
    for k in range(6):
        shot = result(k, 4.0 * k, {3: (50, 60)}, {})
        away = np.array([4.0 if k else 0.0], np.float32)
        told += watch.update(dataclasses.replace(shot, returned=away))
    assert [e.kind for e in told] == ["appeared", *["returned"] * 5]


def test_frames_without_objects_and_a_clock_that_steps_back_are_harmless() -> None:
    watch, told = events(HALL, {}, clock(1))
    assert told == []
    watch.update(result(0, 100.0, {0: (150, 60)}, {}))
    assert watch.update(result(1, 3.0, {0: (150, 60)}, {})) == []


def test_random_walks_agree_with_the_slow_definition() -> None:
    """Entered and left alternate, and between them the object is inside, but for what is shorter than ``settle``."""
    rng = np.random.default_rng(5)
    seconds = clock(40, 10)
    for _ in range(8):
        steps = rng.normal(0, 6, len(seconds)).cumsum()
        places = np.clip(100 + steps - steps.mean(), 6, 194)
        path = dict(zip(seconds, places.tolist(), strict=True))
        _, told = events(HALL | {"settle": 0.5}, {0: lambda t, p=path: (p[t], 60)}, seconds)  # type: ignore[misc]
        changes = of(told, "entered", "left")
        assert [e.kind for e in changes] == (["entered", "left"] * len(changes))[: len(changes)]
        state, since, slow = False, None, []
        for second in seconds:
            if (round(path[second]) >= 100) == state:
                since = None
                continue
            since = second if since is None else since
            if second - since >= 0.5 - 1e-9:
                state, since = not state, slow.append(since)
        assert [e.timestamp for e in changes] == pytest.approx(slow)


def test_a_new_part_of_a_stream_begins_with_new_identities_and_counts_go_on() -> None:
    """Identity 0 of a recording that starts over is somebody else, who did not jump over the line."""
    watch, told = EventWatch(Rules.model_validate(LINE | HALL), NAMES), []
    for k in range(100):
        part, x = (0, 20) if k < 50 else (1, 180)
        shot = result(k, k / 25, {0: (x, 60)}, {})
        told += watch.update(
            dataclasses.replace(shot, frame=dataclasses.replace(shot.frame, part=part))
        )
    assert [e.kind for e in told] == ["appeared", "vanished", "appeared", "entered"]
    assert told[1].timestamp == 49 / 25
    assert watch.zones()["hall"].visits == {"person": 1}


def test_changed_rules_hold_at_once_and_places_that_stay_go_on_counting() -> None:
    watch = EventWatch(Rules.model_validate(LINE | HALL), NAMES)
    path = walk(20, 180, 4)
    for k in range(80):
        watch.update(result(k, k / 25, {0: path(k / 25) or (0, 0)}, {}))
    assert watch.lines()["door"].crossed["east"] == {"person": 1}
    corner = {"polygon": [[0.8, 0], [1, 0], [1, 1], [0.8, 1]]}
    watch.change(Rules.model_validate(LINE | {"zones": {"corner": corner}}))
    told = []
    for k in range(80, 150):
        told += watch.update(result(k, k / 25, {0: path(k / 25) or (0, 0)}, {}))
    assert [(e.kind, e.place) for e in told] == [("entered", "corner")]
    counts = watch.counts().record()
    assert counts["zones"] == {"corner": {"inside": {"person": 1}, "visits": {"person": 1}}}
    assert counts["lines"]["door"]["east"] == {"person": 1}
    watch.change(Rules())
    assert watch.update(result(150, 6.0, {0: (180, 60)}, {})) == []
    assert watch.counts().record() == {"zones": {}, "lines": {}}


def test_whose_class_is_told_late_has_been_there_since_it_came() -> None:
    """The tracker votes about the class: what was a car at first may turn out to be a person."""
    only = {"zones": {"hall": {**HALL["zones"]["hall"], "classes": ["person"]}}}  # type: ignore[dict-item]
    watch, told = EventWatch(Rules.model_validate(only | LINE), NAMES), []
    path = walk(20, 180, 4)
    for k in range(200):
        second = k / 25
        told += watch.update(result(k, second, {0: path(second) or (0, 0)}, {0: int(second < 5)}))
    (entered,) = of(told, "entered")
    assert entered.timestamp == pytest.approx(2.0, abs=0.05)
    assert entered.class_name == "person"
    assert watch.zones()["hall"].inside == {"person": 1}


def test_who_is_of_another_class_is_neither_told_nor_remembered() -> None:
    only = {"zones": {"hall": {**HALL["zones"]["hall"], "classes": ["person"], "stay": 0.5}}}  # type: ignore[dict-item]
    rules = Rules.model_validate(
        only | {"lines": {"door": {**LINE["lines"]["door"], "classes": ["person"]}}}
    )  # type: ignore[dict-item]
    watch, told = EventWatch(rules, NAMES), []
    for k in range(1500):
        x = 100 + 80 * np.sin(2 * np.pi * k / 100)  # in and out all the time
        told += watch.update(result(k, k / 25, {0: (x, 60)}, {0: 1}))
    assert [e.kind for e in told] == ["appeared"]
    assert watch.zones()["hall"].inside == {}
    assert len(watch.state()["known"][0]["waiting"]) <= 4


def test_a_visit_that_was_told_ends_also_when_the_class_has_changed() -> None:
    only = {"zones": {"hall": {**HALL["zones"]["hall"], "classes": ["person"]}}}  # type: ignore[dict-item]
    watch, told = EventWatch(Rules.model_validate(only), NAMES), []
    there_and_back: Path = lambda t: (20 + 160 * (1 - abs(t - 4) / 4), 60)  # noqa: E731
    for k in range(200):
        second = k / 25
        told += watch.update(
            result(k, second, {0: there_and_back(second) or (0, 0)}, {0: int(second > 4)})
        )
    assert [e.kind for e in told] == ["appeared", "entered", "left"]
