"""``sipvideo data check`` from the command line to its report, exit code and picture sheet."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sipvideo.apps.main import main
from sipvideo.draw import colour_of
from tests.data.sets import content, write_frames, write_json
from tests.media import write_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    write_frames(tmp_path / "images")
    return write_json(tmp_path, content())


def test_a_usable_set_ends_with_0_and_tells_what_it_holds(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(videos)]) == 0
    text = capsys.readouterr().out
    for line in (
        "videos    2",
        "frames    7",
        "3 to 4 frames",
        "dog 2 (7)",
        "usable: 0 kinds of errors",
    ):
        assert line in text


def test_an_unusable_set_ends_with_2_and_says_cause_and_remedy(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = content()
    values["annotations"][2]["id"] = 0
    write_json(videos.parent, values)
    assert main(["data", "check", str(videos)]) == 2
    text = capsys.readouterr().out
    for part in (
        "ERROR: an annotation with id 0",
        "causes:",
        "mend:",
        "annotation 0",
        "not usable: 1",
    ):
        assert part in text


def test_the_report_as_json_says_the_same(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(videos), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["usable"] is True
    assert values["objects"] == {"dog": 2, "cat": 2}
    assert values["lengths"] == [4, 3]
    assert {finding["level"] for finding in values["findings"]} == {"note"}


def test_the_sheet_shows_masks_in_the_colours_of_their_ids(videos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "out" / "sheet.png"
    assert main(["data", "check", str(videos), "--sheet", str(sheet), "-q"]) == 0
    image = cv2.imread(str(sheet), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    assert image.shape == (2 * 240, 5 * 320, 3)
    # The first object of the first video, in its first frame at (y, x) = (20, 16), five times enlarged.
    blended = 0.55 * np.array([0, 200, 60]) + 0.45 * np.array(colour_of(10))
    np.testing.assert_allclose(image[104, 82], blended, atol=6)
    # Four frames of the first video, three of the second: the other places stay empty.
    assert (image[:240, 4 * 320 :] == 24).all()
    assert (image[240:, 3 * 320 :] == 24).all()


def test_pictures_make_a_sheet_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_coco(tmp_path)
    sheet = tmp_path / "sheet.jpg"
    assert main(["data", "check", str(path), "--sheet", str(sheet)]) == 0
    assert cv2.imread(str(sheet)).shape == (240, 5 * 320, 3)
    assert f"saved {sheet}" in capsys.readouterr().err


def test_a_set_that_cannot_be_opened_gives_no_sheet_but_its_report(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos.parent / "images" / "clip0" / "00001.png").unlink()
    sheet = tmp_path / "sheet.png"
    assert main(["data", "check", str(videos), "--sheet", str(sheet)]) == 2
    out, err = capsys.readouterr()
    assert "picture files that are not there (1)" in out
    assert "no sheet" in err
    assert not sheet.exists()


def test_samples_that_cannot_be_read_stay_dark_on_the_sheet(videos: Path, tmp_path: Path) -> None:
    values = content()
    values["annotations"][0]["segmentations"][1]["counts"] = [1]
    values["annotations"][3]["id"] = 12
    write_json(videos.parent, values)
    (videos.parent / "images" / "clip0" / "00001.png").write_bytes(b"x")
    sheet = tmp_path / "sheet.png"
    assert main(["data", "check", str(videos), "--sheet", str(sheet), "-q"]) == 2
    image = cv2.imread(str(sheet))
    assert (image[:220, :320] == 24).all()
    assert (image[:220, 320:640] != 24).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "nowhere.json: cannot read the annotations"),
        (["{set}", "--split", "test"], "no video of split 'test'"),
        (["{set}", "--sheet", "sheet.nothing"], "cannot write a picture of this kind"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    videos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    line = [a.replace("{set}", str(videos)) for a in arguments]
    assert main(["data", "check", *line, "-q"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
