"""Many inputs as a user runs them: lists, workers, the ledger's status, what failed once more."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sipvideo.apps import command, retry, status, video
from sipvideo.errors import SipVideoError
from sipvideo.jobs import LEDGER, Ledger, SegmenterSpec, WorkerPool
from sipvideo.summary import RunMark
from tests.apps.scripted import ScriptedSpec, clip, run
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def spec_of(args: argparse.Namespace) -> SegmenterSpec:
    return ScriptedSpec(**vars(command.spec(args)))


def run_again(*arguments: str | Path) -> int:
    args = retry.parse([str(argument) for argument in arguments])
    return command.guarded(lambda: retry.run(args, spec_of))


def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """What the ledger tells of each input, by the name of its file."""
    capsys.readouterr()
    status.main([str(folder), "--json"])
    return {Path(job["input"]).name: job for job in json.loads(capsys.readouterr().out)["jobs"]}


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos of one name, one that is none, one that is missing, in a list."""
    monkeypatch.chdir(tmp_path)
    clip(Path("a/clip.mp4"), 0.4)
    clip(Path("b/clip.mp4"), 0.2)
    Path("bad.mp4").write_text("not a video")
    lines = [
        "a/clip.mp4",
        '{"input": "b/clip.mp4", "max_frames": 3, "classes": ["runner"], "save": "csv,lines"}',
        *("bad.mp4", "later.mp4"),
    ]
    Path("list.txt").write_text("\n".join(lines))
    return Path("list.txt")


def test_a_list_is_run_and_what_failed_is_run_again_with_the_same_settings(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run("--list", clips, "-o", "out", "--save", "csv", "--max-frames", "8") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert errors == [
        "sipvideo: error: bad.mp4: not a video",
        "sipvideo: error: list.txt:4: later.mp4: no such file or folder",
    ]
    rows = (out / "b/clip.mp4_maxframes3/results.jsonl").read_text().splitlines()
    assert len(rows) == 3
    assert {o["class_name"] for row in rows for o in json.loads(row)["objects"]} == {"runner"}
    assert len((out / "a/clip.mp4/objects.csv").read_text().splitlines()) == 1 + 2 * 8

    assert status.main(["out"]) == 1
    shown = capsys.readouterr().out
    assert "4 inputs: 2 complete, 2 failed" in shown
    assert "bad.mp4: not a video" in shown

    shutil.copy("a/clip.mp4", "later.mp4")
    monkeypatch.chdir(ROOT)
    assert run_again(out) == 2
    jobs = told(out, capsys)
    assert {name: job["state"] for name, job in jobs.items()} == {
        "clip.mp4": "complete",
        "bad.mp4": "failed",
        "later.mp4": "complete",
    }
    assert len((out / "later.mp4/objects.csv").read_text().splitlines()) == 1 + 2 * 8
    [file] = jobs["later.mp4"]["files"]
    assert (file["file"], file["bytes"]) == (
        "objects.csv",
        (out / "later.mp4/objects.csv").stat().st_size,
    )

    clip(tmp_path / "bad.mp4", 0.2)
    assert run_again(out) == 0
    assert run_again(out) == 0
    assert "nothing has failed" in capsys.readouterr().err


def test_resume_passes_over_what_is_complete_and_tells_why_the_rest_is_done_again(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--list", clips, "-o", "out", "--save", "csv")
    run(*flags)
    capsys.readouterr()
    run(*flags, "--resume")
    assert capsys.readouterr().out.count("kept") == 2
    clip(Path("a/clip.mp4"), 0.6)
    run(*flags, "--resume", "--set", "tracker.birth_score=0.3")
    shown = capsys.readouterr()
    assert "inputs are done again whose input, overrides, checksum changed" in shown.err
    assert "inputs are done again whose overrides, checksum changed" in shown.err
    assert shown.out.count("complete") == 2


def test_workers_give_the_same_files_as_one_process_and_a_sorted_table(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--list", clips, "-o", "one", "--save", "csv")
    alone = capsys.readouterr().out
    run("--list", clips, "-o", "many", "--save", "csv", "--workers", "2")
    spread = capsys.readouterr().out
    first = [[line.split()[0] for line in table.splitlines()] for table in (alone, spread)]
    assert first[0] == first[1] == ["input", "clip.mp4", "clip.mp4", "bad.mp4", "later.mp4"]
    tables = sorted(path.relative_to("one") for path in Path("one").rglob("objects.csv"))
    assert len(tables) == 2
    for path in tables:
        assert (Path("one") / path).read_bytes() == (Path("many") / path).read_bytes()


def test_classes_for_all_of_a_list_reach_workers_that_check_what_they_build(
    clips: Path, tmp_path: Path
) -> None:
    args = video.parse(["--list", str(clips), "-o", "out", "--classes", "person", "--workers", "2"])
    built: list[SegmenterSpec] = []

    class Checked(WorkerPool):
        def __init__(self, spec: SegmenterSpec, *_: object) -> None:
            built.append(spec)
            raise SipVideoError("that is all")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(import_module("sipvideo.apps.video.run"), "WorkerPool", Checked)
        with pytest.raises(SipVideoError, match="that is all"):
            video.run(args, command.spec(args))
    [spec] = built
    assert spec.classes == ()
    assert spec.sealed().checksum == spec.checksum != ""


def test_a_wrong_line_ends_the_command_before_anything_is_done(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with clips.open("a") as file:
        file.write('\n{"input": "a/clip.mp4", "form": 3}\n')
    assert run("--list", clips, "-o", "out") == 2
    assert "error: list.txt:5: form: unknown; known: input, name, from" in capsys.readouterr().err
    assert not Path("out").exists()


def test_results_never_lie_beside_their_own_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = clip(Path("video/video.mp4"), 0.2).read_bytes()
    assert run("video/video.mp4", "-o", ".") == 2
    assert "its results would be saved in video, where it lies itself" in capsys.readouterr().err
    assert Path("video/video.mp4").read_bytes() == before


def test_what_another_run_has_in_work_is_left_to_it(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(Path("out") / LEDGER) as other:
        other.begin({})
        run("--list", clips, "-o", "out", "--save", "csv")  # its rows are the second run's
        mark = RunMark(Path("out/a/clip.mp4"))
        capsys.readouterr()
        assert run("a/clip.mp4", "-o", "out", "--save", "csv") == 0
        assert run("--list", clips, "-o", "out", "--save", "csv") == 2
        assert "another run is writing there" in capsys.readouterr().err
        mark.release()
    assert Path("out/b/clip.mp4_maxframes3/results.jsonl").exists()


def test_a_slow_list_on_standard_input_is_run_as_it_comes(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 0.2)
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.apps.scripted",
            "1",
            "0",
            "--list",
            "-",
            "-o",
            tmp_path / "out",
            "-q",
        ],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as running:
        assert running.stdin is not None
        running.stdin.write(f"{path}\n".encode())
        running.stdin.flush()
        until(lambda: list((tmp_path / "out").rglob("summary.json")))
        assert running.poll() is None
        running.terminate()
        assert running.wait(timeout=60) == 143


def test_secrets_of_receivers_are_not_kept_and_asked_for_again(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--list", clips, "-o", "out", "--save", "csv", "--send", "http://me:hunter2@127.0.0.1:9/x")
    assert all(
        b"hunter2" not in path.read_bytes() for path in Path("out").rglob("*") if path.is_file()
    )
    capsys.readouterr()
    assert run_again("out") == 2
    assert "had passwords, which no ledger keeps: --send ADDRESS" in capsys.readouterr().err


def test_status_of_results_without_a_ledger_makes_one(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--list", clips, "-o", "out", "--save", "csv")
    Path("out", LEDGER).unlink()
    assert status.main(["out"]) == 0
    assert "2 inputs: 2 complete" in capsys.readouterr().out
    assert status.main(["a"]) == 2
    assert "neither a ledger nor results of a run are there" in capsys.readouterr().err
