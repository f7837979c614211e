"""``sipvideo webcam`` with a scripted segmenter, as a process: python -m tests.apps.scripted_webcam ARGUMENT..."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sipvideo.apps import command
from sipvideo.apps.webcam import command as webcam

if TYPE_CHECKING:
    from argparse import Namespace

    from sipvideo.pipeline import VideoSegmenter

SECONDS = 4.0
"""Length of the clip that is played in a loop."""


def build(args: Namespace) -> VideoSegmenter:
    """Sees in the looped scene what is really there. Imports late: the window comes before PyAV."""
    from dataclasses import replace

    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Detections, Frame
    from tests.apps import scripted

    known = scripted.segmenter(SECONDS)

    def detect(frame: Frame) -> Detections:
        return known.segment(replace(frame, index=frame.index % round(SECONDS * 25)))

    return VideoSegmenter(detect, known.tracker, known.class_names)


if __name__ == "__main__":
    args = webcam.parse(sys.argv[1:])
    sys.exit(command.guarded(lambda: webcam.run(args, build)))
