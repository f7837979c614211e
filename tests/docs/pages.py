"""The commands that the pages for people show, and the files that these pages give to copy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
)
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# ([\w.-]+\.(?:yaml|py|txt|json))\b")
_PROGRAMS = ("sipvideo", "python", "make", "pip")
_ENDS = (";", "&&", "||", "|", "&")


@dataclass(frozen=True)
class Command:
    """One command of a page; ``text`` as it stands there, ``words`` as a shell reads them."""

    page: str
    line: int
    text: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Given:
    """A file that a page gives, in a block whose first line is a comment with its name."""

    name: str
    content: str


def blocks(page: Path) -> Iterator[tuple[int, str, str]]:
    """Line of the first content, language and content of every fenced block."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        margin, language, content = found.groups()
        lines = [line.removeprefix(margin) for line in content.splitlines(keepends=True)]
        yield text.count("\n", 0, found.start(3)) + 1, language, "".join(lines)


def steps(page: Path) -> Iterator[Command | Given]:
    """What somebody does who follows the page from top to bottom: files that are made, commands that are typed."""
    name = page.relative_to(ROOT).as_posix()
    for line, language, content in blocks(page):
        given = _NAMED.match(content)
        if given:
            yield Given(given[1], content)
        elif language in ("", "sh"):
            yield from _commands(name, line, content)


def commands() -> list[Command]:
    """All commands of all pages."""
    return [step for page in PAGES for step in steps(page) if isinstance(step, Command)]


def named() -> set[str]:
    """Commands that stand in the prose of pages, as a whole or in part."""
    texts = (_FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES)
    found = (one for text in texts for one in re.findall(r"`(sipvideo [^`]+)`", text))
    return {" ".join(one.split()) for one in found}


def _commands(page: str, line: int, content: str) -> Iterator[Command]:
    waiting = ""
    for number, text in enumerate(content.splitlines(), line):
        waiting += text.removesuffix("\\")
        if text.endswith("\\"):
            continue
        for words in _split(waiting):
            yield Command(page, number, shlex.join(words), tuple(words))
        waiting = ""


def _split(text: str) -> Iterator[list[str]]:
    """The commands of one line of a shell, without settings of its environment and redirections."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    try:
        tokens = [*lexer, ";"]
    except ValueError:  # prose in a block, with one apostrophe
        return
    words: list[str] = []
    for token in tokens:
        if token not in _ENDS:
            words.append(token)
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words and words[0].rpartition("/")[2] in _PROGRAMS:
            yield words[: words.index(">")] if ">" in words else words
        words = []
