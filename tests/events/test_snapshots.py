"""Pictures and clips of events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig, VeilConfig
from sipvideo.events import EventWatch, Rules
from sipvideo.events.sink import EventFiles
from sipvideo.events.snapshots import CLIPS, PICTURES, Snapshots, Wanted
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.showing import Showing
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.tracker import build_tracker
from sipvideo.veil import Veil
from tests.events.test_watch import HALL, NAMES, result, walk

NOTHING = Wanted()


def numbered(shot: FrameResult) -> NDArray[np.uint8]:
    """A picture as grey as its second: 8 steps a second."""
    return np.full((63, 90, 3), min(int(shot.frame.timestamp * 8), 255), np.uint8)


def told(
    folder: Path,
    rules: dict[str, Any],
    wanted: Wanted = NOTHING,
    seconds: float = 8,
    people: int = 1,
) -> list[dict[str, Any]]:
    """The log of people who enter the hall at second 2, 3, ..."""
    watch = EventWatch(Rules.model_validate(rules), NAMES)
    with EventFiles(
        folder / "events", watch, "street", snapshots=Snapshots(numbered, wanted)
    ) as sink:
        for k in range(int(seconds * 25) + 1):
            second = k / 25
            ways = {i: walk(20, 180, 4)(max(second - i, 0)) for i in range(people)}
            sink.write(result(k, second, {i: at for i, at in ways.items() if at}, {}))
    lines = (folder / "events" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def seconds_of(path: Path) -> list[float]:
    """What the pictures of a clip show, in order."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return [float(np.median(frame)) / 8 for frame in frames]


def test_an_event_has_a_picture_of_its_moment_and_a_clip_around_it(tmp_path: Path) -> None:
    hall = {"zones": {"hall": {**HALL["zones"]["hall"], "picture": True, "clip": "4s"}}}  # type: ignore[dict-item]
    appeared, entered = told(tmp_path, hall)
    assert "picture" not in appeared
    assert "clip" not in appeared
    assert entered["picture"] == entered["id"].replace(":", "-") + ".jpg"
    picture = cv2.imread(str(tmp_path / "events" / entered["picture"]))
    assert picture is not None
    assert picture.mean() / 8 == pytest.approx(entered["timestamp"], abs=0.3)
    shown = seconds_of(tmp_path / "events" / entered["clip"])
    assert shown[0] == pytest.approx(entered["timestamp"] - 2, abs=0.4)
    assert shown[-1] == pytest.approx(entered["timestamp"] + 2, abs=0.4)
    assert len(shown) == pytest.approx(36, abs=8)
    with av.open(str(tmp_path / "events" / entered["clip"])) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(4, abs=0.3)
    assert (tmp_path / "events" / "events.csv").read_text().count(entered["clip"]) == 1


def test_a_wish_for_all_events_holds_where_a_place_says_nothing_else(tmp_path: Path) -> None:
    hall = {"zones": {"hall": {**HALL["zones"]["hall"], "picture": False}}}  # type: ignore[dict-item]
    address = "http://shop.local/events/"
    appeared, entered = told(tmp_path, hall, Wanted(picture=True, clip=2, address=address))
    assert appeared["picture_url"] == address + appeared["picture"]
    assert "picture" not in entered
    # The clip of the first goes on long enough to begin before it; at second 2 it is over.
    assert entered["clip_url"] == address + entered["clip"]


def test_events_of_one_time_share_a_clip_which_ends_with_the_video(tmp_path: Path) -> None:
    lines = told(tmp_path, HALL, Wanted(clip=6), seconds=3.6, people=2)
    names = [line["clip"] for line in lines]
    assert len(lines) == 4
    assert len(set(names)) < 4
    for name in set(names):
        assert seconds_of(tmp_path / "events" / name)[-1] <= 3.6
    assert not list((tmp_path / "events").glob(".*"))


def test_many_events_do_not_fill_the_disk(tmp_path: Path) -> None:
    watch = EventWatch(Rules(settle=0, lasting=0), NAMES)
    snapshots = Snapshots(numbered, Wanted(picture=True, clip=0.5))
    with EventFiles(tmp_path / "events", watch, "street", snapshots=snapshots) as sink:
        for k in range(300):
            sink.write(result(k, k / 10, {k: (50, 60)}, {}))  # somebody new in every frame
    assert len(list((tmp_path / "events").glob("*.jpg"))) <= PICTURES * 1.5 + 1
    assert len(list((tmp_path / "events").glob("*.mp4"))) <= CLIPS * 1.5 + 1
    assert any("have no picture: at most 60 a minute" in note for note in sink.notes)


def test_nothing_is_drawn_where_nobody_asks() -> None:
    def draw(_: FrameResult) -> NDArray[np.uint8]:
        raise AssertionError

    snapshots = Snapshots(draw, Wanted())
    snapshots.see(result(0, 0.0, {0: (50, 60)}, {}), Rules.model_validate(HALL))
    assert snapshots.close() == []


def test_pictures_that_wait_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipvideo.events.snapshots.ROOM", 20_000)
    snapshots = Snapshots(numbered, Wanted(clip=60))
    for k in range(400):
        snapshots.see(result(k, k / 10, {}, {}), Rules())
    assert sum(len(shot.jpeg) for shot in snapshots._shots) <= 20_000
    snapshots.close()


def test_pictures_and_clips_show_nobody_whom_the_veil_covers(tmp_path: Path) -> None:
    """One bright pixel pattern is a person: no picture of an event may have it."""
    person = np.zeros((120, 160, 3), np.uint8)
    person[40:80, 60:90] = np.random.default_rng(0).choice([0, 255], (40, 30, 1)).astype(np.uint8)

    def detect(_: Frame) -> Detections:
        masks = CompactMasks.from_crops([np.ones((40, 30), bool)], [(60, 40)], (120, 160))
        boxes, one = masks.windows.astype(np.float32), np.ones(1, np.float32)
        labels, embeddings = np.zeros(1, np.int64), np.zeros((1, 0), np.float32)
        return Detections(boxes, one, labels, masks, embeddings)

    veil = Veil(VeilConfig(), frozenset({0}), 0.3)
    segmenter = VideoSegmenter(detect, build_tracker(TrackerConfig()), NAMES, veil)
    watch = EventWatch(Rules.model_validate(HALL), NAMES)
    showing = Showing(rules=watch.rules)
    snapshots = Snapshots(
        lambda shot: showing.picture(shot, NAMES, watch), Wanted(picture=True, clip=2)
    )
    with EventFiles(tmp_path / "events", watch, "street", snapshots=snapshots) as sink:
        for k in range(50):
            sink.write(segmenter.step(Frame(person, k, k / 25)))
    pictures = [cv2.imread(str(path)) for path in (tmp_path / "events").glob("*.jpg")]
    for path in (tmp_path / "events").glob("*.mp4"):
        with av.open(str(path)) as container:
            pictures += [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(pictures) >= 8
    contrasts = [part[50:70, 65:85].astype(float).std() for part in pictures if part is not None]
    assert max(contrasts) < 0.3 * person[50:70, 65:85].std()
