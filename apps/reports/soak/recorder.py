"""A live session whose recording is switched on and off, part of a soak: ``python -m ... ADDRESS FOLDER``."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path

import av

from sipvideo.apps import command, flags
from sipvideo.live.recording import Recording
from sipvideo.live.session import LiveSession


def main(address: str, folder: str) -> int:
    """Records until a signal comes; says of every recording, a line of JSON each, what became of it."""
    parser = argparse.ArgumentParser()
    flags.add_model_flags(parser)
    model = command.segmenter(parser.parse_args([]))
    chance = random.Random(0)
    with LiveSession(model, {"camera": address}) as session:
        while True:
            recording = Recording("camera", session.class_names, folder)
            end = time.monotonic() + chance.uniform(5, 40)
            while time.monotonic() < end:
                live = session.next(0.5)
                if live is not None:
                    live.shown()
                    recording.write(live.result)
            recording.stop()
            print(json.dumps(_looked_at(recording)), flush=True)
            shutil.rmtree(recording.folder, ignore_errors=True)
            pause = time.monotonic() + chance.uniform(0, 10)
            while time.monotonic() < pause:
                session.next(0.5)


def _looked_at(recording: Recording) -> dict[str, object]:
    video = Path(recording.folder, "video.mp4")
    playable = 0
    if video.is_file():
        with av.open(str(video)) as container:
            playable = sum(1 for _ in container.decode(video=0))
    problem = str(recording.problem or "")
    return {
        "frames": recording.frames,
        "playable": playable,
        "dropped": recording.dropped,
        "problem": problem,
    }


if __name__ == "__main__":
    sys.exit(command.guarded(lambda: main(*sys.argv[1:3])))
