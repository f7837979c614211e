"""The latency governor: keeps a live picture within a time budget by a smaller input and fewer detected frames.

``Governor`` decides from measured times, and knows nothing of pictures. ``GovernedSegmenter`` carries its choice out:
between two detected frames, objects are carried along by the motion of the picture (``sipvideo.carry``).
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from sipvideo.carry import Carrier
from sipvideo.engine import Engine, FunctionEngine, Size
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame, FrameResult, IntArray

SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Sizes to choose from, in parts of the configured one."""
INTERVALS = (1, 2, 3, 4)
"""Every how many frames objects may be detected."""

HEADROOM = 0.85
"""Share of the budget that a better choice may need before it is tried: what fits barely would not fit for long."""
RECENT, LEAST = 9, 3
"""Detected frames whose median is the present cost: at most, and at least."""
MEMORY = 1.0
"""Seconds after which a measured time no longer says what the machine does now."""
SETTLE = 1.0
"""Seconds for which a better choice must be expected to fit before it is tried."""
DOUBT = 0.5
"""How far the median of few times may lie above the budget before it is believed, in parts of it and per frame."""
PATIENCE, LONGEST_PATIENCE = 5.0, 160.0
"""Seconds for which the cost of a choice not in use is believed; doubles whenever it is tried in vain."""
CARRY_COST = 5.0
"""Milliseconds to carry the objects of a frame, before it is measured."""
LONGEST_CARRY = 0.5
"""Seconds after which carried objects are not believed, whatever the interval."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the governor chose.

    Attributes:
        size: of the model input.
        interval: objects are detected in every so many frames, 1: in all.
        budget: milliseconds that a frame may take.
        milliseconds: what a frame takes with this choice, mean over an interval of medians; None: not measured yet.
        slowest: what a detected frame takes.
        fits: whether the budget is met; True until measured.
    """

    size: Size
    interval: int
    budget: float
    milliseconds: float | None = None
    slowest: float | None = None
    fits: bool = True

    @property
    def text(self) -> str:
        """One line for people."""
        how = f"input {max(self.size)}"
        if self.interval > 1:
            how += f", 1 of {self.interval} detected"
        if self.milliseconds is None:
            return f"{how}, measuring"
        if not self.fits:
            return f"cannot meet the budget of {self.budget:.0f} ms: best is {self.milliseconds:.0f} ms ({how})"
        return f"{how}, {self.milliseconds:.0f} of {self.budget:.0f} ms"


class Governor:
    """Chooses input size and detection interval from measured times. May be shared by several videos and threads.

    The largest input that fits the budget is chosen, so that every frame does. Where none fits, the mean over an
    interval shall: a detected frame then takes longer, and the carried ones less. A choice that takes too long is left
    as soon as the median of a few frames says so; a better one is tried only when it is expected to fit with room to
    spare, and more and more rarely after it did not.

    Args:
        budget: milliseconds that a frame may take.
        sizes: input sizes, best first.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        budget: float,
        sizes: Sequence[Size],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.budget = budget
        self.sizes = tuple(sizes)
        self._clock = clock
        self._lock = threading.Lock()
        self._options = _options(len(sizes))
        self._at = 0
        self._since = self._tight = clock()
        self._warm = False  # the first frame of a new size pays for memory and compilation
        self._times: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._carried: deque[float] = deque(maxlen=RECENT)
        self._costs = [_Cost() for _ in sizes]
        self._measured = False

    @classmethod
    def fixed(cls, size: Size, interval: int) -> Governor:
        """One that never changes its choice, for measurements."""
        governor = cls(float("inf"), [size])
        governor._options = [(0, interval)]
        return governor

    @property
    def choice(self) -> Choice:
        """The present choice."""
        with self._lock:
            rung, interval = self._options[self._at]
            choice = Choice(self.sizes[rung], interval, self.budget)
            if not self._measured:
                return choice
            now = self._costs[rung].milliseconds
            mean = self._mean(now, interval)
            fits = mean <= self.budget
            return dataclasses.replace(choice, milliseconds=mean, slowest=now, fits=fits)

    def carried(self, milliseconds: float) -> None:
        """A frame was carried in that time."""
        with self._lock:
            self._carried.append(milliseconds)

    def detected(self, size: Size, milliseconds: float) -> None:
        """A frame was detected at that size in that time; may change the choice."""
        with self._lock:
            rung, _ = self._options[self._at]
            if size != self.sizes[rung]:
                return  # begun before the last change
            if not self._warm:
                self._warm = True
                return
            now = self._clock()
            self._times.append((now, milliseconds))
            recent = [ms for when, ms in self._times if now - when <= MEMORY]
            if len(recent) < LEAST:
                recent = [ms for _, ms in list(self._times)[-LEAST:]]
            if len(self._times) >= LEAST:
                self._learn(rung, _median(recent), now)
                self._decide(now)

    def _learn(self, rung: int, milliseconds: float, now: float) -> None:
        """The present size costs that much; if that was known, the machine's load has changed, for all sizes alike."""
        before = self._costs[rung].milliseconds
        if self._measured and before:
            for cost in self._costs:
                cost.milliseconds *= milliseconds / before
        self._costs[rung].milliseconds = milliseconds
        self._costs[rung].seen = now
        self._measured = True

    def _decide(self, now: float) -> None:
        """Takes the best option that fits; a better one than the present only with room to spare, and after a while."""
        costs = [self._expected(option, now) for option in self._options]
        better = [k for k in range(self._at) if costs[k] <= HEADROOM * self.budget]
        if not better:
            self._tight = now
        elif now - max(self._tight, self._since) >= SETTLE:
            return self._change(better[0], now)
        # The first few times after a change are a rough measure.
        doubt = 1 + DOUBT * (1 / len(self._times) - 1 / RECENT)
        if costs[self._at] <= self.budget * doubt:
            return None
        worse = range(self._at, len(costs))
        fitting = [k for k in worse if costs[k] <= self.budget]
        return self._change(fitting[0] if fitting else min(worse, key=costs.__getitem__), now)

    def _change(self, option: int, now: float) -> None:
        if option == self._at:
            return
        (before, _), (after, _) = self._options[self._at], self._options[option]
        if option > self._at and now - self._since < self._costs[before].patience:
            # It was tried and did not fit: next time after a longer pause.
            self._costs[before].patience = min(2 * self._costs[before].patience, LONGEST_PATIENCE)
        self._at, self._since = option, now
        if after != before:
            self._times.clear()
            self._warm = self._measured = False

    def _expected(self, option: tuple[int, int], now: float) -> float:
        """Milliseconds per frame: as measured, if that is not long ago, else by the area of the input."""
        rung, interval = option
        here = self._options[self._at][0]
        cost = self._costs[rung]
        milliseconds = cost.milliseconds
        if rung != here and (not milliseconds or now - cost.seen > cost.patience):
            (w, h), (now_w, now_h) = self.sizes[rung], self.sizes[here]
            share = 0.15  # does not depend on the size
            milliseconds = self._costs[here].milliseconds
            milliseconds *= share + (1 - share) * w * h / (now_w * now_h)
        return self._mean(milliseconds, interval)

    def _mean(self, detected: float, interval: int) -> float:
        carried = _median(self._carried) if self._carried else CARRY_COST
        return (detected + (interval - 1) * carried) / interval


class GovernedSegmenter:
    """A :class:`sipvideo.pipeline.VideoSegmenter` for live pictures that keeps to a time budget.

    Results of carried frames say so (``FrameResult.carried``). Identities go on through every change of the choice.

    Args:
        segmenter: the segmenter to govern. The input size of its engine is the largest one to be chosen; without
            one, or with a fixed one, only carrying is left to choose.
        budget: milliseconds that a frame may take, or a governor to share.

    Attributes:
        governor: tells the present ``choice``; all segmenters that :meth:`another` gives share it.
    """

    def __init__(self, segmenter: VideoSegmenter, budget: float | Governor) -> None:
        engine = segmenter.engine
        size = engine.input_size or (0, 0)
        sizes = ladder(size) if engine.resizable else [size]
        self.governor = budget if isinstance(budget, Governor) else Governor(budget, sizes)
        self.class_names = segmenter.class_names
        self._segmenter = segmenter
        self._engines: dict[Size, Engine] = {size: engine}
        self._resized = engine.resized
        self._carrier = Carrier()
        self._last: FrameResult | None = None
        self._age = 0

    @property
    def choice(self) -> str:
        """What the governor chose, for people."""
        chosen = self.governor.choice
        return ", ".join(filter(None, (chosen.text, self._at(chosen.size).choice)))

    @property
    def engine(self) -> Engine:
        """One frame at a time, at the input size that is the present choice then."""
        return FunctionEngine(self.segment)

    def segment(self, frame: Frame) -> Detections:
        """Detects the objects of one frame at the present input size."""
        return self._at(self.governor.choice.size).detect([frame])[0]

    def associate(self, frame: Frame, detections: Detections, started: float) -> FrameResult:
        """The second half of a step, for a frame that was detected elsewhere."""
        result = self._segmenter.associate(frame, detections, started)
        self._last, self._age = result.tracked(), 1
        self._carrier.begin(frame, self._last.detections)
        return result

    def step(self, frame: Frame) -> FrameResult:
        """Processes the next frame of the current video: detects its objects, or carries those of the last one."""
        started = time.perf_counter()
        choice = self.governor.choice
        carried = self._carried(frame, choice.interval)
        if carried is not None:
            assert self._last is not None
            detections, rows = carried
            self._age += 1
            frame, detections = self._segmenter.covered(frame, detections)
            took = (time.perf_counter() - started) * 1000
            self.governor.carried(took)
            last = self._last.selected(rows)
            return dataclasses.replace(
                last, frame=frame, detections=detections, latency_ms=took, carried=True
            )
        result = self.associate(frame, self._at(choice.size).detect([frame])[0], started)
        self.governor.detected(choice.size, result.latency_ms)
        return result

    def run(self, source: Iterable[Frame]) -> Iterator[FrameResult]:
        """Starts a new video and yields one result per frame, as frames come."""
        self.reset()
        for frame in source:
            yield self.step(frame)

    def reset(self) -> None:
        """Ends the current video: identities start anew, the choice stays."""
        self._segmenter.reset()
        self._last = None

    def another(self) -> GovernedSegmenter:
        """A segmenter for a second video at the same time, under the same governor."""
        other = GovernedSegmenter(self._segmenter.another(), self.governor)
        other._engines = self._engines
        return other

    def _carried(self, frame: Frame, interval: int) -> tuple[Detections, IntArray] | None:
        if self._last is None or self._age >= interval:
            return None
        if not 0 <= frame.timestamp - self._last.frame.timestamp <= LONGEST_CARRY:
            return None
        return self._carrier.carry(frame)

    def _at(self, size: Size) -> Engine:
        if size not in self._engines:
            self._engines[size] = self._resized(size)
        return self._engines[size]


def _options(sizes: int) -> list[tuple[int, int]]:
    """(number of the size, interval), best first. The last size is the last resort.

    In accuracy per mean time, carrying every second frame beats every smaller size (docs/performance.md); but a
    budget for latency is one for each frame, and a detected one takes what it takes. So sizes go first, except for the
    smallest one: there, carrying is better and faster too.
    """
    small, least = max(sizes - 2, 0), sizes - 1
    options = [(size, 1) for size in range(small + 1)]
    return [*options, *((small, interval) for interval in INTERVALS[1:]), (least, INTERVALS[-1])]


def ladder(size: Size) -> list[Size]:
    """Input sizes from the configured one down, their long sides multiples of 32, same shape."""
    long_side = max(size)
    sides = [long_side] + [round(long_side * scale / 32) * 32 for scale in SCALES[1:]]
    chosen = [side for side in dict.fromkeys(sides) if 0 < side <= long_side]
    return [
        (round(size[0] * side / long_side), round(size[1] * side / long_side)) for side in chosen
    ]


class _Cost:
    """What is known of the time that a size takes.

    Attributes:
        milliseconds: of a detected frame, 0: not measured.
        seen: when it was measured.
        patience: seconds for which that is believed.
    """

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.seen = 0.0
        self.patience = PATIENCE


def _median(values: Sequence[float] | deque[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
