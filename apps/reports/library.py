"""``python apps/reports/library.py``: the page of the public Python API, from the code as it is.

Names, signatures and fields on that page are promised: a test compares it with the code, so none changes unnoticed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from typing import Any

from sipvideo.apps.reports import CHECKOUT

PAGE = CHECKOUT / "docs" / "library.md"
PUBLIC = {
    "sipvideo": ("load", "open_source"),
    "sipvideo.pipeline": ("VideoSegmenter",),
    "sipvideo.structures": ("Frame", "Detections", "FrameResult"),
    "sipvideo.masks": ("CompactMasks",),
    "sipvideo.sources": ("Source", "LatestFrame", "Excerpt"),
    "sipvideo.live": ("LiveSession", "LiveResult"),
    "sipvideo.engine": ("Engine", "FunctionEngine"),
    "sipvideo.tracker": ("Tracker", "PaperTracker"),
    "sipvideo.results": ("Results",),
    "sipvideo.results_reader": ("SavedRun",),
    "sipvideo.summary": ("Summary",),
    "sipvideo.jobs": ("Job", "Watch", "run_job"),
    "sipvideo.events": ("EventWatch",),
    "sipvideo.exchange.libraries": ("to_supervision", "from_supervision", "columns"),
    "sipvideo.evaluation": ("YTVOS", "YTVOSeval"),
    "sipvideo.errors": ("SipVideoError", "ConfigError", "SourceError", "SinkError", "DatasetError"),
}
"""What a program may use. Everything else may change with any version."""
HEAD = """# The Python API

What a program may rely on: these names, their parameters and their fields change only with a deprecation told a version
before. Everything else is how it is built. Made by `python apps/reports/library.py`, compared with the code by a test;
what each parameter means, shapes, units and errors stand in the docstrings (`help(sipvideo.load)`).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(part for module in PUBLIC for part in _module(module))])


def _module(name: str) -> list[str]:
    module = importlib.import_module(name)
    lines = [f"## `{name}`", ""]
    for member in PUBLIC[name]:
        found = getattr(module, member)
        lines += _class(member, found) if inspect.isclass(found) else [_line(member, found)]
    return [*lines, ""]


def _class(name: str, found: type) -> list[str]:
    if issubclass(found, Exception):
        return [f"- **`{name}`**: {_first(found)}"]
    lines = [f"- **`{name}`**`{_signature(found)}`: {_first(found)}"]
    if dataclasses.is_dataclass(found):
        fields = ", ".join(
            f"`{field.name}`"
            for field in dataclasses.fields(found)
            if not field.name.startswith("_")
        )
        lines.append(f"  - fields: {fields}")
    for key, member in vars(found).items():
        if key.startswith("_"):
            continue
        if isinstance(member, property):
            lines.append(f"  - `.{key}`: {_first(member)}")
        elif isinstance(member, (classmethod, staticmethod)) or inspect.isfunction(member):
            lines.append("  " + _line(f".{key}", getattr(found, key)))
    return lines


def _line(name: str, found: Any) -> str:
    return f"- `{name}{_signature(found)}`: {_first(found)}"


def _signature(found: Any) -> str:
    """Names and defaults; types are the docstring's matter."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:
        return "(...)"
    shown = [
        one.replace(annotation=inspect.Parameter.empty) for one in parameters if one.name != "self"
    ]
    text = str(inspect.Signature(shown))
    return re.sub(r"<factory>|<[^>]*object at 0x[^>]*>", "...", text)


def _first(found: Any) -> str:
    """The first sentence of its docstring."""
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    return re.sub(r":(?:class|func|mod|meth|data):`~?([^`]*)`", r"`\1`", text).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE, file=sys.stderr)
