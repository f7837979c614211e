"""Prints what cameras, streams or films show right now: python examples/live.py [0 | rtsp://... | FILE]..."""

import sys

import sipvideo
from sipvideo.live import LiveSession

sources = sys.argv[1:] or ["0"]
with LiveSession(sipvideo.load(), dict(zip(sources, sources, strict=True))) as session:
    for live in session:
        result = live.result.tracked()
        names = [session.class_names[label] for label in result.detections.labels]
        objects = dict(zip(result.track_ids.tolist(), names, strict=True))
        print(f"{live.source}, {live.age() * 1000:.0f} ms ago: {objects}")
