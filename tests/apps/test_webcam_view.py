"""What the live window shows, without a window: true of every source at every moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.apps.webcam.view import Computing, View
from sipvideo.errors import SipVideoError, SourceError
from sipvideo.events import Rules
from sipvideo.live import LiveResult, LiveSession
from sipvideo.live.controls import Controls
from sipvideo.showing import Showing
from sipvideo.sources import Source
from sipvideo.structures import Frame
from tests.apps import scripted
from tests.live_servers import Scripted, filming, segmenter, squares
from tests.waiting import stays, until

SIZE = (360, 480)


def dying(end: threading.Event) -> Callable[[], Source]:
    """A camera that dies when it is told to, and is never found again."""
    opened: list[Source] = []

    def script() -> Iterator[Frame | Exception]:
        for index in range(10_000):
            if end.wait(0.02):
                yield SourceError("scripted: the cable was pulled")
            yield Frame(squares(index / 50), index, index / 50)

    def opener() -> Source:
        if opened:
            raise SourceError("scripted: no such camera")
        opened.append(Scripted(script()))
        return opened[0]

    return opener


def view(session: LiveSession, folder: Path, controls: Controls | None = None) -> View:
    return View(session, controls or Controls(), folder, ("video", "lines"))


def shown(one: View, frames: int) -> list[LiveResult]:
    """Lets the view take and show so many results."""
    taken = []
    while len(taken) < frames:
        live = one.session.next(10)
        assert live is not None
        one.take(live)
        canvas = one.canvas(SIZE)
        one.displayed()
        one.obey(canvas)
        taken.append(live)
    return taken


def has_colours(picture: NDArray[np.uint8]) -> bool:
    """Below the bar, whose light is always coloured, and beside the banner."""
    part = picture[40:120].astype(int)
    return bool((np.ptp(part, axis=2) > 40).mean() > 0.01)


def playable(folder: Path) -> int:
    with av.open(str(folder / "video.mp4")) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_source_that_died_is_greyed_and_said_and_never_looks_live(tmp_path: Path) -> None:
    end = threading.Event()
    with LiveSession(segmenter(), {"cam": dying(end)}) as session:
        one = view(session, tmp_path)
        shown(one, 3)
        assert has_colours(one.canvas(SIZE))
        end.set()
        while session.status("cam").state == "live":
            session.next(0.1)
        status = session.status("cam")
        assert not has_colours(one.canvas(SIZE))
        caption = one.tiles["cam"].caption(status, False, "", "")
        assert "reconnecting" in caption.banner
        assert "cable" in caption.banner or "no such camera" in caption.banner
        assert "last picture" in caption.banner
        assert not any("age" in figure for figure in caption.figures)


def test_the_age_that_is_said_is_that_of_the_picture(tmp_path: Path) -> None:
    with LiveSession(segmenter(0.1), {"cam": filming}) as session:
        one = view(session, tmp_path)
        shown(one, 5)
        caption = one.tiles["cam"].caption(session.status("cam"), False, "", "")
        (age,) = (figure for figure in caption.figures if figure.startswith("age"))
        assert 100 <= float(age.split()[1]) < 1000
        assert caption.banner == ""
        paused = one.tiles["cam"].caption(session.status("cam"), True, "", "")
        assert paused.figures[0] == "paused"
        assert not any("age" in figure for figure in paused.figures)


def test_a_reset_begins_another_recording_so_that_identities_stay_unique(tmp_path: Path) -> None:
    with LiveSession(segmenter(), {"cam": filming}) as session:
        one = view(session, tmp_path, Controls(recording=True))
        shown(one, 5)
        one.controls.do("reset")
        shown(one, 5)
        one.stop_recording()
    folders = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(folders) == 2
    assert sum(playable(folder) for folder in folders) == 10
    for folder in folders:
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert {one["track_id"] for line in lines for one in line["objects"]} == {0, 1}


def test_a_recording_that_is_played_again_is_another_video(tmp_path: Path) -> None:
    clip = scripted.clip(tmp_path / "scene.mp4", 0.6)
    with LiveSession(segmenter(), {"clip": str(clip)}, loop=True) as session:
        one = view(session, tmp_path / "recordings", Controls(recording=True, trails=True))
        while len(list((tmp_path / "recordings").glob("*/summary.json"))) < 2:
            shown(one, 1)
        one.stop_recording()
    for folder in (tmp_path / "recordings").iterdir():
        assert 0 < playable(folder) <= 15


def test_recording_starts_with_the_first_result_and_ends_where_it_is_stopped(
    tmp_path: Path,
) -> None:
    with LiveSession(segmenter(), {"a": filming, "b": filming}) as session:
        one = view(session, tmp_path, Controls(recording=True))
        taken = shown(one, 8)
        one.controls.do("record")
        shown(one, 4)
        recorded = sorted(playable(folder) for folder in tmp_path.iterdir())
    counts = [sum(live.source == key for live in taken) for key in ("a", "b")]
    assert recorded == sorted(counts)


def test_a_folder_that_cannot_be_written_is_said_and_the_picture_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with LiveSession(segmenter(), {"cam": filming}) as session:
        one = view(session, tmp_path / "file", Controls(recording=True))
        one.controls.do("screenshot")
        shown(one, 3)
        assert not one.controls.recording
    assert capsys.readouterr().err.count("sipvideo: error:") == 2


def test_screenshots_are_what_is_on_the_screen(tmp_path: Path) -> None:
    with LiveSession(segmenter(), {"cam": filming}) as session:
        one = view(session, tmp_path)
        shown(one, 2)
        canvas = one.canvas(SIZE)
        for _ in range(2):
            one.controls.do("screenshot")
            one.obey(canvas)
    paths = list(tmp_path.glob("*.png"))
    assert len(paths) == 2
    saved = cv2.cvtColor(np.asarray(cv2.imread(str(paths[0])), np.uint8), cv2.COLOR_BGR2RGB)
    assert np.array_equal(saved, canvas)


def test_results_are_computed_while_nobody_asks_and_end_with_the_session() -> None:
    with LiveSession(segmenter(), {"cam": filming}) as session, Computing(session) as computing:
        first = wait_for(computing.next)
        assert wait_for(computing.next) is not first
        computing.paused = True
        assert stays(computing.next) is None
        computing.paused = False
        wait_for(computing.next)
        session.close()
        while not computing.is_over:
            computing.next()


def test_what_goes_wrong_while_computing_is_raised_where_it_is_asked_for() -> None:
    with LiveSession(segmenter(), {"cam": filming}) as session:
        session.next = lambda timeout: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        with Computing(session) as computing, pytest.raises(ZeroDivisionError):
            wait_for(computing.next)


def wait_for(ask: Callable[[], LiveResult | None]) -> LiveResult:
    found: list[LiveResult] = []

    def comes() -> bool:
        live = ask()
        found.extend([] if live is None else [live])
        return bool(found)

    until(comes)
    return found[0]


def test_what_goes_wrong_while_computing_reaches_the_viewer_also_after_the_thread_has_ended() -> (
    None
):
    def broken(timeout: float) -> LiveResult:
        raise SipVideoError("the session went away")

    with LiveSession(segmenter(), {"cam": filming}) as session:
        session.next = broken  # type: ignore[method-assign]
        with Computing(session) as computing:
            computing._thread.join(10)
            assert not computing.is_over
            with pytest.raises(SipVideoError, match="the session went away"):
                computing.next()


def test_the_counts_on_the_screen_and_those_of_a_recording_are_the_same(tmp_path: Path) -> None:
    zone = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "when": "touch"}
    rules = Rules.model_validate({"zones": {"all": zone}, "settle": 0, "lasting": 0})
    controls = Controls()
    with LiveSession(segmenter(), {"cam": filming}) as session:
        one = View(session, controls, tmp_path, ("lines",), showing=Showing(rules=rules))
        shown(one, 3)
        (tile,) = one.tiles.values()
        assert tile.watch is not None
        before = sum(tile.watch.zones()["all"].visits.values())
        assert before
        controls.recording = True
        shown(one, 4)
        assert tile.recording is not None
        assert tile.recording.event_watch is tile.watch
        one.stop_recording()
        after = sum(tile.watch.zones()["all"].visits.values())
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    log = (folder / "events" / "events.jsonl").read_text().splitlines()
    # Who was there before the recording had come before: nobody is counted twice.
    assert after - before == sum(json.loads(line)["kind"] == "entered" for line in log)
