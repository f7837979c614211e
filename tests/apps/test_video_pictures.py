"""``sipvideo video`` on pictures that go wrong: the others are done, and what was lost is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sipvideo.apps import command, video
from sipvideo.config import TrackerConfig
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.apps.scripted import CLASSES, ReadySpec, run, shots
from tests.media import picture

KINDS = "video,pictures,json,lines,mots,png,csv,parquet"


def save(path: Path, image: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def nothing(frame: Frame) -> Detections:
    n = np.zeros(0, np.float32)
    masks = CompactMasks.empty(frame.size)
    return Detections(n.reshape(0, 4), n, n.astype(np.int64), masks, n.reshape(0, 8))


def run_empty(*arguments: str | Path) -> int:
    """With a network that never finds anything, in pictures of any size."""
    args = video.parse([str(argument) for argument in arguments])
    empty = VideoSegmenter(nothing, build_tracker(TrackerConfig()), CLASSES)
    return command.guarded(lambda: video.run(args, ReadySpec(ready=empty)))


def test_a_cut_off_picture_costs_its_frame_alone_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, shot in enumerate(shots(0.2)):
        save(tmp_path / "walk" / f"{k}.jpg", shot.frame.image)
    cut = tmp_path / "walk" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:900])
    out = tmp_path / "out" / "walk"
    assert run(tmp_path / "walk", "-o", tmp_path / "out", "--save", KINDS) == 0
    told = summary(out)
    assert (told["state"], told["frames"]) == ("complete", 4)
    what = "1 of 5 pictures cannot be read and are left out: 1.jpg (not a picture, or damaged)"
    assert told["notes"] == [f"{tmp_path / 'walk'}: {what}"]
    assert capsys.readouterr().err.count(what) == 1
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(line["frame"], line["name"]) for line in lines] == [
        (k, f"{k}.jpg") for k in (0, 2, 3, 4)
    ]
    for track in json.loads((out / "results.json").read_text()):
        masks = track["segmentations"]
        assert [mask is not None for mask in masks] == [True, False, True, True, True]
    assert run(tmp_path / "walk", "-o", tmp_path / "out", "--save", "json", "--strict") == 2
    assert what in summary(out)["problem"]


def test_pictures_of_any_size_are_one_sequence(tmp_path: Path) -> None:
    for k, size in enumerate([(64, 96), (96, 64), (50, 70), (65, 97)]):
        save(tmp_path / "mix" / f"{k}.png", picture(k, size))
    assert run_empty(tmp_path / "mix", "-o", tmp_path / "out", "--save", KINDS) == 0
    told = summary(tmp_path / "out" / "mix")
    assert told["frames"] == 4
    fitted = "3 pictures of another size are fitted into that of the first, 96 x 64"
    assert told["notes"] == [f"{tmp_path / 'out' / 'mix' / 'video.mp4'}: {fitted}"]


def test_quoted_patterns_and_animations_each_get_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("seq/a/1.png", "seq/a/2.png", "seq/b/1.png", "p [1]/1.png"):
        save(tmp_path / name, picture(1))
    several = [Image.fromarray(picture(k)) for k in range(1, 3)]
    for name in ("moves.webp", "moves.avif"):
        save(tmp_path / name, picture(0), save_all=True, append_images=several, duration=100)
    monkeypatch.chdir(tmp_path)
    inputs = ["seq/*/*.png", "p [1]/*.png", "none/*.png", "moves.webp", "moves.avif"]
    assert run_empty(*inputs, "-o", "out", "--save", "json") == 2
    found = {path.name: summary(path)["frames"] for path in Path("out").glob("*/")}
    assert found == {"a": 2, "b": 1, "p [1]": 1, "moves": 3, "moves-2": 3}
    shown = capsys.readouterr()
    assert "none/*.png: no such file or folder: nothing matches the pattern" in shown.err
    assert "seq/b/*.png" in shown.out
    assert run_empty("p [1]/*.png", "-o", "out", "--save", "json", "--resume") == 0
    assert "kept" in capsys.readouterr().out
    save(Path("p [1]/2.png"), picture(2))
    assert run_empty("p [1]/*.png", "-o", "out", "--save", "json", "--resume") == 0
    assert summary(Path("out/p [1]"))["frames"] == 2


def test_pictures_beside_videos_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = [Image.fromarray(picture(k)) for k in range(1, 3)]
    save(tmp_path / "in" / "a.gif", picture(0), save_all=True, append_images=several)
    save(tmp_path / "in" / "b.png", picture(0))
    assert run_empty(tmp_path / "in", "-o", tmp_path / "out", "--save", "json") == 0
    note = f"1 pictures beside the videos of {tmp_path / 'in'} are left out"
    assert note in capsys.readouterr().err
    assert summary(tmp_path / "out" / "a")["notes"] == [note]
