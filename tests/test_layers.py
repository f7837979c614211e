"""The layers of docs/architecture.md, and the list of packages in setup.cfg, hold for the code as it is."""

from __future__ import annotations

import ast
import configparser
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    {
        "annotations",
        "summary",
        "files",
        "forks",
        "pictures",
        "remote",
        "errors",
        "extras",
        "classes",
        "config",
        "configs",
        "masks",
        "boxes",
        "structures",
        "transforms",
        "stages",
        "machine",
        "charts",
        "clock",
        "yaml_files",
        "cuts",
    },
    {
        "model",
        "tracker",
        "data",
        "synth",
        "sources",
        "sinks",
        "draw",
        "postprocess",
        "carry",
        "veil",
    },
    {"events"},
    {"showing"},
    {"engine", "runtime", "training", "evaluation", "results", "repair"},
    {"pipeline", "recovery", "results_reader"},
    {"build", "live", "export", "bench", "exchange"},
    {"jobs"},
    {"studio"},
    {"web"},
    {"apps"},
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}
ONLY_IN = {
    "cv2": {
        "carry",
        "cuts",
        "veil",
        "events",
        "live",
        "sources",
        "sinks",
        "draw",
        "transforms",
        "postprocess",
        "data",
        "synth",
        "tracker",
        "exchange",
        "studio",
        "apps",
    },
    "av": {"sources", "sinks", "apps"},
    "torch": {
        "model",
        "training",
        "build",
        "data",
        "apps",
        "bench",
        "engine",
        "runtime",
        "export",
    },
}
"""Which parts may import what is large or converts pictures."""


def _modules() -> dict[str, Path]:
    """Dotted name of every module of the package, as installed -> its file."""
    found = {}
    for folder, package in (("sipvideo", "sipvideo"), ("apps", "sipvideo.apps")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _unit(module: str) -> str:
    """The part of the package a module belongs to; the front door sipvideo/__init__.py is the empty text."""
    return f"{module}.".split(".")[1]


def _imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports anywhere, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = MODULES[module].name == "__init__.py"
                parents = module.split(".")[: None if is_package else -1]
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join((*kept, base)) if base else ".".join(kept)
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield inside if inside in MODULES else base


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def test_every_part_of_the_package_has_a_layer() -> None:
    units = {_unit(module) for module in MODULES} - {""}
    assert units - LEVEL.keys() == set()


def test_imports_only_go_down_the_layers() -> None:
    wrong = []
    for module in MODULES:
        unit = _unit(module)
        for imported in _imports(module, _tree(module)) if unit in LEVEL else ():
            if imported.split(".")[0] != "sipvideo" or _unit(imported) in (unit, ""):
                continue
            target = _unit(imported)
            down = LEVEL[target] < LEVEL[unit]
            sibling = LEVEL[target] == LEVEL[unit] == 0
            if not (down or sibling):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_large_library_stays_in_its_parts(library: str) -> None:
    users = {_unit(m) for m in MODULES for i in _imports(m, _tree(m)) if i.split(".")[0] == library}
    assert users <= ONLY_IN[library]


NEEDS_TORCH = (
    "torch",
    "torchvision",
    "sipvideo.apps.reports",
    "sipvideo.model",
    "sipvideo.training",
    "sipvideo.engine.cuda",
    "sipvideo.engine.precision",
    "sipvideo.engine.recording",
    "sipvideo.engine.tensors",
    "sipvideo.runtime.graph",
    "sipvideo.runtime.pytorch",
)
"""What may need PyTorch when it is imported; everything else runs from the base installation."""


def _needs_torch(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{part}." for part in NEEDS_TORCH))


def _imported_at_once(module: str) -> set[str]:
    """Dotted names that importing a module imports: not those for types alone, nor those inside of functions."""
    statements, found = list(_tree(module).body), set()
    while statements:
        statement = statements.pop()
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found |= set(_imports(module, statement))
        elif isinstance(statement, ast.Try):
            statements += statement.body
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            statements += statement.body + statement.orelse
    return found


def test_the_base_installation_imports_without_pytorch() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if not _needs_torch(module)
        for name in _imported_at_once(module)
        if _needs_torch(name)
    ]
    assert wrong == []


def test_setup_cfg_lists_every_package() -> None:
    settings = configparser.RawConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(settings["options"]["packages"].split())
    packages = {m for m, path in MODULES.items() if path.name == "__init__.py"}
    assert listed == packages | {"sipvideo.configs"}


def test_the_rules_see_a_relative_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "sipvideo.model.head", Path("head.py"))
    for name in ("sipvideo.tracker", "sipvideo.tracker.paper", "sipvideo.model.fpn"):
        monkeypatch.setitem(MODULES, name, Path("there.py"))
    tree = ast.parse("from .. import tracker\nfrom ..tracker import paper\nfrom . import fpn")
    found = list(_imports("sipvideo.model.head", tree))
    assert found == ["sipvideo.tracker", "sipvideo.tracker.paper", "sipvideo.model.fpn"]
