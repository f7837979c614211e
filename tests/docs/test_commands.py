"""Every command that a page shows is understood by the program, and those that take seconds do what the page says."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from sipvideo.apps import command as command_line
from sipvideo.apps.main import main
from tests.docs import marks, pages, places
from tests.docs.pages import ROOT, Command, Given

COMMANDS = pages.commands()
RUN = [step for step in COMMANDS if not (marks.why_outside(step) or marks.why_heavy(step))]
PAGES = sorted({step.page for step in RUN} - {"README.md"})
"""The README's commands are the guides', too."""


def of(program: str) -> list[Command]:
    return [one for one in COMMANDS if one.words[0].rpartition("/")[2] == program]


@pytest.mark.parametrize("shown", of("sipvideo"), ids=str)
def test_the_program_understands_the_command(
    shown: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[bool] = []
    monkeypatch.setattr(command_line, "guarded", lambda _: reached.append(True) or 0)
    assert main(shown.words[1:]) == 0
    assert reached


def test_commands_and_flags_in_prose_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may lack an input or an output, or have a word such as DIR in its place."""
    monkeypatch.setattr(command_line, "guarded", lambda _: 0)
    wrong = re.compile(r"unrecognized|ambiguous|expected (?!one|at least)|invalid choice: '[^A-Z']")
    for text in pages.named():
        with contextlib.suppress(SystemExit):
            main(shlex.split(text)[1:])
        assert not wrong.search(capsys.readouterr().err.rpartition("error: ")[2]), text


def test_extras_that_are_installed_exist() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = {
        e
        for c in of("pip")
        for names in re.findall(r"\[([\w,]+)\]", c.text)
        for e in names.split(",")
    }
    assert asked
    assert asked <= set(config["options.extras_require"])


def test_targets_that_are_made_exist() -> None:
    targets = set(
        re.findall(r"^([\w-]+)(?: [\w-]+)*:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    targets |= {"test"}
    assert {one.words[1] for one in of("make")} <= targets


def test_scripts_that_are_run_exist() -> None:
    given = {
        step.name for page in pages.PAGES for step in pages.steps(page) if isinstance(step, Given)
    }
    for one in of("python"):
        if not one.words[1].startswith("-"):
            assert one.words[1] in given or (ROOT / one.words[1]).is_file(), one


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return places.make(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_work_one_after_the_other(
    page: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shutil.copytree(inputs, tmp_path / "here", symlinks=True, copy_function=os.link)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    for step in pages.steps(ROOT / page):
        if isinstance(step, Given):
            Path(step.name).unlink(missing_ok=True)  # it may be a link to what other pages have
            Path(step.name).write_text(step.content, encoding="utf-8")
        elif step in RUN:
            assert main(step.words[1:]) == 0, step


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda path: path.name)
def test_python_and_yaml_of_the_page_are_well_formed(page: Path) -> None:
    readers = {
        "python": lambda text: compile(text, page.name, "exec", dont_inherit=True),
        "yaml": yaml.safe_load,
    }
    for line, language, content in pages.blocks(page):
        if language in readers:
            assert readers[language](content) is not None, (page.name, line)


@pytest.mark.parametrize("pattern", [*marks.OUTSIDE, *marks.HEAVY, *marks.SHORTER])
def test_no_mark_is_left_of_a_command_that_no_page_shows(pattern: str) -> None:
    assert [one for one in COMMANDS if re.search(pattern, one.text)]
