"""``sipvideo studio`` without its page: what it opens, what it writes, whom it invites."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest

from sipvideo.apps import command, studio
from sipvideo.apps.studio import links, opening
from sipvideo.apps.studio.command import parse
from sipvideo.studio import Document
from sipvideo.studio.tracks import lanes
from tests.apps.scripted import ScriptedSpec, clip
from tests.studio.runs import run, straight

COURSES = {0: straight(0, 9), 3: straight(12, 19), 5: straight(0, 19, top=20)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose two parts of an object are joined."""
    found = run(tmp_path / "street", COURSES, 20)
    Document(found).edit([{"op": "join", "into": 0, "from": 3}], 0)
    return found


def test_an_edited_run_goes_out_and_what_was_done_elsewhere_comes_back(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, packed = tmp_path / "out", tmp_path / "out.zip"
    assert studio.main([str(folder), "--save", "csv,json", "--to", "coco", "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} >= {"objects.csv", "results.json", "coco"}
    assert studio.main([str(folder), "--to", "cvat", "-o", str(packed), "--quiet"]) == 0
    with zipfile.ZipFile(packed) as archive:
        text = archive.read("street.xml").decode()
    assert studio.main([str(folder), "--import", str(packed)]) == 0
    assert "0 edits" in capsys.readouterr().err
    (tmp_path / "back.xml").write_text(text.replace('label="person"', 'label="robot"'))
    assert (
        studio.main([str(folder), "--import", str(tmp_path / "back.xml"), "--author", "ann"]) == 0
    )
    document = Document(folder)
    assert [lane["class"] for lane in lanes(document)] == ["robot", "robot"]
    assert document.since(2).lines[0]["author"] == "ann"


def test_annotations_become_a_run_beside_them_which_is_gone_on_with(
    folder: Path, tmp_path: Path
) -> None:
    studio.main([str(folder), "--to", "ytvis", "-o", str(tmp_path / "there"), "--quiet"])
    args = parse([str(tmp_path / "there" / "instances.json"), "--source", "film.mp4"])
    made, code = opening.opened(args)
    assert (made, code) == (tmp_path / "there" / "instances-studio", 0)
    document = Document(made)
    assert len(lanes(document)) == 2
    document.edit([{"op": "delete", "id": 0}], 0)
    assert opening.opened(args)[0] == made
    assert len(lanes(Document(made))) == 1


def test_a_video_is_segmented_first_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "spec", lambda args: ScriptedSpec())
    args = parse([str(clip(tmp_path / "street.mp4")), "--quiet"])
    made, code = opening.opened(args)
    assert (made, code) == (tmp_path / "street-studio", 0)
    document = Document(made / "street")
    assert (document.table.frame_count, len(lanes(document))) == (25, 2)
    before = (made / "street" / "results.jsonl").stat().st_mtime_ns
    assert opening.opened(args) == (made, 0)
    assert (made / "street" / "results.jsonl").stat().st_mtime_ns == before


def test_links_stay_the_same_and_are_for_their_owner_alone(folder: Path) -> None:
    asked = [str(folder), "--invite", "ann:0-9", "--invite", "bob", "--viewer", "eve"]
    first = links.people(parse(asked), folder)
    assert [(one.name, one.frames, one.edits) for one in first.values()] == [
        ("ann", (0, 9), True),
        ("bob", None, True),
        ("eve", None, False),
    ]
    assert links.people(parse(asked), folder) == first
    kept = folder / ".studio" / links.FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert set(json.loads(kept.read_text()).values()) == set(first)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{missing}"], "missing: no such file or folder"),
        (["{folder}", "--to", "cvat"], "say where the edited run goes"),
        (["{folder}", "--to", "word", "-o", "x"], "expected one of"),
        (["{folder}", "--invite", "ann:9-0"], "expected NAME or NAME:FIRST-LAST"),
        (["{folder}", "--save", "csv", "-o", "{folder}"], "stay as they are"),
        (["{notes}"], "of what format?"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    tmp_path: Path,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "notes.json").write_text("[]")
    places = {"missing": tmp_path / "missing", "folder": folder, "notes": tmp_path / "notes.json"}
    try:
        code = studio.main([text.format(**places) for text in arguments])
    except SystemExit as ended:
        code = int(str(ended.code))
    told = capsys.readouterr().err.strip().splitlines()
    assert (code, complaint in told[-1]) == (2, True), told
