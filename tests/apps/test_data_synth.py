"""``sipvideo data synth`` from the command line to the files."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from sipvideo.apps.main import main
from sipvideo.classes import COCO, YOUTUBE_VIS_2019
from sipvideo.synth.models import DEBIAN
from tests.synth import catalogue
from tests.waiting import PATIENCE, until

SMALL = ["--videos", "2", "--frames", "4", "--size", "64x36"]


def _synth(folder: Path, *more: str) -> int:
    return main(["data", "synth", "-o", str(folder), *SMALL, *more])


def test_shapes_become_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _synth(tmp_path, "--objects", "3") == 0
    content = json.loads((tmp_path / "instances.json").read_text())
    assert [video["length"] for video in content["videos"]] == [4, 4]
    assert all(
        (tmp_path / "images" / f).is_file() for v in content["videos"] for f in v["file_names"]
    )
    assert f"2 videos, 8 frames, {len(content['annotations'])} objects" in capsys.readouterr().out


def test_a_dataset_can_grow_and_stays_the_same(tmp_path: Path) -> None:
    assert _synth(tmp_path, "-q") == 0
    first = json.loads((tmp_path / "instances.json").read_text())
    picture = next((tmp_path / "images").rglob("*.jpg"))
    made = picture.stat().st_mtime_ns
    assert _synth(tmp_path, "-q", "--videos", "3") == 0
    grown = json.loads((tmp_path / "instances.json").read_text())
    assert len(grown["videos"]) == 3
    assert grown["videos"][:2] == first["videos"]
    assert grown["annotations"][: len(first["annotations"])] == first["annotations"]
    assert picture.stat().st_mtime_ns == made


def test_mp4_has_every_frame_at_its_time(tmp_path: Path) -> None:
    assert _synth(tmp_path, "-q", "--video", "--drop", "0.9") == 0
    content = json.loads((tmp_path / "instances.json").read_text())
    for video, path in zip(content["videos"], sorted((tmp_path / "mp4").iterdir()), strict=True):
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx(video["seconds"], abs=0.002)


def test_classes_may_be_those_of_another_dataset(tmp_path: Path) -> None:
    assert _synth(tmp_path, "-q", "--classes", "youtube_vis_2019") == 0
    content = json.loads((tmp_path / "instances.json").read_text())
    assert tuple(c["name"] for c in content["categories"]) == YOUTUBE_VIS_2019
    assert [c["id"] for c in content["categories"]] == list(range(1, 41))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--occlusion", "2"], "occlusion: expected 0..1"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
        (["--size", "9x9"], "size: expected sides"),
        (["--classes", "cat,cat"], "expected different names"),
        (["--models", "x.deb"], "--models: only scenes have it"),
        (["--camera", "pan"], "--camera: only scenes have it"),
        (["--fps", "0"], "fps: expected 1..240"),
        (["--kind", "scenes", "--cuts", "4"], "cuts: expected 0..3"),
        (["--kind", "scenes", "--classes", "cat"], "scenes have COCO's classes"),
    ],
)
def test_a_wrong_value_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _synth(tmp_path / "set", *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_other_settings_in_the_same_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _synth(tmp_path, "-q") == 0
    assert _synth(tmp_path, "-q", "--seed", "5") == 2
    assert "was made with seed 0, not 5" in capsys.readouterr().err


def test_missing_panda3d_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "panda3d.core", None)
    assert _synth(tmp_path / "set", "--kind", "scenes") == 2
    assert "pip install 'sipvideo[synth]'" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sipvideo.apps.main", "data", "synth", "-o", str(tmp_path)]
    arguments = ["--videos", "500", "--frames", "20", "--size", "640x360"]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("videos/*.json")))
    os.kill(process.pid, signal.SIGINT)
    error = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    assert "of 500 videos are done; the same command goes on" in error
    assert not list(tmp_path.glob("images/.*"))
    assert not (tmp_path / "instances.json").exists()


def _renderer() -> bool:
    try:
        importlib.import_module("panda3d.core")
    except ImportError:
        return False
    return True


@pytest.mark.skipif(not _renderer(), reason="panda3d, which renders scenes, is not installed")
def test_missing_models_say_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _synth(tmp_path / "set", "--kind", "scenes", "--models", str(tmp_path)) == 2
    assert "apt-get install sweethome3d-furniture" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


@pytest.mark.skipif(not _renderer(), reason="panda3d, which renders scenes, is not installed")
def test_scenes_become_a_dataset_with_cocos_classes(tmp_path: Path) -> None:
    models = str(catalogue.boxes(tmp_path))
    for name in ("a", "b"):
        assert _synth(tmp_path / name, "-q", "--kind", "scenes", "--models", models) == 0
    content = (tmp_path / "a" / "instances.json").read_bytes()
    assert content == (tmp_path / "b" / "instances.json").read_bytes()
    assert tuple(c["name"] for c in json.loads(content)["categories"]) == COCO
    for path in (tmp_path / "a" / "images").rglob("*.jpg"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.skipif(not _renderer(), reason="panda3d, which renders scenes, is not installed")
@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's sweethome3d-furniture is not installed")
def test_debians_models_make_a_scene(tmp_path: Path) -> None:
    assert _synth(tmp_path, "-q", "--kind", "scenes", "--videos", "1") == 0
    assert json.loads((tmp_path / "instances.json").read_text())["annotations"]
