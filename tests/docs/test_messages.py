"""The page of messages quotes what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "guides" / "troubleshooting.md"
QUOTED = re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
VARIABLE = "\0"


def _texts(node: ast.AST) -> Iterator[str]:
    """Every text of the code as a person gets it, with a mark where a value stands."""
    for one in ast.walk(node):
        if isinstance(one, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else VARIABLE  # type: ignore[misc]
                for part in one.values
            )
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = (path for folder in ("sipvideo", "apps") for path in (ROOT / folder).rglob("*.py"))
    return [text for path in files for text in _texts(ast.parse(path.read_bytes()))]


def test_there_are_messages_from_every_part() -> None:
    assert len(QUOTED) > 30


@pytest.mark.parametrize("message", QUOTED)
def test_the_message_is_one_of_the_program(message: str, texts: list[str]) -> None:
    parts = message.split("...")
    pattern = re.compile(f".*?{VARIABLE}.*?".join(map(re.escape, parts)), re.DOTALL)
    longest = max(parts, key=len)
    assert any(longest in text and pattern.search(text) for text in texts), message


def test_pages_that_the_program_names_exist(texts: list[str]) -> None:
    for name in {name for text in texts for name in re.findall(r"docs/[\w/]+\.md", text)}:
        assert (ROOT / name).is_file(), name
