"""Everyday switches of ``sipvideo video``: parts, looks, zones, receivers."""

from __future__ import annotations

import contextlib
import csv
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from sipvideo.apps import video
from tests.apps.scripted import clip, run, shots
from tests.media import Tone, write_video

ZONES = """
lines:
  middle: {from: [0.5, 0], to: [0.5, 1], directions: [west, east], when: centre}
zones:
  all: {polygon: [[0, 0], [1, 0], [1, 1], [0, 1]], when: touch}
lasting: 0.2
settle: 0.1
"""


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "objects.csv").open() as file:
        return list(csv.DictReader(file))


def logged(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "events" / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def pictures(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_part_of_a_video_has_its_frames_its_length_and_its_sound(tmp_path: Path) -> None:
    images = [shot.frame.image for shot in shots()]
    source = write_video(tmp_path / "street.mp4", images, tone=Tone(seconds=1.0))
    flags = ("--from", "0.2", "--to", "0:00.6", "--save", "video,csv")
    assert run(source, "-o", tmp_path / "out", *flags) == 0
    folder = tmp_path / "out" / "street"
    assert {int(row["frame"]) for row in rows(folder)} == set(range(5, 15))
    assert float(rows(folder)[0]["timestamp"]) == pytest.approx(0.2)
    with av.open(str(folder / "video.mp4")) as container:
        seconds = [frame.time for frame in container.decode(container.streams.video[0])]
    assert (seconds[0], len(seconds)) == (0.0, 10)
    with av.open(str(folder / "video.mp4")) as container:
        sound = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        times = [float(packet.pts * packet.time_base) for packet in sound]
    assert times[0] < 0.05
    assert 0.3 < times[-1] < 0.5


def test_every_and_max_frames(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4")
    assert run(source, "-o", tmp_path, "--every", "5", "--max-frames", "3", "--save", "csv") == 0
    assert {int(row["frame"]) for row in rows(tmp_path / "street")} == {0, 5, 10}


def test_a_part_past_the_end_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clip(tmp_path / "street.mp4")
    assert run(source, "-o", tmp_path, "--from", "1:00") == 2
    assert "there is no frame from 60 s on" in capsys.readouterr().err


def test_resume_notices_another_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = clip(tmp_path / "street.mp4")
    flags = ("-o", tmp_path, "--save", "csv", "--resume")
    assert run(source, *flags, "--max-frames", "4") == 0
    assert run(source, *flags, "--max-frames", "4") == 0
    assert "kept" in capsys.readouterr().out
    assert run(source, *flags, "--max-frames", "6") == 0
    assert {int(row["frame"]) for row in rows(tmp_path / "street")} == set(range(6))


def test_looks_and_backgrounds_reach_the_video(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4")
    flags = ("--draw", "silhouette:walker", "--draw", "none", "--background", "#00ff00")
    assert run(source, "-o", tmp_path, "--save", "video", *flags) == 0
    truth = shots()[12].truth.masks
    painted = pictures(tmp_path / "street" / "video.mp4")[12].astype(int)
    nowhere = ~np.logical_or.reduce([truth.dense(k) for k in range(len(truth))])
    green = np.abs(painted - (0, 255, 0)).max(2) < 60
    assert green[nowhere].mean() > 0.9
    assert green[~nowhere].mean() < 0.3


def test_trails_and_what_tags_say_reach_the_video(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4")
    made = {}
    for name, flags in {
        "usual": (),
        "bare": ("--labels", "none"),
        "ids": ("--labels", "id"),
        "trails": ("--labels", "none", "--trails", "0.5s"),
        "others": ("--labels", "none", "--trails", "0.5s", "--show-classes", "walker"),
    }.items():
        assert run(source, "-o", tmp_path / name, "--save", "video", *flags) == 0
        made[name] = pictures(tmp_path / name / "street" / "video.mp4")[20].astype(int)

    def differing(a: str, b: str) -> int:
        return int((np.abs(made[a] - made[b]).max(2) > 40).sum())

    assert differing("usual", "bare") > differing("ids", "bare") > 50
    assert differing("trails", "bare") > 50
    path = np.abs(made["trails"] - made["bare"]).max(2) > 40
    truth = shots()[20].truth.masks
    runner = truth.dense(1)
    middle = runner.any(1).nonzero()[0].mean()
    assert abs(path.nonzero()[0] - middle).min() < 5  # of the box, behind the object
    assert differing("others", "trails") > 50  # who is not drawn leaves no trail


def test_a_transparent_background_gives_a_webm_a_mov_and_pictures_of_the_masks(
    tmp_path: Path,
) -> None:
    source = clip(tmp_path / "street.mp4")
    flags = ("--background", "transparent", "--save", "video,prores,pictures", "--max-frames", "15")
    assert run(source, "-o", tmp_path, *flags) == 0
    folder = tmp_path / "street"
    assert {path.name for path in folder.iterdir()} == {
        *("video.webm", "video.mov", "pictures", "summary.json")
    }
    truth = shots()[12].truth.masks
    union = np.logical_or.reduce([truth.dense(k) for k in range(len(truth))])
    still = cv2.imread(str(folder / "pictures" / "000012.png"), cv2.IMREAD_UNCHANGED)
    assert still is not None
    opaque = still[..., 3] > 0
    assert (opaque & union).sum() / (opaque | union).sum() > 0.9
    assert not still[~opaque].any()
    assert json.loads((folder / "summary.json").read_text())["files"]["video.webm"] > 500


def test_zones_give_events_and_counts_in_the_picture(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4", 4.0)
    zones = tmp_path / "zones.yaml"
    zones.write_text(ZONES)
    assert run(source, "-o", tmp_path, "--save", "video", "--zones", zones, seconds=4.0) == 0
    folder = tmp_path / "street"
    lines = logged(folder)
    with (folder / "events" / "events.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == [row["id"] for row in table]
    crossed = [line for line in lines if line["kind"] == "crossed"]
    assert sorted(line["direction"] for line in crossed) == ["east", "west"]
    assert {line["class_name"] for line in crossed} == {"walker", "runner"}
    for line in crossed:  # both actors are in the middle after half of the time
        assert line["timestamp"] == pytest.approx(2.0, abs=0.15)
    entered = [line for line in lines if line["kind"] == "entered"]
    assert len(entered) == 2
    assert all(line["source"] == str(source) for line in lines)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["files"]["events"] > 100


@contextlib.contextmanager
def receiver(got: list[dict[str, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://user:pass-word@127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_receivers_get_the_events_and_no_file_tells_their_password(tmp_path: Path) -> None:
    source = clip(tmp_path / "street.mp4", 4.0)
    zones = tmp_path / "zones.yaml"
    zones.write_text(ZONES)
    got: list[dict[str, Any]] = []
    with receiver(got) as address:
        flags = ("--save", "csv", "--zones", zones, "--send", address)
        assert run(source, "-o", tmp_path / "out", *flags, seconds=4.0) == 0
    assert got == logged(tmp_path / "out" / "street")
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or b"pass-word" not in file.read_bytes()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--zones", "none.yaml"), "No such file"),
        (("--draw", "blury"), "expected one of masks"),
        (("--draw", "blur:walkr"), "did you mean 'walker'"),
        (("--background", "purple"), "background: expected"),
        (("--show-classes", "cat"), "unknown class 'cat'"),
        (("--send", "ftp://host/x"), "expected http://HOST/PATH"),
    ],
)
def test_a_wrong_switch_is_one_line_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, str], expected: str
) -> None:
    source = clip(tmp_path / "street.mp4")
    assert run(source, "-o", tmp_path / "out", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--from", "2", "--to", "1"),
        ("--area", "0.5,0,0.2,1"),
        ("--tiles", "9x9"),
        ("--labels", "name"),
        ("--labels", "id,none"),
        ("--trails", "0"),
        ("--trails", "2h"),
        ("--min-score", "3"),
        ("--every", "0"),
        ("--to", "1:99"),
        ("--classes", ","),
    ],
)
def test_wrong_values_are_refused_as_wrong_usage(flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stop:
        video.parse(["a.mp4", "-o", "out", *flags])
    assert stop.value.code == 2
