from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.apps import video
from sipvideo.jobs import LEDGER
from sipvideo.masks import from_rles
from sipvideo.sources import Capture, VideoFile
from sipvideo.structures import Detections, Frame
from tests.apps.scripted import CLASSES, ReadySpec, clip, run, segmenter, shots
from tests.media import write_video
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
FRAMES = 25


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def frames_of(path: Path) -> int:
    """Number of frames that really decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("sipvideo: error: ")]


def test_a_video_gives_every_kind_of_result(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4")
    kinds = "video,pictures,json,lines,mots,png,csv,parquet"
    assert run(source, "-o", tmp_path / "out", "--save", kinds) == 0
    folder = tmp_path / "out" / "street"
    truth = shots()

    assert frames_of(folder / "video.mp4") == FRAMES
    assert len(list((folder / "pictures").iterdir())) == FRAMES
    assert len(list((folder / "masks").glob("*.png"))) == FRAMES
    label_map = cv2.imread(str(folder / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(label_map)) == 3

    tracks = json.loads((folder / "results.json").read_text())
    assert sorted(track["category_id"] for track in tracks) == [1, 2]
    assert all(len(track["segmentations"]) == FRAMES for track in tracks)
    walker = next(track for track in tracks if track["category_id"] == 1)
    seen = from_rles([walker["segmentations"][0]], truth[0].frame.size)
    k = truth[0].detections.labels.tolist().index(0)
    assert np.array_equal(seen.dense(0), truth[0].detections.masks.dense(k))

    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert {o["class_name"] for line in lines for o in line["objects"]} == set(CLASSES)
    assert len((folder / "mots.txt").read_text().splitlines()) == 2 * FRAMES
    with (folder / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * FRAMES
    assert pyarrow.parquet.read_table(folder / "objects.parquet").num_rows == 2 * FRAMES

    told = summary(folder)
    assert (told["state"], told["frames"], told["objects"], told["identities"]) == (
        "complete",
        25,
        50,
        2,
    )


def test_without_save_there_is_a_video_json_and_a_table(tmp_path: Path) -> None:
    assert run(clip(tmp_path / "a.mp4"), "-o", tmp_path / "out") == 0
    found = {path.name for path in (tmp_path / "out" / "a").iterdir()}
    assert found == {
        *("video.mp4", "results.json", "objects.csv"),
        *("appearance.npz", "summary.json"),
    }


def test_files_folders_and_equal_names_each_get_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip(tmp_path / "x" / "clip.mp4", 0.2)
    clip(tmp_path / "y" / "clip.mp4", 0.4)
    clip(tmp_path / "many" / "one.mp4", 0.2)
    clip(tmp_path / "many" / "two.mp4", 0.2)
    inputs = [tmp_path / "x" / "clip.mp4", tmp_path / "y" / "clip.mp4", tmp_path / "many"]
    assert run(*inputs, "-o", tmp_path / "out", "--save", "json") == 0
    found = {path.name: summary(path)["frames"] for path in (tmp_path / "out").glob("*/")}
    assert found == {"clip": 5, "clip-2": 10, "one": 5, "two": 5}
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == [
        "input",
        "frames",
        "objects",
        "tracks",
        "seconds",
        "fps",
        "state",
        "results",
    ]
    assert [row.split()[1] for row in table[1:]] == ["5", "10", "5", "5"]


@pytest.mark.parametrize("pattern", ["walk", "walk/*.png"])
def test_pictures_are_one_sequence_in_natural_order(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "walk").mkdir()
    for k, shot in enumerate(shots(0.48)):
        cv2.imwrite(str(tmp_path / "walk" / f"{k}.png"), shot.frame.image[:, :, ::-1])
    out = tmp_path / "out"
    assert run(tmp_path / pattern, "-o", out, "--fps", "5", "--save", "video,lines") == 0
    lines = [json.loads(line) for line in (out / "walk" / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == [f"{k}.png" for k in range(12)]
    assert lines[5]["timestamp"] == 1.0
    assert frames_of(out / "walk" / "video.mp4") == 12


def test_a_single_picture_gives_a_picture_instead_of_a_video(tmp_path: Path) -> None:
    shot = shots(0.04)[0]
    cv2.imwrite(str(tmp_path / "photo.png"), shot.frame.image[:, :, ::-1])
    assert run(tmp_path / "photo.png", "-o", tmp_path / "out") == 0
    drawn = cv2.imread(str(tmp_path / "out" / "photo" / "picture.png"))
    assert drawn is not None
    assert drawn.shape == shot.frame.image.shape
    assert not np.array_equal(drawn[:, :, ::-1], shot.frame.image)
    assert not (tmp_path / "out" / "photo" / "video.mp4").exists()


def test_one_bad_input_is_one_line_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 100)
    (tmp_path / "empty").mkdir()
    good = clip(tmp_path / "good.mp4", 0.2)
    bad = [tmp_path / "text.mp4", tmp_path / "empty", tmp_path / "missing.mp4"]
    assert run(bad[0], good, *bad[1:], "-o", tmp_path / "out") == 2
    told = errors(capsys)
    assert len(told) == 3
    assert all(str(path) in line for path, line in zip(bad, told, strict=True))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good", LEDGER}
    assert summary(tmp_path / "out" / "good")["state"] == "complete"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error\nlong story")])
def test_an_error_that_nobody_foresaw_fails_its_input_alone_and_keeps_its_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    one, two = clip(tmp_path / "one.mp4", 0.4), clip(tmp_path / "two.mp4", 0.2)
    made = segmenter()
    detect = made.engine.detect

    def failing(frames: Sequence[Frame]) -> list[Detections]:
        if frames[0].index == 7:
            raise error
        return detect(frames)

    made.engine.detect = failing  # type: ignore[method-assign]
    args = video.parse([str(one), str(two), "-o", str(tmp_path / "out"), "-q"])
    assert video.run(args, ReadySpec(ready=made)) == 2
    (told,) = errors(capsys)
    assert told.startswith(f"sipvideo: error: {one}: ")
    assert told.endswith(" (--debug shows where)")
    assert summary(tmp_path / "out" / "one")["state"] == "failed"
    assert summary(tmp_path / "out" / "two")["state"] == "complete"
    frames = summary(tmp_path / "out" / "one")["frames"]
    assert frames == frames_of(tmp_path / "out" / "one" / "video.mp4") > 0


def test_a_truncated_video_keeps_the_frames_before_the_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [shot.frame.image for shot in shots(2.0)]
    whole = write_video(tmp_path / "cut.mkv", pictures)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run(whole, "-o", tmp_path / "out", seconds=2.0) == 2
    folder = tmp_path / "out" / "cut"
    told = summary(folder)
    assert told["state"] == "failed"
    assert "cut.mkv" in told["problem"]
    assert 0 < told["frames"] < 50
    assert frames_of(folder / "video.mp4") == told["frames"]
    assert len(json.loads((folder / "results.json").read_text())) == 2
    assert len(errors(capsys)) == 1


def test_a_truncated_mp4_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(path, "-o", tmp_path / "out") == 2
    (told,) = errors(capsys)
    assert "cut.mp4" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LEDGER]


def test_results_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 0.4)
    out = tmp_path / "out"
    assert run(path, "-o", out, "--save", "png,csv") == 0
    (out / "a" / "mine.txt").write_text("not ours")
    clip(tmp_path / "a.mp4", 0.2)
    assert run(path, "-o", out, "--save", "png,json") == 0
    assert len(list((out / "a" / "masks").iterdir())) == 5
    assert {p.name for p in (out / "a").iterdir()} == {
        "masks",
        "results.json",
        "summary.json",
        "mine.txt",
    }


def test_a_folder_that_is_not_ours_is_not_emptied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "a.mp4", 0.2)
    precious = tmp_path / "out" / "a" / "masks" / "by-hand.png"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"x")
    assert run(path, "-o", tmp_path / "out", "--save", "json,png") == 2
    assert precious.read_bytes() == b"x"
    assert "masks" in errors(capsys)[0]
    assert list((tmp_path / "out" / "a").iterdir()) == [precious.parent]


def test_resume_passes_over_what_is_complete_with_the_same_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = clip(tmp_path / "one.mp4", 0.2), tmp_path / "two.mp4"
    out = tmp_path / "out"
    assert run(one, two, "-o", out, "--save", "json") == 2
    before = (out / "one" / "results.json").stat().st_mtime_ns
    clip(two, 0.2)
    capsys.readouterr()

    assert run(one, two, "-o", out, "--save", "json", "--resume") == 0
    assert (out / "one" / "results.json").stat().st_mtime_ns == before
    assert [row.split()[6] for row in capsys.readouterr().out.splitlines()[1:]] == [
        "kept",
        "complete",
    ]

    assert run(one, two, "-o", out, "--save", "json", "--resume", "--set", "a.b=1") == 0
    assert (out / "one" / "results.json").stat().st_mtime_ns > before

    (out / "two" / "summary.json").write_text("{}")
    clip(one, 0.4)
    assert run(one, two, "-o", out, "--save", "json", "--resume", "--set", "a.b=1") == 0
    assert summary(out / "one")["frames"] == 10
    assert summary(out / "two")["state"] == "complete"


def test_stdout_gets_json_lines_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clip(tmp_path / "a.mp4", 0.2), "--stdout") == 0
    told = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in told.out.splitlines()] == list(range(5))
    assert "complete" in told.err


def test_quiet_says_nothing_but_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clip(tmp_path / "a.mp4", 0.2)
    assert run(path, tmp_path / "missing.mp4", "-o", tmp_path / "out", "--quiet") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video files that tell of a loss in every frame, as one that repeats itself does."""
    captures = VideoFile._captures

    def noting(self: VideoFile) -> Iterator[Capture]:
        for capture in captures(self):
            self.note("the second of two video streams was chosen")
            yield capture

    monkeypatch.setattr(VideoFile, "_captures", noting)


@pytest.mark.usefixtures("talkative")
def test_notes_of_every_part_are_shown_once_and_kept_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "a.mp4", 0.2)
    made = segmenter()
    made.engine.notes = ["half the precision"]
    args = video.parse([str(path), "-o", str(tmp_path / "out"), "-q"])
    assert video.run(args, ReadySpec(ready=made)) == 0
    notes = ["half the precision", f"{path}: the second of two video streams was chosen"]
    assert capsys.readouterr().err.splitlines() == [f"sipvideo: note: {note}" for note in notes]
    assert summary(tmp_path / "out" / "a")["notes"] == notes


@pytest.mark.usefixtures("talkative")
def test_strict_makes_a_note_the_failure_of_its_input_and_keeps_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = clip(tmp_path / "a.mp4", 0.2), tmp_path / "out"
    assert run(path, "-o", out, "-q") == 0
    assert run(path, "-o", out, "--strict", "--resume", "-q") == 2
    told = summary(out / "a")
    assert told["state"] == "failed"
    assert told["problem"] == f"--strict: {path}: the second of two video streams was chosen"
    assert told["problem"] in errors(capsys)[0]
    assert frames_of(out / "a" / "video.mp4") == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.mp4"],
        ["-o", "out"],
        ["a.mp4", "-o", "out", "--save", "video,movie"],
        ["a.mp4", "-o", "out", "--save", ""],
        ["a.mp4", "-o", "out", "--fps", "0"],
        ["a.mp4", "-o", "out", "--fps", "nan"],
        ["a.mp4", "b.mp4", "--stdout"],
    ],
)
def test_wrong_usage_exits_with_two_before_anything_is_loaded(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        video.parse(arguments)
    assert caught.value.code == 2
    assert "usage: sipvideo video" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert run(clip(tmp_path / "a.mp4", 0.2), "-o", tmp_path / "out") == 2
    assert len(errors(capsys)) == 1
    assert (tmp_path / "out").read_text() == "a file"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of its own process, slow enough to be stopped in the middle."""
    path = clip(tmp_path / "long.mp4", 8.0)
    command = [sys.executable, "-m", "tests.apps.scripted", "8", "0.1", str(path), str(path) + "x"]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out"), "--save", "video,json,lines,csv,png"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_computed(
    running: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "out" / "long"
    growing = folder / ".results.jsonl.partial"

    def has_begun() -> bool:
        assert running.poll() is None, running.communicate()
        return growing.exists() and growing.read_text().count("\n") >= 5

    until(has_begun)
    running.send_signal(number)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + number
    assert "Traceback" not in err
    assert "interrupted" in out

    told = summary(folder)
    assert told["state"] == "interrupted"
    assert 5 <= told["frames"] < 200
    assert frames_of(folder / "video.mp4") == told["frames"]
    assert len(list((folder / "masks").iterdir())) == told["frames"]
    tracks = json.loads((folder / "results.json").read_text())
    assert {len(track["segmentations"]) for track in tracks} == {told["frames"]}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_full_disk_is_one_line_and_whole_files_stay(tmp_path: Path) -> None:
    """The process may write files of 20 kB: the table stays below, the video does not."""
    noise = np.random.default_rng(0).integers(0, 255, (25, 120, 160, 3), np.uint8)
    path = write_video(tmp_path / "noise.mp4", list(noise))
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from tests.apps.scripted import run; sys.exit(run(*sys.argv[1:]))"
    )
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            limited,
            str(path),
            "-o",
            str(tmp_path / "out"),
            "--save",
            "csv,video",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 2
    told = [line for line in ran.stderr.splitlines() if line.startswith("sipvideo: error: ")]
    assert len(told) == 1
    assert "video.mp4" in told[0]
    assert "Traceback" not in ran.stderr
    folder = tmp_path / "out" / "noise"
    assert {path.name for path in folder.iterdir()} == {"objects.csv", "summary.json"}
    assert summary(folder)["state"] == "failed"


def test_a_reader_of_standard_output_that_goes_away_ends_the_run_quietly(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 2.0)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.apps.scripted", "2", "0.02", str(path), "--stdout", "-q"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE) == 141
    assert told == b""


def test_a_full_device_on_standard_output_is_one_line(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    path = clip(tmp_path / "a.mp4", 0.4)
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.apps.scripted", "1", "0", str(path), "--stdout", "-q"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("sipvideo: error: ")
