"""Long videos whose runs are killed, stopped, or have no room left: --resume goes on where they were."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sipvideo.summary import CHECKPOINT
from tests.apps.scripted import run, shots
from tests.apps.test_recover import killed, lines_in, on_small_disk, summary_of
from tests.media import Tone, write_video
from tests.sinks.test_going_on import packets, shown

SECONDS = 8
FLAGS = ("--checkpoint", "0.05", "-q")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with sound."""
    pictures = [shot.frame.image for shot in shots(SECONDS)]
    path = tmp_path_factory.mktemp("long") / "street.mp4"
    return write_video(path, pictures, tone=Tone(seconds=SECONDS))


def assert_same_as_one_run(street: Path, folder: Path, kinds: str, whole: Path) -> None:
    flags = ("-o", whole, "--save", kinds, "--checkpoint", "0", "-q")
    assert run(street, *flags, seconds=SECONDS) == 0
    expected = whole / "street"
    for name in ("results.json", "results.jsonl", "objects.csv", "mots.txt"):
        if (expected / name).exists():
            assert (folder / name).read_bytes() == (expected / name).read_bytes()
    if "parquet" in kinds:
        tables = [pyarrow.parquet.read_table(f / "objects.parquet") for f in (folder, expected)]
        assert tables[0].equals(tables[1])
    for name in ("masks", "pictures"):
        if (expected / name).exists():
            files = sorted(file.name for file in (expected / name).iterdir())
            assert sorted(file.name for file in (folder / name).iterdir()) == files
            for file in files:
                assert (folder / name / file).read_bytes() == (expected / name / file).read_bytes()
    assert shown(folder / "video.mp4") == shown(expected / "video.mp4")
    sound = [sorted(packets(f / "video.mp4")["audio"]) for f in (folder, expected)]
    assert [size for _, size in sound[0]] == [size for _, size in sound[1]]
    assert [t for t, _ in sound[0]] == pytest.approx([t for t, _ in sound[1]], abs=2e-4)


def test_a_video_killed_again_and_again_ends_like_one_that_was_not(
    street: Path, tmp_path: Path
) -> None:
    kinds = "video,pictures,json,lines,mots,png,csv,parquet"
    arguments = [str(street), "-o", str(tmp_path / "out"), "--save", kinds, "--resume", *FLAGS]
    command = ["-m", "tests.apps.scripted", str(SECONDS), "0.01", *arguments]
    folder = tmp_path / "out" / "street"
    rng = random.Random(3)
    for at in (90, 110, 150):
        killed(command, folder / ".results.jsonl.partial", at + rng.randrange(20))
        assert (folder / CHECKPOINT).exists()
    assert run(*arguments, seconds=SECONDS) == 0
    summary = summary_of(folder)
    assert (summary["state"], summary["frames"]) == ("complete", 25 * SECONDS)
    assert 1 <= summary["resumed"] <= 3
    assert any("was cut off, goes on after frame" in note for note in summary["notes"])
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert_same_as_one_run(street, folder, kinds, tmp_path / "whole")


def test_a_full_disk_keeps_whole_files_and_the_run_goes_on_where_there_is_room(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (25 * SECONDS, 120, 160, 3), np.uint8)
    street = write_video(tmp_path / "street.mp4", list(noise), tone=Tone(seconds=SECONDS))
    flags = ["--save", "video,json,lines", *FLAGS]
    arguments = [str(street), "-o", str(tmp_path / "disk"), *flags]
    ran = on_small_disk(
        tmp_path, "5200k", ["-m", "tests.apps.scripted", str(SECONDS), "0.01", *arguments]
    )
    assert ran.returncode == 2, ran.stderr
    folder = tmp_path / "after" / "street"
    summary = summary_of(folder)
    assert summary["state"] == "failed"
    assert (folder / CHECKPOINT).exists()
    assert lines_in(folder / "results.jsonl") == summary["frames"] < 25 * SECONDS
    assert json.loads((folder / "results.json").read_text())
    assert shown(folder / "video.mp4")
    assert run(street, "-o", tmp_path / "after", *flags, "--resume", seconds=SECONDS) == 0
    assert summary_of(folder)["resumed"] == 1
    assert_same_as_one_run(street, folder, "video,json,lines", tmp_path / "whole")
