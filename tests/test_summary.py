"""Summaries: typed, versioned, whole or absent; runs that are in work, and runs that were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sipvideo.errors import SinkError
from sipvideo.summary import MARK, RunMark, Summary, writable


def test_a_summary_reads_back_as_it_was(tmp_path: Path) -> None:
    assert Summary(input="a.mp4").version == 2
    summary = Summary(input="a.mp4", state="complete", notes=["one"], settings={"fps": 25.0})
    summary.count(3, 2)
    summary.files = {"video.mp4": 1234}
    summary.write(tmp_path)
    assert Summary.read(tmp_path) == summary
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_names_of_other_encodings_are_written_as_escapes(tmp_path: Path) -> None:
    summary = Summary(input="caf\udce9.mp4", settings={"input": ["caf\udce9.mp4", None]})
    summary.notes.append("caf\udce9.mp4: odd")
    summary.write(tmp_path)
    read = Summary.read(tmp_path)
    assert read is not None
    assert read.input == "caf\\udce9.mp4"
    assert read.settings == writable(summary.settings)
    assert read.notes == ["caf\\udce9.mp4: odd"]
    assert read.text() == summary.text()


def test_summaries_of_former_versions_are_read(tmp_path: Path) -> None:
    old = {"input": "a.mp4", "settings": {"fps": 25.0}, "state": "complete", "problem": ""}
    figures = {"frames": 10, "objects": 20, "seconds": 1.5, "tracks": 2}
    (tmp_path / "summary.json").write_text(json.dumps({**old, **figures}))
    summary = Summary.read(tmp_path)
    assert summary is not None
    assert (summary.version, summary.identities, summary.objects) == (1, 2, 20)
    assert (summary.seconds, summary.settings) == (1.5, {"fps": 25.0})

    recording = {"input": "cam", "state": "failed", "problem": "x", "begun": "2026-01-02T03:04:05"}
    figures = {"frames": 10, "dropped": 3, "seconds": 12.5}
    (tmp_path / "summary.json").write_text(json.dumps({**recording, **figures}))
    summary = Summary.read(tmp_path)
    assert summary is not None
    assert (summary.duration, summary.dropped, summary.identities) == (12.5, 3, None)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"input": 3, "version": 2}', "\xff", "null"]
)
def test_what_is_no_summary_is_none(tmp_path: Path, text: str) -> None:
    assert Summary.read(tmp_path) is None
    (tmp_path / "summary.json").write_text(text, encoding="latin-1")
    assert Summary.read(tmp_path) is None


def test_a_summary_that_cannot_be_written_leaves_none_of_an_earlier_run(tmp_path: Path) -> None:
    Summary(input="a.mp4", state="complete").write(tmp_path)
    (tmp_path / ".summary.json.partial").mkdir()
    with pytest.raises(SinkError, match=r"summary\.json: cannot be written"):
        Summary(input="a.mp4", state="failed").write(tmp_path)
    assert Summary.read(tmp_path) is None


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    mark = RunMark(tmp_path / "a")
    mark.write(Summary(input="a.mp4"))
    with pytest.raises(SinkError, match="another run is writing there"):
        RunMark(tmp_path / "a")
    running = Summary.read(tmp_path / "a", MARK)
    assert running is not None
    assert running.state == "running"
    mark.release()
    mark.release()
    assert list((tmp_path / "a").iterdir()) == []
    RunMark(tmp_path / "a").release(keep=True)
    assert (tmp_path / "a" / MARK).exists()
    RunMark(tmp_path / "a").release()


def test_the_mark_of_a_killed_run_is_free(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from sipvideo.summary import RunMark\n"
        "mark = RunMark(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(SinkError, match="another run"):
        RunMark(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / MARK).exists()
    RunMark(tmp_path).release()
