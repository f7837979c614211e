"""The command as a process."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
from websockets.sync.client import connect

from sipvideo.apps import listening, serve
from sipvideo.apps.command import guarded
from sipvideo.web.jobs import Jobs
from sipvideo.web.settings import Settings
from tests.apps.scripted import clip
from tests.waiting import PATIENCE, until
from tests.web.serving import receive_result, segmenter

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def command(
    *arguments: str | Path, delay: float = 0.0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and the address that it printed."""
    run = [sys.executable, "-m", "tests.web.scripted_server", str(delay), "--port", "0"]
    process = subprocess.Popen(
        [*run, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"sipvideo: open (http://\S+) \(Ctrl-C ends\)", line)
        assert found, line + process.communicate()[1]
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_everything_and_what_was_in_work_can_be_played(
    tmp_path: Path, street: Path
) -> None:
    film = clip(tmp_path / "long.mp4", 4.0)
    data = tmp_path / "data"
    with command("--source", street, "--data", data, delay=0.1) as (process, address):
        key = httpx.post(f"{address}api/jobs", content=film.read_bytes(), timeout=PATIENCE).json()[
            "id"
        ]
        live = f"{address}api/sources/1/live".replace("http", "ws")
        with connect(live) as viewer, connect(f"{address}api/webcam".replace("http", "ws")):
            receive_result(viewer)
            lines = httpx.stream("GET", f"{address}api/sources/1/results")
            with lines as answer:
                next(answer.iter_lines())
                until(lambda: httpx.get(f"{address}api/jobs/{key}").json()["frames"] >= 3)
                process.send_signal(signal.SIGINT)
                _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert complaints == "sipvideo: error: interrupted\n"
    with av.open(str(data / key / "results" / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 3
    assert not list(data.rglob(".*.partial"))


def test_an_upload_that_a_killed_server_was_at_is_kept(tmp_path: Path) -> None:
    film = clip(tmp_path / "long.mp4", 4.0)
    data = tmp_path / "data"
    with command("--data", data, delay=0.05) as (process, address):
        answer = httpx.post(f"{address}api/jobs", content=film.read_bytes(), timeout=PATIENCE)
        key = answer.json()["id"]
        until(lambda: httpx.get(f"{address}api/jobs/{key}").json()["frames"] >= 55)
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert not (data / key / "results" / "video.mp4").exists()
    jobs = Jobs(segmenter(), Settings(data=data))
    try:
        job = jobs.get(key)
        assert job is not None
        assert job.state == "interrupted"
        assert job.frames >= 55
        results = {path.name: path for path in jobs.results(job)}
        assert results.keys() == {"video.mp4", "results.json", "results.jsonl", "objects.csv"}
        with av.open(str(results["video.mp4"])) as container:
            assert sum(1 for _ in container.decode(video=0)) > 5
        assert len(results["results.jsonl"].read_text().splitlines()) == job.frames
    finally:
        jobs.close()


def complaint_about(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the command refuses to start."""
    args = serve.parse(["--port", "0", *arguments])
    assert guarded(lambda: serve.run(args, lambda _: segmenter())) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("sipvideo: error: ")
    assert complaint.count("\n") == 1
    return complaint


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = complaint_about(capsys, "--port", str(port))
    assert f"127.0.0.1:{port}: cannot listen there: " in told


def test_beyond_this_machine_a_token_is_made_and_asked_for() -> None:
    with command("--host", "0.0.0.0") as (_, address):
        token = re.search(r"\?token=(\S{16,})", address)
        assert token is not None
        port = re.search(r":(\d+)/", address)
        assert port is not None
        here = f"http://127.0.0.1:{port[1]}/api/health"
        assert httpx.get(here).status_code == 401
        assert httpx.get(here, headers={"authorization": f"Bearer {token[1]}"}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--token", "secret-word"], False),
        ([], False),
    ],
)
def test_a_token_that_was_made_is_told_even_to_quiet_people(
    arguments: list[str], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    args = serve.parse([*arguments, "--quiet"])
    listening.welcome(args, "http://camera.local/", listening.token(args))
    assert ("?token=" in capsys.readouterr().out) is told


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--source", "missing.mp4"], "missing.mp4: no such file"),
        (["--data", "/dev/null/x"], "/dev/null/x: cannot keep uploads there"),
        (["--tls", "missing.pem", "missing.key"], "missing.pem: cannot be used for https"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid:"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert complaint in complaint_about(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--max-upload", "lots"],
        ["--keep", "0"],
        ["--max-jobs", "0"],
        ["--token", ""],
        ["x"],
    ],
)
def test_wrong_usage_is_told_before_anything_loads(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        serve.parse(arguments)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err or arguments == ["x"]


def test_amounts_are_read_with_their_units() -> None:
    args = serve.parse(["--max-upload", "2.5MB", "--keep", "90 min", "--budget", "0.05s"])
    assert (args.max_upload, args.keep, args.budget) == (2.5 * 2**20, 5400, 50)
    defaults = serve.parse([])
    assert (defaults.max_upload, defaults.keep, defaults.max_duration) == (500 * 2**20, 3600, 600)
