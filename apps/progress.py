"""Frames done, speed and time left, for people who wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """Tells on stderr: a bar on a terminal, else a line every few seconds.

    Args:
        name: of what is worked on.
        total: number of frames, None when unknown.
        quiet: say nothing.
    """

    EVERY = 5.0
    UNIT = " frames"

    def __init__(self, name: str, total: int | None, quiet: bool) -> None:
        from tqdm import tqdm

        self.name, self.total, self.frames = name, total, 0
        self.started = self.said = time.perf_counter()
        self.speaks = not quiet and not sys.stderr.isatty()
        show = not quiet and not self.speaks
        self.bar = tqdm(desc=name, total=total, unit=self.UNIT, disable=not show, leave=False)

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


class Overall(Progress):
    """The same for many inputs, of which several may be in work at once.

    Args:
        total: says how many inputs there are, as far as is known by now.
        quiet: say nothing.
    """

    UNIT = " inputs"

    def __init__(self, total: Callable[[], int], quiet: bool) -> None:
        super().__init__("inputs", None, quiet)
        self._total = total
        self._working: dict[str, int] = {}
        self._all = self._settled = 0

    def begin(self, key: str) -> None:
        """An input is in work."""
        self._working[key] = 0

    def work(self, key: str, frames: int) -> None:
        """So many frames of it are done."""
        self._all += frames - self._working.get(key, 0)
        self._working[key] = frames
        self._show()

    def settle(self, key: str) -> None:
        """It is done, whatever became of it."""
        self._working.pop(key, None)
        self._settled += 1
        self._show()

    def _show(self) -> None:
        if not self.speaks:
            self.bar.total = max(self._total(), self._settled)
            self.bar.set_postfix_str(f"{self._all} frames, {len(self._working)} in work", False)
        self.reach(self._settled)

    def line(self, seconds: float) -> str:
        """For instance ``12 of 200 inputs, 2 in work; 5321 frames, 45.1 per second``."""
        return (
            f"{self._settled} of {self._total()} inputs, {len(self._working)} in work; "
            f"{self._all} frames, {self._all / seconds:.1f} per second"
        )
