"""Kept until the power fails: runs and recordings that are killed, and disks that are full, read back afterwards."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.apps.main import main
from sipvideo.sources import VideoFile
from tests.apps.scripted import clip, run
from tests.media import write_video

ROOT = Path(__file__).parents[2]
KINDS = "video,pictures,json,lines,mots,png,csv,parquet,appearance"
FPS = 25
LOST = 2 * FPS
"""Frames that may be missing at most."""


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(command: list[str], growing: Path, lines: int) -> int:
    """Ends a process of its own with SIGKILL once a file has so many lines; how many it had at that moment."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while lines_in(growing) < lines:
            assert process.poll() is None
            time.sleep(0.02)
        seen = lines_in(growing)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return seen


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The output folder of a run with results of every kind, killed in its fourth second; frames that were done."""
    folder = tmp_path_factory.mktemp("killed")
    path = clip(folder / "long.mp4", 8.0)
    flags = ["-o", str(folder / "out"), "--save", KINDS]
    command = ["-m", "tests.apps.scripted", "8", "0.02", str(path), *flags]
    seen = killed(command, folder / "out" / "long" / ".results.jsonl.partial", 90)
    return folder, seen


@pytest.fixture
def left(killed_run: tuple[Path, int], tmp_path: Path) -> tuple[Path, int]:
    """A copy of what it left."""
    folder, seen = killed_run
    shutil.copytree(folder / "out", tmp_path / "out")
    return tmp_path / "out", seen


def test_a_run_killed_by_kill_9_keeps_all_but_the_last_two_seconds(
    left: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, seen = left
    folder = out / "long"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == set()
    assert main(["recover", str(out)]) == 0
    told = capsys.readouterr().out
    summary = summary_of(folder)
    assert f"{folder}: recovered {summary['frames']} frames ({summary['duration']:.1f} s)" in told
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert (summary["state"], summary["version"]) == ("recovered", 2)
    assert summary["input"].endswith("long.mp4")
    assert summary["settings"]["save"] == KINDS.split(",")
    assert summary["frames"] >= seen
    assert (summary["objects"], summary["identities"]) == (lines_in(folder / "objects.csv") - 1, 2)
    assert summary["duration"] == pytest.approx((summary["frames"] - 1) / FPS, abs=0.01)
    assert summary["files"].keys() == {path.name for path in folder.iterdir()} - {"summary.json"}

    assert seen <= lines_in(folder / "results.jsonl") <= summary["frames"]
    assert seen - LOST < frames_of(folder / "video.mp4") <= summary["frames"]
    tracks = json.loads((folder / "results.json").read_text())
    assert len(tracks) == 2
    assert all(seen - LOST < len(track["segmentations"]) for track in tracks)
    with (folder / "objects.csv").open(newline="") as file:
        assert 2 * (seen - LOST) < len(list(csv.DictReader(file)))
    assert pyarrow.parquet.read_table(folder / "objects.parquet").num_rows > 2 * (seen - LOST)
    assert lines_in(folder / "mots.txt") > 2 * (seen - LOST)
    for kind in ("masks", "pictures"):
        files = list((folder / kind).iterdir())
        assert len(files) > seen - LOST
        assert all(cv2.imread(str(file), cv2.IMREAD_UNCHANGED) is not None for file in files)
    assert "track_id" in np.load(folder / "appearance.npz")


def test_what_was_recovered_equals_the_beginning_of_an_undisturbed_run(
    left: tuple[Path, int], killed_run: tuple[Path, int], tmp_path: Path
) -> None:
    out, _ = left
    source = killed_run[0] / "long.mp4"
    assert main(["recover", "-q", str(out)]) == 0
    kinds = "lines,csv,mots"
    assert run(source, "-o", tmp_path / "whole", "--save", kinds, "-q", seconds=8.0) == 0
    for name in ("results.jsonl", "objects.csv"):
        whole = (tmp_path / "whole" / "long" / name).read_bytes()
        assert whole.startswith((out / "long" / name).read_bytes())
    ours = (out / "long" / "mots.txt").read_text().splitlines()
    assert (tmp_path / "whole" / "long" / "mots.txt").read_text().splitlines()[: len(ours)] == ours


def test_a_second_recovery_finds_nothing_and_a_new_run_replaces_what_was_left(
    left: tuple[Path, int], killed_run: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = left
    source = killed_run[0] / "long.mp4"
    flags = ("--save", "csv", "--resume", "-q")
    shutil.copytree(out, out.parent / "again")
    assert run(source, "-o", out.parent / "again", *flags, seconds=8.0) == 0
    found = {path.name for path in (out.parent / "again" / "long").iterdir()}
    assert found == {"objects.csv", "summary.json"}
    assert main(["recover", str(out)]) == 0
    capsys.readouterr()
    assert main(["recover", str(out), str(out)]) == 0
    assert "nothing to recover" in capsys.readouterr().err
    assert main(["recover", str(out / "missing")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_recovery_that_was_killed_itself_can_be_done_again(left: tuple[Path, int]) -> None:
    out, seen = left
    folder = out / "long"
    (folder / ".video.mp4.new").write_bytes(b"half an mp4")
    (folder / ".results.json.new").write_text('[{"video_id": 1')
    assert main(["recover", "-q", str(out)]) == 0
    assert not list(folder.glob(".*"))
    assert frames_of(folder / "video.mp4") > seen - LOST


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b'{"a": 1}\n' * 3, b"a,b\n1\n"])
def test_what_a_disk_has_damaged_is_told_in_one_line_and_the_rest_recovered(
    damage: bytes, left: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = left
    folder = out / "long"
    spoilt = [
        folder / f".{name}.partial" for name in ("objects.csv", "objects.parquet", "results.json")
    ]
    for path in spoilt:
        if path.is_file():
            path.write_bytes(damage + path.read_bytes()[200:])
    assert main(["recover", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "damaged" in lines[0]
    assert "--debug" not in lines[0]
    assert (folder / "video.mp4").is_file()


def test_one_folder_that_cannot_be_recovered_does_not_stop_the_others(
    left: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = left
    shutil.copytree(out / "long", out / "bad")
    (out / "bad" / "video.mp4").mkdir()
    (out / "bad" / "video.mp4" / "mine").touch()
    assert main(["recover", str(out)]) == 2
    told = capsys.readouterr()
    assert told.err.count("sipvideo: error:") == 1
    assert str(out / "bad") in told.err
    assert "Traceback" not in told.err
    assert frames_of(out / "long" / "video.mp4") > 0
    assert lines_in(out / "bad" / "results.jsonl") > 0
    # What is hidden stays until there is no obstacle any more.
    shutil.rmtree(out / "bad" / "video.mp4")
    assert main(["recover", str(out)]) == 0
    assert frames_of(out / "bad" / "video.mp4") > 0


RECORD = """
import sys, time
from pathlib import Path
from sipvideo.live.recording import Recording
from tests.live.test_recording import NAMES, results
given = results(75, fps=25)
recording = Recording("cam", NAMES, Path(sys.argv[1]), ("video", "lines", "csv", "json"), fps=25)
print(recording.folder, flush=True)
for k, result in enumerate(given):
    while not recording.write(result):
        time.sleep(0.01)
while recording.frames < 75:
    time.sleep(0.01)
Path(sys.argv[1], "written").write_text("\\n" * recording.frames)
time.sleep(60)
"""


def test_a_recording_killed_by_kill_9_plays(tmp_path: Path) -> None:
    seen = killed(["-c", RECORD, str(tmp_path)], tmp_path / "written", 75)
    assert seen == 75
    assert main(["recover", "-q", str(tmp_path)]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    summary = summary_of(folder)
    assert (summary["state"], summary["input"], summary["frames"]) == ("recovered", "cam", 75)
    assert lines_in(folder / "results.jsonl") == 75
    assert summary["objects"] == lines_in(folder / "objects.csv") - 1
    # A live picture is not held back by the encoder: only the last piece is missing.
    assert frames_of(folder / "video.mp4") >= 75 - 14
    assert len(json.loads((folder / "results.json").read_text())[0]["segmentations"]) == 75


# Full disks


def on_small_disk(
    folder: Path, size: str, arguments: list[str]
) -> subprocess.CompletedProcess[str]:
    """Runs Python with ``folder/disk`` on a disk of that size; what is there then is copied to ``folder/after``."""
    (folder / "disk").mkdir()
    script = (
        f"mount -t tmpfs -o size={size} tmpfs '{folder}/disk' || exit 99\n"
        f'"$@"; code=$?\ncp -a "{folder}/disk" "{folder}/after"; exit $code'
    )
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        done = subprocess.run(
            [*alone, sys.executable, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this system")
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip(f"no small disk may be made here: {done.stderr.strip()}")
    return done


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose annotated video takes 1 MB."""
    pictures = np.random.default_rng(0).integers(0, 255, (100, 120, 160, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("noise") / "noise.mp4", list(pictures))


@pytest.mark.parametrize("kinds", ["video,lines", "json,video,lines,parquet"])
def test_a_disk_that_gets_full_on_the_way_ends_the_run_with_one_line_and_whole_files(
    tmp_path: Path, noise: Path, kinds: str
) -> None:
    flags = ["-o", str(tmp_path / "disk" / "out"), "--save", kinds, "-q"]
    ran = on_small_disk(
        tmp_path, "4500k", ["-m", "tests.apps.scripted", "4", "0.05", str(noise), *flags]
    )
    assert ran.returncode == 2, ran.stderr
    told = [line for line in ran.stderr.splitlines() if line.startswith("sipvideo: error: ")]
    assert len(told) == 1, ran.stderr
    assert "disk is full" in told[0] or "No space left" in told[0]
    folder = tmp_path / "after" / "out" / "noise"
    summary = summary_of(folder)
    assert summary["state"] == "failed"
    assert 0 < summary["frames"] < 100
    assert {path.name for path in folder.iterdir()} == {*summary["files"], "summary.json"}
    assert summary["files"].keys() >= {"video.mp4", "results.jsonl"}
    with VideoFile(folder / "video.mp4") as film:
        assert summary["frames"] - LOST < sum(1 for _ in film) <= summary["frames"] + 1
    assert lines_in(folder / "results.jsonl") == summary["frames"]


def test_a_disk_that_cannot_hold_the_results_is_refused_before_the_run(
    tmp_path: Path, noise: Path
) -> None:
    flags = ["-o", str(tmp_path / "disk" / "out"), "--save", "pictures,lines", "-q"]
    ran = on_small_disk(
        tmp_path, "50k", ["-m", "tests.apps.scripted", "4", "0", str(noise), *flags]
    )
    assert ran.returncode == 2, ran.stderr
    (line,) = [line for line in ran.stderr.splitlines() if "ledger" not in line]
    assert "the disk will not hold the results: at least" in line
    assert list((tmp_path / "after").rglob("*.json*")) == []
