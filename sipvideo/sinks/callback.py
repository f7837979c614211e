"""A function of the user's as a sink."""

from __future__ import annotations

from collections.abc import Callable

from sipvideo.errors import SinkError
from sipvideo.sinks.sink import Sink
from sipvideo.structures import FrameResult


class Callback(Sink):
    """Hands every result to a function, in order and in the thread of the run.

    An exception of the function ends the sink like a full disk would: ``write`` raises one SinkError that names the
    function, with the exception as its cause, and what other sinks have written so far is kept.

    Args:
        function: called with each :class:`~sipvideo.structures.FrameResult`; what it returns is ignored.
        name: for errors; the function's own name by default.
    """

    def __init__(self, function: Callable[[FrameResult], object], name: str = "") -> None:
        # Like standard output, a function has no file to complete.
        super().__init__(name or getattr(function, "__qualname__", repr(function)), stdout=True)
        self._function = function

    def _write(self, result: FrameResult) -> None:
        try:
            self._function(result)
        except Exception as error:
            self.discard()
            raise SinkError(
                f"callback {self.path}: frame {result.frame.index}: {type(error).__name__}: {error}"
            ) from error

    def _finish(self) -> None:
        pass
