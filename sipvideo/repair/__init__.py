"""Results looked at again with what came later: identities joined, parted and dropped, short gaps filled.

``look_ahead`` does it while a run goes on, some seconds late; ``Repair`` does the same to a whole run afterwards.
Both take results and give results; what they change is told as :class:`Change`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from sipvideo.config import RepairConfig
from sipvideo.repair.changes import Change
from sipvideo.repair.gaps import Gaps
from sipvideo.repair.identities import Identities
from sipvideo.repair.log import LOG, LOG_LINES, ChangeLog
from sipvideo.repair.window import Window
from sipvideo.structures import FrameResult

__all__ = ["LOG", "LOG_LINES", "Change", "ChangeLog", "Repair", "look_ahead"]


def look_ahead(
    results: Iterable[FrameResult],
    seconds: float,
    config: RepairConfig,
    changed: Callable[[Change], None] = lambda change: None,
    memory: Mapping[str, Any] | None = None,
) -> Generator[FrameResult, None, None]:
    """The same frames, each once ``seconds`` of source time more have been seen, with what is known by then.

    Memory holds the frames of that time, with their pictures. A result with a ``memory`` gets what is known here added
    to it (``lookahead``).

    Args:
        results: of one video, in order.
        seconds: of delay; what is longer cannot be joined over a gap that has not ended yet, nor filled.
        config: what is joined, dropped and filled.
        changed: called with every change.
        memory: what an earlier run added to a result, to go on after it: ``results`` begin with the frame that follows.

    Raises:
        LookupError, TypeError, ValueError: ``memory`` is none.
    """
    window = Window(seconds, config, changed)
    if memory is not None:
        results = window.taken_up(results, memory)
    return window.passed(results)


class Repair:
    """A whole run decided anew: every frame is observed first, then they are given again and repaired.

    Args:
        config: what is joined, dropped and filled.
        changed: called with every change.
    """

    def __init__(
        self, config: RepairConfig, changed: Callable[[Change], None] = lambda change: None
    ) -> None:
        self._config, self._changed = config, changed
        self._identities = Identities(config, changed)

    def observe(self, result: FrameResult) -> None:
        """The next frame of the run; its picture is not looked at."""
        self._identities.observe(result)

    def repaired(
        self, results: Iterable[FrameResult], *, pictures: bool
    ) -> Generator[FrameResult, None, None]:
        """The observed frames once more, all or the first of them, repaired.

        Args:
            results: as observed, now with their pictures if there are any.
            pictures: there are: gaps are filled by the motion in them, otherwise by interpolation.
        """
        known = map(self._identities.relabel, results)
        return Gaps(self._config.fill_seconds, self._changed, pictures=pictures).filled(known)
