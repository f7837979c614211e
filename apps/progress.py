"""Frames done, speed and time left, for people who wait."""

from __future__ import annotations

import sys
import time


class Progress:
    """Tells on stderr: a bar on a terminal, else a line every few seconds.

    Args:
        name: of what is worked on.
        total: number of frames, None when unknown.
        quiet: say nothing.
    """

    EVERY = 5.0

    def __init__(self, name: str, total: int | None, quiet: bool) -> None:
        from tqdm import tqdm

        self.name, self.total, self.frames = name, total, 0
        self.started = self.said = time.perf_counter()
        self.speaks = not quiet and not sys.stderr.isatty()
        show = not quiet and not self.speaks
        self.bar = tqdm(desc=name, total=total, unit=" frames", disable=not show, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def rename(self, name: str) -> None:
        """From now on another thing is worked on."""
        self.name = name
        self.bar.set_description(name)

    def advance(self) -> None:
        """One more frame is done."""
        self.reach(self.frames + 1)

    def reach(self, frames: int) -> None:
        """So many frames are done."""
        self.bar.update(frames - self.frames)
        self.frames = frames
        now = time.perf_counter()
        if self.speaks and now - self.said >= self.EVERY:
            self.said = now
            print(self.line(now - self.started), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """For instance ``street.mp4: 120 of 300 frames, 24.1 per second, 8 s left``."""
        fps = self.frames / seconds
        if self.total is None:
            return f"{self.name}: {self.frames} frames, {fps:.1f} per second"
        left = max(self.total - self.frames, 0) / fps
        return f"{self.name}: {self.frames} of {self.total} frames, {fps:.1f} per second, {left:.0f} s left"
