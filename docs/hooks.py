"""What MkDocs does not do itself: runs and shows notebooks, lists the public API, links files outside of docs/.

Pages outside of docs/ stand in the site as if they were in it; links are written as they work in the checkout.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PATIENCE = 300
"""Seconds that a cell of a notebook may take."""
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_PYTHON = """# The Python API

What a program may rely on, from the docstrings. [Names that stay](../library.md) has the same on one short page.
Boxes are x0, y0, x1, y1 in frame pixels, x1 and y1 exclusive; sizes are (height, width); times are seconds.
"""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds what is not a file of docs/."""
    from mkdocs.structure.files import File

    def add(name: str, **content: Any) -> None:
        files.append(File.generated(config, name, **content))

    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        add(name, content=(ROOT / name).read_text(encoding="utf-8"))
    add("reference/python.md", content=_public())
    notebooks = sorted((DOCS / "notebooks").glob("*.ipynb"))
    with ThreadPoolExecutor() as pool:
        for name, content in (found for one in pool.map(shown, notebooks) for found in one.items()):
            add(f"notebooks/{name}", content=content)
    for name in sorted(
        {path for file in files.documentation_pages() for path in _outside(file.src_uri)}
    ):
        if files.get_file_from_path(name) is None:
            add(name, abs_src_path=str(ROOT / name))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links to what stands outside of docs/, and from there, lead to where the site has it."""
    return _LINK.sub(lambda found: _in_site(found[1], page.file.src_uri), markdown)


def shown(notebook: Path) -> dict[str, str | bytes]:
    """A notebook, run now, as a page with what its cells gave, and the page's pictures.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    content = nbformat.read(notebook, as_version=4)
    NotebookClient(
        content, timeout=PATIENCE, resources={"metadata": {"path": str(notebook.parent)}}
    ).execute()
    text, resources = MarkdownExporter().from_notebook_node(
        content, resources={"unique_key": notebook.stem, "output_files_dir": notebook.stem}
    )
    source = f"[The notebook]({notebook.name}), run when this site was built.\n\n"
    heading, _, rest = text.lstrip().partition("\n")
    return {
        f"{notebook.stem}.md": f"{heading}\n\n{source}{rest}",
        notebook.name: notebook.read_bytes(),
        **resources["outputs"],
    }


def _public() -> str:
    from sipvideo.apps.reports.library import PUBLIC

    lines = [_PYTHON]
    for module, names in PUBLIC.items():
        lines += [f"## `{module}`", ""]
        lines += [f"::: {module}.{name}\n    options: {{heading_level: 3}}\n" for name in names]
    return "\n".join(lines)


def _place(uri: str) -> Path:
    """Where a page of the site is in the checkout."""
    return DOCS / uri if (DOCS / uri).parent.is_dir() and not (ROOT / uri).is_file() else ROOT / uri


def _outside(uri: str) -> set[str]:
    """Files outside of docs/ that a page links, by their path in the checkout."""
    place = _place(uri)
    if not place.is_file():
        return set()
    targets = (
        (place.parent / target).resolve()
        for target in _LINK.findall(place.read_text(encoding="utf-8"))
    )
    return {
        path.relative_to(ROOT).as_posix()
        for path in targets
        if path.is_file() and path.is_relative_to(ROOT) and not path.is_relative_to(DOCS)
    }


def _in_site(target: str, uri: str) -> str:
    place = _place(uri)
    path = (place.parent / target).resolve()
    if not path.is_relative_to(ROOT) or (place.is_relative_to(DOCS) and path.is_relative_to(DOCS)):
        return target
    name = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()
    return os.path.relpath(name, Path(uri).parent).replace(os.sep, "/")
