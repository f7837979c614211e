"""Patterns and the files that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipvideo.files import is_pattern, matches

FILES = ("a/1.jpg", "a/2.jpg", "a/10.jpg", "b/1.jpg", "p [1]/1.jpg", "p 1/1.jpg", "p [1]/[x] 1.jpg")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/*.jpg", ["a/1.jpg", "a/2.jpg", "a/10.jpg"]),
        ("a/[12].jpg", ["a/1.jpg", "a/2.jpg"]),
        ("[ab]/1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("p [1]/*.jpg", ["p [1]/1.jpg", "p [1]/[x] 1.jpg"]),
        ("p [12]/*.jpg", ["p 1/1.jpg"]),
        ("*/[x] 1.jpg", ["p [1]/[x] 1.jpg"]),
        ("p [1]/[x]*.jpg", ["p [1]/[x] 1.jpg"]),
        ("**/10.jpg", ["a/10.jpg"]),
        ("b/**", ["b", "b/1.jpg"]),
        ("*/9.jpg", []),
        ("c/*", []),
    ],
)
def test_a_pattern_names_its_files_in_natural_order(
    folder: Path, pattern: str, names: list[str]
) -> None:
    assert [str(path) for path in matches(pattern)] == names
    found = [str(path.relative_to(folder)) for path in matches(str(folder / pattern))]
    assert found == names


def test_what_exists_is_no_pattern(folder: Path) -> None:
    assert is_pattern("a/*.jpg")
    for text in ("p [1]", "p [1]/[x] 1.jpg", "a/1.jpg", "rtsp://host/*", "plain", "a\0b"):
        assert not is_pattern(text)
