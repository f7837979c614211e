"""The straight line from frames to results: one frame in, one result out, no hidden state but the tracker's.

``VideoSegmenter`` takes an engine, or any function that turns a frame into detections, and adds identities, so it works
with scripted detections and without a network.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sipvideo import stages
from sipvideo.classes import labels_of
from sipvideo.config import Config, RepairConfig
from sipvideo.engine import Engine, FunctionEngine, SelectingEngine
from sipvideo.errors import SipVideoError
from sipvideo.sources import picture_sum
from sipvideo.structures import Detections, FloatArray, Frame, FrameResult, IntArray
from sipvideo.tracker import Tracker
from sipvideo.tracker.explain import Explanation
from sipvideo.veil import Veil


class Associator(Protocol):
    """What the pipeline asks of a tracker."""

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities int64 [N] of one frame's detections; -1 for untracked. ``timestamp`` in seconds."""

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Classes int64 [N] of the frame just updated, by what is known of each identity."""

    def returned(self, track_ids: IntArray) -> FloatArray | None:
        """Seconds that identities of the frame just updated were away, float32 [N]; 0 unless they just came back.

        None from trackers that do not look for those who come back.
        """

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a new video."""


@runtime_checkable
class Remembering(Protocol):
    """A tracker that can hand on what it knows of a video, so that another one goes on with it."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All that is known of the video so far."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on where another tracker with the same settings was. Raises SipVideoError."""


class VideoSegmenter:
    """Segments and tracks one video at a time.

    Args:
        engine: finds the objects of frames; a function from frame to detections will do.
        tracker: gives identities; its memory belongs to this object alone.
        class_names: names in label order.
        veil: covers pictures before anybody sees them; None: nothing is covered.
        config: what it was built from; None: it was put together by hand.

    Attributes:
        explaining: results tell why their objects have the identities that they have, where the tracker can.
    """

    def __init__(
        self,
        engine: Engine | Callable[[Frame], Detections],
        tracker: Associator,
        class_names: Sequence[str],
        veil: Veil | None = None,
        *,
        config: Config | None = None,
    ) -> None:
        self.engine = engine if isinstance(engine, Engine) else FunctionEngine(engine)
        self.tracker = tracker
        self.class_names = tuple(class_names)
        self.veil = veil
        self.config = config
        self.explaining = False

    @property
    def repair(self) -> RepairConfig:
        """For whoever looks at its results again with what came later, see :mod:`sipvideo.repair`."""
        return self.config.repair if self.config is not None else RepairConfig()

    @property
    def choice(self) -> str:
        """What it has chosen for itself just now, for people; mostly nothing."""
        return self.engine.choice

    def step(self, frame: Frame) -> FrameResult:
        """Processes the next frame of the current video."""
        started = time.perf_counter()
        return self.associate(frame, self.segment(frame), started)

    def segment(self, frame: Frame) -> Detections:
        """The first half of a step: the frame's objects, without identities."""
        return self.engine.detect([frame])[0]

    def associate(self, frame: Frame, detections: Detections, started: float) -> FrameResult:
        """The second half of a step, in the order of the frames: identities of the frame's detections.

        Args:
            frame: the next frame of the current video.
            detections: its objects, as ``segment`` finds them.
            started: ``time.perf_counter()`` when work on this frame began, for the latency.
        """
        frame, detections = self.covered(frame, detections)
        told: list[Explanation] = []
        if isinstance(self.tracker, Tracker):
            self.tracker.recorder = told.append if self.explaining else None
        track_ids = self.tracker.update(detections, frame.timestamp)
        labels = self.tracker.labels(detections, track_ids)
        detections = dataclasses.replace(detections, labels=labels)
        returned = self.tracker.returned(track_ids)
        took = (time.perf_counter() - started) * 1000
        explanation = told[0] if told else None
        return FrameResult(
            frame, detections, track_ids, took, returned=returned, explanation=explanation
        )

    def covered(self, frame: Frame, detections: Detections) -> tuple[Frame, Detections]:
        """The frame as others may see it, and the objects that they may see; once for every frame, in order."""
        return (frame, detections) if self.veil is None else self.veil(frame, detections)

    def run(
        self,
        source: Iterable[Frame],
        ahead: int = 0,
        workers: int | None = None,
        batch: int | None = None,
        *,
        remember: Callable[[], bool] | None = None,
        goes_on: bool = False,
    ) -> Generator[FrameResult, None, None]:
        """Starts a new video and yields one result per frame, as frames come. Nothing is kept.

        Args:
            source: the video.
            ahead: batches that threads may read and segment while the caller is still busy with a result; 0: all
                happens in the caller's thread, when a result is asked for. The results are the same.
            workers: threads that segment; by default as many as the engine profits from.
            batch: frames that are segmented together, by default the most with which the engine gets faster; needs
                ``ahead``. Results are the same up to rounding; a result waits for its batch.
            remember: asked after each batch; where it says so the last result of the batch gets a ``memory`` for
                :meth:`restore`.
            goes_on: the source goes on with the current video, after the frame of :meth:`restore`.
        """
        if not goes_on:
            self.reset()
        remember = remember or (lambda: False)
        if not ahead:
            # Nothing here keeps a frame while the next one is decoded.
            yield from map(functools.partial(self._step, remember), source)
            return
        together = self.engine.largest_batch if batch is None else batch
        callers = self.engine.callers if workers is None else workers
        batches = stages.grouped(source, together, lambda frame: frame.size)
        with closing(stages.mapped(self._found, batches, ahead, callers)) as found:
            for group in found:
                for left, (frame, detections, started) in zip(
                    reversed(range(len(group))), group, strict=True
                ):
                    result = self.associate(frame, detections, started)
                    # A later run has to make the same batches of the frames that follow.
                    due = not left and remember()
                    yield self._remembered(frame, result) if due else result

    def _step(self, remember: Callable[[], bool], frame: Frame) -> FrameResult:
        result = self.step(frame)
        return self._remembered(frame, result) if remember() else result

    def _found(self, frames: list[Frame]) -> list[tuple[Frame, Detections, float]]:
        """The first half of the steps of some frames, which any thread may do: what ``associate`` takes."""
        started = time.perf_counter()
        found = self.engine.detect(frames)
        return [(*pair, started) for pair in zip(frames, found, strict=True)]

    @property
    def remembers(self) -> bool:
        """Whether what it knows of a video can be handed on."""
        return isinstance(self.tracker, Remembering)

    def _remembered(self, frame: Frame, result: FrameResult) -> FrameResult:
        """The result of the frame just done, with all that is known of the video by now."""
        if not isinstance(self.tracker, Remembering):
            return result
        # No picture, not even the small one: it may show who has to be covered, and can be made again of the frame.
        tracker = {key: value for key, value in self.tracker.state().items() if key != "grey"}
        veil = None if self.veil is None else self.veil.state()
        place = [frame.index, frame.timestamp, picture_sum(frame.image)]
        memory = {"place": place, "tracker": tracker, "veil": veil}
        return dataclasses.replace(result, memory=memory)

    def restore(self, memory: Mapping[str, Any], frame: Frame) -> None:
        """Goes on with a video after a frame where another segmenter with the same settings was.

        Args:
            memory: of the frame's result there, see :meth:`run`.
            frame: the frame itself.

        Raises:
            SipVideoError, LookupError, TypeError, ValueError: this is no such memory.
        """
        if not isinstance(self.tracker, Remembering):
            raise SipVideoError("this tracker cannot go on with a video")
        grey = self.segment(frame).grey
        grey = np.zeros((0, 0), np.uint8) if grey is None else grey
        self.tracker.restore({**memory["tracker"], "grey": grey})
        if self.veil is not None:
            self.veil.restore(memory["veil"])

    def for_files(self) -> VideoSegmenter:
        """The same, its engine set up for overlapping runs: throughput instead of latency, where it can choose."""
        engine = self.engine.for_files()
        names = self.class_names
        return VideoSegmenter(engine, self.tracker, names, self.veil, config=self.config)

    def only(self, classes: Sequence[str | int]) -> VideoSegmenter:
        """The same, network and memory too, for some classes alone, by name or number; without any: for all of them.

        Raises:
            ConfigError: no such class.
        """
        if not classes:
            return self
        labels = labels_of(classes, self.class_names, "classes: ")
        engine, veil = self.engine, self.veil
        if veil is None:
            engine = SelectingEngine(engine, labels)
        else:
            veil = veil.another()
            veil.shown = labels  # what is to be covered must be found too
        names = self.class_names
        return VideoSegmenter(engine, self.tracker, names, veil, config=self.config)

    def reset(self) -> None:
        """Ends the current video: identities start anew."""
        self.tracker.reset()
        if self.veil is not None:
            self.veil.reset()

    def another(self) -> VideoSegmenter:
        """A segmenter for a second video at the same time: shares the network, has a memory of its own."""
        tracker = copy.deepcopy(self.tracker)
        tracker.reset()
        veil = None if self.veil is None else self.veil.another()
        return VideoSegmenter(self.engine, tracker, self.class_names, veil, config=self.config)
