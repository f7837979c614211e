"""The site builds without a warning and without a network; its notebooks run; nothing in it comes from another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.waiting import PATIENCE

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, strictly: a broken link or anchor, a page without a place, a cell that fails is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_of_the_docs_is_in_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>")
    links = re.compile(r"<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not loads.findall(text), page
        assert not [tag for tag in links.findall(text) if "canonical" not in tag], page
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:", style.read_text(encoding="utf-8")), style


def test_the_api_is_there_with_its_docstrings(site: Path) -> None:
    from sipvideo.apps.reports.library import PUBLIC

    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for names in PUBLIC.values():
        for name in names:
            assert re.search(rf'id="[\w.]*\.{name}"', text), name
    assert "A ready segmenter" in text


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_shown_with_what_its_cells_gave(notebook: Path, site: Path) -> None:
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    assert {"first_video": "person", "trackers": "HOTA"}[notebook.stem] in page
    assert "<table" in page
    assert "Traceback" not in page


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_the_moving_picture_comes_at_once() -> None:
    from sipvideo.apps.reports.gallery import MOST

    assert (ROOT / "docs" / "gallery" / "street.webp").stat().st_size <= MOST


def test_links_of_pages_outside_of_the_site_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "examples/README.md"):
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (name, target)
