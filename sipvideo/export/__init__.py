"""Exported models: networks for other engines, quantised on the user's own video, checked against PyTorch."""

from __future__ import annotations

from sipvideo.export.check import LIMITS, MARGIN, Agreement, compare
from sipvideo.export.networks import open_graph, write_network
from sipvideo.export.quantise import kept_nodes, quantised

__all__ = [
    "LIMITS",
    "MARGIN",
    "Agreement",
    "compare",
    "kept_nodes",
    "open_graph",
    "quantised",
    "write_network",
]
