"""What the rest of the program knows of an engine: frames in, detections out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from sipvideo.errors import ConfigError
from sipvideo.sources.hardware import CHOICES, SOFTWARE, Decoding
from sipvideo.structures import Detections, Frame

Size = tuple[int, int]
"""Long and short side of the model input in pixels, as ``input.size`` of the configuration."""


class Engine(ABC):
    """Finds the objects of single frames. Has no memory: the same frame gives the same detections.

    May be used from several threads at once. The defaults are those of an engine about which nothing is known.

    Attributes:
        model: name of the model, "" where it has none.
        about: for people: what computes, version, precision, where.
        device: "cpu", "cuda:0", ...
        input_size: of the model input; None where frames are taken as they are.
        resizable: whether :meth:`resized` gives the same network with another input size.
        largest_batch: frames that are found together faster than one after the other, at most. 1: there is nothing to
            gain, and the first frame of a batch would only wait for the others.
        callers: threads that call at once with profit.
        threshold: score from which objects are reported; 0: not known.
        decoding: how videos are best decoded for it, where nobody asks for another way.
        notes: lines for people about what it chose or changed by itself, for instance a precision that the device
            does not know.
    """

    model: str = ""
    about: str = ""
    device: str = "cpu"
    input_size: Size | None = None
    resizable: bool = False
    largest_batch: int = 1
    callers: int = 1
    threshold: float = 0.0
    decoding: Decoding = SOFTWARE
    notes: Sequence[str] = ()

    @property
    def choice(self) -> str:
        """What it has chosen for itself just now, for people, in few words: mostly nothing."""
        return ""

    @abstractmethod
    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detections of each frame, frame pixels, by descending score, with a small grey picture of the frame.

        Args:
            frames: any number, of any sizes; those of one size together, ``largest_batch`` at a time, are fastest.
                The results are those of single calls, up to rounding.
        """

    def resized(self, size: Size) -> Engine:
        """The same network with another input size. Only where ``resizable``.

        Raises:
            ConfigError: not a size.
        """
        raise NotImplementedError(f"{type(self).__name__} has one input size")

    def doubting(self, threshold: float) -> Engine:
        """The same network that reports objects from a lower score too, where it can."""
        return self

    def decoding_for(self, asked: str = "auto") -> Decoding:
        """How videos are decoded for it.

        Args:
            asked: one of :data:`sipvideo.sources.CHOICES`; auto: as suits it.

        Raises:
            ConfigError: not one of them.
        """
        if asked not in CHOICES:
            raise ConfigError(f"hwaccel: expected one of {', '.join(CHOICES)}, got {asked!r}")
        return self.decoding if asked in ("auto", self.decoding.kind) else Decoding(asked)

    def for_files(self) -> Engine:
        """The same, set up for throughput instead of latency, where it can choose."""
        return self


class FunctionEngine(Engine):
    """A function from frame to detections as an engine: scripted objects, or another program's detector.

    Args:
        function: called with one frame after the other.
    """

    def __init__(self, function: Callable[[Frame], Detections]) -> None:
        self.function = function

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """What the function finds in each frame."""
        return [self.function(frame) for frame in frames]
