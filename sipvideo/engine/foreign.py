"""A user's own detector in the model's place."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sipvideo.engine.contract import Engine, FunctionEngine
from sipvideo.errors import ConfigError
from sipvideo.structures import Detections, Frame


def foreign_engine(
    text: str, min_score: float | None = None, max_objects: int | None = None
) -> tuple[Engine, Sequence[str] | None]:
    """Another program's detector as an engine.

    Args:
        text: ``module:name``; the module may lie in the current folder. The name is an :class:`Engine`, or a function
            from :class:`Frame` to :class:`Detections`. Names of classes in label order are its attribute
            ``class_names``, or the module's.
        min_score: score from which an object is reported.
        max_objects: most objects of a frame, the best ones.

    Returns:
        the engine, and names of classes in label order; None: it tells none.

    Raises:
        ConfigError: there is no such thing; what it raises when imported is told.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError(f"--segmenter {text}: expected MODULE:NAME")
    try:
        _here()
        place = importlib.import_module(module)
        found = functools.reduce(getattr, name.split("."), place)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--segmenter {text}: cannot be imported: {what}") from error
    if not isinstance(found, Engine) and not callable(found):
        raise ConfigError(
            f"--segmenter {text}: expected a function or an engine, got {found!r:.60}"
        )
    names = getattr(found, "class_names", None) or getattr(place, "class_names", None)
    engine = found if isinstance(found, Engine) else FunctionEngine(found)
    if min_score is not None or max_objects is not None:
        engine = FunctionEngine(functools.partial(_limited, engine, min_score or 0.0, max_objects))
    engine.model = engine.model or text
    return engine, None if names is None else tuple(names)


def foreign_file(text: str) -> Path | None:
    """Where the module of :func:`foreign_engine` is; None where it is no file."""
    _here()
    try:
        found = importlib.util.find_spec(text.partition(":")[0])
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.has_location and found.origin else None


def _here() -> None:
    """Modules in the current folder are found, as python itself does it, unlike the commands that pip installs."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _limited(engine: Engine, least: float, most: int | None, frame: Frame) -> Detections:
    found = engine.detect([frame])[0]
    return found[np.flatnonzero(found.scores >= least)[:most]]
