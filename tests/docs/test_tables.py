"""Tables of the pages are what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from sipvideo.apps import main
from sipvideo.apps.video import command as video
from sipvideo.config import available
from sipvideo.results import FILES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")


def test_the_library_example_is_the_one_in_the_examples_folder() -> None:
    page = (DOCS / "guides" / "embed.md").read_text(encoding="utf-8")
    shown = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown[0] == (ROOT / "examples" / "library.py").read_text(encoding="utf-8")


def test_the_table_of_commands_is_complete() -> None:
    assert set(re.findall(r"^\| `sipvideo (\w+)", COMMANDS, re.MULTILINE)) == main.COMMANDS.keys()


def test_every_command_has_a_module() -> None:
    for name in main.COMMANDS:
        places = (ROOT / "apps" / f"{name}.py", ROOT / "apps" / name / "command.py")
        assert sum(place.is_file() for place in places) == 1


def test_the_table_of_results_is_the_one_of_the_program() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w./]+)` \|", COMMANDS, re.MULTILINE)
    assert [(kind, name.rstrip("/")) for kind, name in rows] == list(FILES.items())
    assert f"Without `--save`: `{','.join(video.DEFAULT_KINDS)}`." in COMMANDS


def test_the_table_of_models_names_configurations_that_exist() -> None:
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `([\w*+]+)`", page, re.MULTILINE)
    assert names
    for name in names:
        assert [known for known in available() if known.startswith(name.rstrip("*"))], name


def test_the_architecture_page_has_the_layers_that_are_enforced() -> None:
    from tests.test_layers import LAYERS

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^\d+ +(.*?)(?:   +.*)?$", page, re.MULTILINE)
    assert [set(line.split()) for line in reversed(drawn)] == [set(units) for units in LAYERS]


def test_every_figure_of_the_readme_stands_on_the_page_that_it_links() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "](docs/" in line]
    assert len(rows) > 8
    for row in rows:
        name = row.split("](")[1].partition(")")[0].partition("#")[0]
        page = (ROOT / name).read_text(encoding="utf-8")
        shown = re.sub(r"\]\([^)]*\)|YOLO\w+|int8|bf16|H200", "", row)
        for figure in re.findall(r"\d[\d,.]*\d|\d", shown):
            written = re.sub(r"^0\\\.", r"0?\\.", re.escape(figure))  # pages write .5, too
            assert re.search(rf"(?<![\d.]){written}(?!\d)", page), (figure, name)
