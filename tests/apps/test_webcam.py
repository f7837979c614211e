"""``sipvideo webcam`` from the command line to the screen, with real windows, keys, signals and recordings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.apps.webcam import command as webcam
from tests.apps import screen, scripted
from tests.apps.screen import ROOT, Screen, until
from tests.apps.scripted_webcam import SECONDS

needs_screen = pytest.mark.skipif(bool(screen.missing()), reason=screen.missing())
BAR = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted.clip(tmp_path_factory.mktemp("webcam") / "scene.mp4", SECONDS)


@pytest.fixture
def shown() -> Iterator[Screen]:
    with Screen() as one:
        yield one


def start(shown: Screen, folder: Path, *sources: Path) -> None:
    """Records into the folder, with the scripted segmenter, until a picture is on the screen."""
    flags = [flag for source in sources for flag in ("--source", source)]
    for _ in range(6):
        shutil.rmtree(folder, ignore_errors=True)
        shown.start("-m", "tests.apps.scripted_webcam", *flags, "--loop", "--record", folder)
        if until(
            lambda: ended(shown) or below_bar(shown).mean() > 30, 30
        ):  # brighter than messages
            break
        # Where there is no window manager, Qt now and then begins a window that it never paints.
        shown.kill()
    assert not ended(shown), shown.end()


def ended(shown: Screen) -> bool:
    assert shown.program is not None
    return shown.program.poll() is not None


def below_bar(shown: Screen) -> NDArray[np.uint8]:
    return shown.picture()[BAR:]


def is_still(shown: Screen) -> bool:
    return np.array_equal(below_bar(shown), below_bar(shown))


def pause(shown: Screen) -> None:
    """Stands still; messages are gone, too."""
    shown.press("space")
    assert until(lambda: is_still(shown))


def changes(shown: Screen, *keys: str, seconds: float = 60.0) -> bool:
    """Whether keys change the picture that stands still."""
    before = below_bar(shown)
    shown.press(*keys)
    return until(lambda: not np.array_equal(below_bar(shown), before), seconds)


def trails_are_seen(shown: Screen) -> bool:
    """Whether their key changes the picture; if not, it plays on to another one.

    On a busy machine few pictures are shown, and the one that it stands still at may be the first after the clip
    began anew, or after longer than a trail: nobody has come from anywhere there.
    """
    if changes(shown, "t", seconds=3.0):
        return True
    shown.press("t", "space")
    assert until(lambda: not is_still(shown))
    pause(shown)
    return False


def recordings(folder: Path) -> list[Path]:
    """The folders of all recordings, one at least."""
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    assert found
    return found


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--budget", "fast"], "expected a time such as 50ms, got 'fast'"),
        (["--budget", "0"], "expected a time such as 50ms"),
        (["--save", "video,cake"], "expected some of video,prores,pictures"),
        (["--frames", "0"], "whole number above 0"),
        (["--seconds", "-1"], "number above 0"),
        (["--web", "--record", "clips"], "--record: only for the window"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        webcam.parse(arguments)
    assert exit_.value.code == 2
    assert problem in capsys.readouterr().err


def test_budgets_are_milliseconds_unless_said_otherwise() -> None:
    for text in ("50", "50ms", "0.05s", "50 MS"):
        assert webcam.parse(["--budget", text]).budget == pytest.approx(50)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="there is a screen everywhere else"
)
@pytest.mark.parametrize("display", [None, ":4711"])
def test_without_a_screen_one_line_offers_the_browser(display: str | None, clip: Path) -> None:
    hidden = {"DISPLAY", "WAYLAND_DISPLAY"}
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    if display is not None:
        environment["DISPLAY"] = display
    done = subprocess.run(
        [sys.executable, "apps/main.py", "webcam", "--source", str(clip)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "sipvideo serve" in done.stderr


@needs_screen
def test_a_source_that_is_not_there_is_one_line(shown: Screen, tmp_path: Path) -> None:
    shown.start("apps/main.py", "webcam", "--source", tmp_path / "nothing.mp4")
    code, out, err = shown.end()
    assert code == 2
    assert out == ""
    assert [line for line in err.splitlines() if "sipvideo:" in line] == [
        f"sipvideo: error: {tmp_path / 'nothing.mp4'}: no such file"
    ]


@needs_screen
def test_the_default_model_is_seen_at_work_and_recorded(shown: Screen, tmp_path: Path) -> None:
    example = ROOT / "examples" / "pedestrians.mp4"
    limits = ("--frames", "4", "--budget", "500ms", "--record", tmp_path, "--loop")
    shown.start("apps/main.py", "webcam", "--source", example, *limits)
    code, out, err = shown.end()
    assert code == 0, err
    assert "4 frames shown" in out
    assert "age p50" in out
    assert "governor: input" in out
    (folder,) = tmp_path.iterdir()
    assert frames(folder / "video.mp4") == 4
    assert '"person"' in (folder / "results.jsonl").read_text()


@needs_screen
def test_keys_do_what_the_help_says(shown: Screen, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    start(shown, folder, clip)
    shown.press("s", "r")
    assert until(lambda: all((one / "summary.json").is_file() for one in recordings(folder)))
    assert all(frames(recording / "video.mp4") > 0 for recording in recordings(folder))
    (screenshot,) = folder.glob("*.png")
    assert cv2.imread(str(screenshot)) is not None
    pause(shown)
    for key in ("o", "O", "c", "b", "h"):
        assert changes(shown, *([key] * (1 + key.isupper()))), key
    assert any(trails_are_seen(shown) for _ in range(50))
    shown.press("space")
    assert until(lambda: not is_still(shown))
    shown.press("Escape")
    code, out, _ = shown.end()
    assert code == 0
    assert "frames shown" in out


@needs_screen
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)]
)
def test_signals_and_closing_the_window_leave_playable_recordings_of_all_sources(
    shown: Screen, clip: Path, tmp_path: Path, number: int | None, code: int
) -> None:
    start(shown, tmp_path / "recordings", clip, clip, clip)
    assert until(lambda: all(part.mean() > 30 for part in quarters(shown)))
    if number is None:
        shown.close_window()
    else:
        assert shown.program is not None
        shown.program.send_signal(number)
    ended, out, err = shown.end()
    assert ended == code
    assert "Traceback" not in err
    assert out.count("frames shown") == 3
    folders = recordings(tmp_path / "recordings")
    assert len(folders) >= 3  # more where the clip was played again
    for folder in folders:
        lines = (folder / "results.jsonl").read_text().splitlines()
        assert 0 < frames(folder / "video.mp4") == len(lines)


def quarters(shown: Screen) -> list[NDArray[np.uint8]]:
    """The three of them where three sources are shown, without their bars."""
    picture = shown.picture()
    return [picture[BAR:340, :600], picture[BAR:340, 680:], picture[400:, :600]]
