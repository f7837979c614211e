"""Identities for detections: which object of this frame is which object of the frames before."""

from __future__ import annotations

from sipvideo.config import TrackerConfig
from sipvideo.tracker.explain import Explanation, Pair, Reunion
from sipvideo.tracker.paper import PaperTracker
from sipvideo.tracker.track import Track
from sipvideo.tracker.tracker import Tracker

__all__ = ["Explanation", "Pair", "PaperTracker", "Reunion", "Track", "Tracker", "build_tracker"]


def build_tracker(config: TrackerConfig) -> Tracker | PaperTracker:
    """The tracker that the configuration's preset names; each call gives one with a memory of its own."""
    return PaperTracker(config) if config.preset == "paper" else Tracker(config)
