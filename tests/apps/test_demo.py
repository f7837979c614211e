"""The default model on the example clip, through the same commands as in the README."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest

from sipvideo.apps.main import main
from tests.media import write_video
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The demo's results, one entry per frame."""
    out = tmp_path_factory.mktemp("demo")
    clip = str(EXAMPLES / "pedestrians.mp4")
    assert main(["video", clip, "-o", str(out), "--save", "lines,video", "--device", "cpu"]) == 0
    with av.open(str(out / "pedestrians" / "video.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 100
    text = (out / "pedestrians" / "results.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_demo_sees_people_in_nearly_every_frame(lines: list[dict[str, Any]]) -> None:
    people = [sum(o["class_name"] == "person" for o in line["objects"]) for line in lines]
    assert len(people) == 100
    assert sum(count > 0 for count in people) >= 90
    assert sum(people) >= 200


def test_the_demo_keeps_identities_for_many_frames(lines: list[dict[str, Any]]) -> None:
    frames = Counter(o["track_id"] for line in lines for o in line["objects"])
    assert sum(count >= 25 for identity, count in frames.items() if identity is not None) >= 3


def test_the_library_example_prints_objects_with_identities(tmp_path: Path) -> None:
    with av.open(str(EXAMPLES / "pedestrians.mp4")) as source:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)][:10]
    clip = write_video(tmp_path / "clip.mp4", pictures)
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "library.py"), str(clip)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert any(line.split()[2] == "person" for line in ran.stdout.splitlines())


def test_weights_of_another_model_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["video", str(EXAMPLES / "pedestrians.mp4"), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--config", "vis_sipmask_r50_caffe_fpn_gn_1x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sipvideo: error: ")
    assert "does not fit the configuration" in line
    assert not (tmp_path / "out").exists()
