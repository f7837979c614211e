"""Lists and folders as streams of inputs, each with a name that depends on nothing but the input."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.apps import video
from sipvideo.apps.video import entries as module
from sipvideo.apps.video.entries import check_list, entries, read_lines, stable_name
from sipvideo.errors import ConfigError, SipVideoError
from sipvideo.jobs import LEDGER, Entry
from sipvideo.summary import Summary


def listed(*arguments: str | Path) -> tuple[list[Entry], list[str]]:
    """Entries of a command line, and the notes."""
    told: list[str] = []
    args = video.parse([str(one) for one in (*arguments, "-o", "out")])
    return list(entries(args, told.append)), told


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_list_has_inputs_and_json_with_settings_of_their_own() -> None:
    touch("a/clip.mp4", "b/clip.mp4", "many/1.mp4", "many/2.mp4")
    lines = [
        "a/clip.mp4",
        "",
        "# not this one",
        json.dumps(
            {"input": "b/clip.mp4", "from": "1:30", "to": 120, "classes": ["person", "car"]}
        ),
        json.dumps({"input": "b/clip.mp4", "name": "gate/7", "save": "csv,lines", "every": 2}),
        "many",
        "rtsp://me:secret@camera/live?x=1",
    ]
    Path("list.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    found, told = listed("--list", "list.txt")
    assert told == []
    assert [(one.input, one.name) for one in found[:5]] == [
        ("a/clip.mp4", "a/clip.mp4"),
        ("b/clip.mp4", "b/clip.mp4_from90_to120"),
        ("b/clip.mp4", "gate/7"),
        ("many/1.mp4", "many/1.mp4"),
        ("many/2.mp4", "many/2.mp4"),
    ]
    assert found[1].options == {"from": 90.0, "to": 120.0, "classes": ("person", "car")}
    assert found[2].options == {"save": ("csv", "lines"), "every": 2}
    assert found[5].name.startswith("camera/live-")
    assert "secret" not in found[5].name
    assert not any(one.problem for one in found)


def test_a_missing_file_is_that_inputs_failure_and_tells_its_line() -> None:
    Path("list.txt").write_text("gone.mp4\n*.mp4\n")
    found, _ = listed("--list", "list.txt")
    assert found[0].problem == "list.txt:1: gone.mp4: no such file or folder"
    assert found[1].problem == ""  # opening it tells


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"input": 5}', "input: expected a text, got 5"),
        ("{}", "input: expected a text, got null"),
        ('{"input": "a.mp4", "form": 2}', "form: unknown; known: input, name, from"),
        ('{"input": "a.mp4", "from": -1}', "from: "),
        ('{"input": "a.mp4", "every": true}', "every: expected a value as of --every, got true"),
        ('{"input": "a.mp4", "save": ["csv", "sound"]}', "save: expected some of"),
        ('{"input": "a.mp4", "from": 9, "to": 3}', "to: expected a time after from"),
        ('{"input": "a.mp4", "name": "../x"}', "name: cannot be a folder's everywhere"),
        ('{"input": "a.mp4", "name": "/etc"}', "name: cannot be a folder's everywhere"),
        ('{"input": "a.mp4"', "not JSON"),
    ],
)
def test_a_wrong_line_is_told_with_its_number_before_anything_is_done(
    line: str, problem: str
) -> None:
    Path("list.txt").write_text(f"a.mp4\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        check_list("list.txt")
    assert str(caught.value).startswith(f"list.txt:3: {problem}")


@pytest.mark.parametrize("content", [b"a\0b\n", b"x" * (1 << 21)])
def test_what_is_no_list_is_one_line(content: bytes) -> None:
    Path("list.txt").write_bytes(content)
    with pytest.raises(SipVideoError, match=r"list\.txt:1: "):
        list(read_lines("list.txt"))
    with pytest.raises(SipVideoError, match="none: cannot read the list: No such file"):
        list(read_lines("none"))


def test_folders_with_all_below_them_but_no_results_and_no_loops() -> None:
    touch(
        "in/a.mp4",
        "in/cam/b.MOV",
        "in/cam/text.txt",
        "in/.hidden/c.mp4",
        "in/walk/1.png",
        "in/walk/2.png",
    )
    touch("in/out/a/video.mp4", f"in/old/{LEDGER}", "in/old/a/video.mp4", "in/done/video.mp4")
    Summary(input="x").write(Path("in/done"))
    Path("in/cam/up").symlink_to("..", target_is_directory=True)
    told: list[str] = []
    args = video.parse(["in", "--recursive", "-o", "in/out"])
    found = list(entries(args, told.append))
    assert [(one.input, one.name) for one in found] == [
        ("in/a.mp4", "in/a.mp4"),
        ("in/cam/b.MOV", "in/cam/b.MOV"),
        ("in/walk", "in/walk.pictures"),
    ]
    assert "in/out: the folder for the results is inside of the input: left out" in told
    assert "in/cam/up: a link back to a folder above it: left out" in told
    assert "folders with results of earlier runs are left out" in told


def test_names_do_not_depend_on_where_the_folder_lies_or_what_else_is_there() -> None:
    touch("one/in/x/a.mp4", "two/in/x/a.mp4", "two/in/b.mp4")
    assert [one.name for one in listed("one/in", "--recursive")[0]] == ["in/x/a.mp4"]
    assert {one.name for one in listed("two/in", "--recursive")[0]} == {"in/x/a.mp4", "in/b.mp4"}


PART = st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text and "\0" not in text)
PARTS = st.lists(PART, min_size=1, max_size=3)


@given(PARTS, PARTS)
def test_other_paths_have_other_names_that_every_file_system_takes(
    one: list[str], other: list[str]
) -> None:
    paths = [os.path.abspath(os.path.join("/", *parts)) for parts in (one, other)]
    names = [stable_name(path) for path in paths]
    assert (names[0] == names[1]) == (paths[0] == paths[1])
    for name in names:
        assert all(part and part not in (".", "..") for part in name.split("/"))


def test_a_list_is_never_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(path: str) -> Iterator[tuple[str, str]]:
        number = 0
        while True:
            number += 1
            yield f"{path}:{number}", f"{number}.mp4"

    monkeypatch.setattr(module, "read_lines", lines)
    args: Any = video.parse(["--list", "endless", "-o", "out"])
    assert [one.input for one in islice(entries(args, print), 3)] == ["1.mp4", "2.mp4", "3.mp4"]
