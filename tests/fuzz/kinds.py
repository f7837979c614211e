"""Every kind of input and its share. Who only counts them imports nothing of what they need."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fuzz.case import Case

KINDS: dict[str, tuple[str, int]] = {
    "video": ("videos.video", 340),
    "video-network": ("videos.video_by_network", 15),
    "playlist": ("videos.playlist", 20),
    "picture": ("pictures.single", 60),
    "pictures": ("pictures.sequence", 60),
    "picture-annotated": ("pictures.annotated", 30),
    "data-check": ("annotations.checked", 100),
    "results": ("annotations.scored", 90),
    "evaluation": ("annotations.evaluated", 50),
    "repair": ("runs.repair", 30),
    "resume": ("runs.resume", 20),
    "recover": ("runs.recover", 20),
    "weights": ("weights.weights", 40),
    "pickle": ("weights.pickles", 30),
    "export": ("exports.exported", 5),
    "configuration": ("configurations.configuration", 40),
    "zones": ("configurations.zones", 25),
    "switches": ("configurations.switches", 40),
    "request": ("pages.request", 20),
    "request-raw": ("pages.raw_request", 15),
    "upload": ("pages.upload", 15),
    "messages": ("pages.messages", 20),
    "records": ("pages.records", 10),
}
"""Name, what makes a case, and its share in relation to the others."""

Make = Callable[[np.random.Generator, Path], Case]


def maker(kind: str) -> Make:
    """The function that writes an input of a kind into a folder, which is the current one; or of that very name."""
    place = KINDS[kind][0] if kind in KINDS else kind
    module, _, name = place.partition(".")
    make: Make = getattr(importlib.import_module(f"tests.fuzz.{module}"), name)
    return make


def kind_of(seed: int, number: int) -> str:
    """The kind of an input: the same in every run of the seed."""
    shares = np.cumsum([share for _, share in KINDS.values()])
    place = np.random.default_rng([seed, number]).integers(shares[-1])
    return list(KINDS)[int(np.searchsorted(shares, place, side="right"))]
