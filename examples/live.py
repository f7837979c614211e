"""Prints what cameras, streams or films show right now: python examples/live.py [0 | rtsp://... | FILE]..."""

import sys

import sipvideo
from sipvideo.live import LiveSession

sources = sys.argv[1:] or ["0"]
with LiveSession(sipvideo.load(), dict(zip(sources, sources, strict=True))) as session:
    for live in session:
        names = [session.class_names[label] for label in live.result.detections.labels]
        ids = live.result.track_ids.tolist()
        print(
            f"{live.source}, {live.age() * 1000:.0f} ms ago: {dict(zip(ids, names, strict=True))}"
        )
