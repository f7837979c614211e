"""The frames that wait for what comes later, while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sipvideo.config import RepairConfig
from sipvideo.masks import CompactMasks
from sipvideo.repair.changes import Change
from sipvideo.repair.gaps import Filling, Gaps
from sipvideo.repair.identities import Identities
from sipvideo.structures import Detections, FrameResult

FIELDS = ("boxes", "scores", "labels", "embeddings", "mask_scores")


class Window:
    """Frames on their way through identities and gaps: first they wait to be named, then to be filled.

    When a run goes on from a checkpoint, those that waited are segmented and tracked again: their pictures are in no
    file. What had been decided about them, and all that was known besides, comes from the checkpoint.

    Args:
        seconds: for which a frame waits in all.
        config: what is joined, dropped and filled.
        changed: called with every change.
    """

    def __init__(
        self, seconds: float, config: RepairConfig, changed: Callable[[Change], None]
    ) -> None:
        fill = min(config.fill_seconds, seconds / 2)
        self._named = seconds - fill
        self._identities = Identities(config, changed, self._named)
        self._gaps = Gaps(fill, changed)
        self._begun: list[FrameResult] = []

    def passed(self, results: Iterable[FrameResult]) -> Generator[FrameResult, None, None]:
        """Every frame, when it has waited."""
        named = self._identities.delayed(results, self._named)
        for result in self._gaps.filled(_chained(self._begun, named)):
            if result.memory is not None:
                result.memory["lookahead"] = self._memory()
            yield result

    def _memory(self) -> dict[str, Any]:
        """All that is known, but for the pictures of the frames that wait and what was found in them."""
        gaps = self._gaps
        coming: list[tuple[FrameResult, list[Filling]]] = []
        if gaps.coming is not None:
            coming = [(gaps.coming, [])]
        named = [
            [r.track_ids, r.detections.labels, [[f.track_id, _plain(f.found)] for f in fillings]]
            for r, fillings in (*gaps.waiting, *coming)
        ]
        return {
            "named": named,
            "coming": len(coming),
            "unnamed": len(self._identities.waiting),
            "identities": self._identities.state(),
        }

    def taken_up(
        self, results: Iterable[FrameResult], memory: Mapping[str, Any]
    ) -> Iterator[FrameResult]:
        """Takes from results the frames that waited, as they come again; the rest of them."""
        self._identities.restore(memory["identities"])
        rest = iter(results)
        filled = len(memory["named"]) - memory["coming"]
        for k, (track_ids, labels, fillings) in enumerate(memory["named"]):
            again = next(rest)
            detections = replace(again.detections, labels=labels)
            result = replace(again, detections=detections, track_ids=track_ids)
            if k < filled:
                found = [Filling(track_id, _detections(one)) for track_id, one in fillings]
                self._gaps.waiting.append((result, found))
            else:
                self._begun.append(result)
        for _ in range(memory["unnamed"]):
            self._identities.waiting.append(next(rest))
        return rest


def _chained(
    first: Iterable[FrameResult], rest: Generator[FrameResult, None, None]
) -> Generator[FrameResult, None, None]:
    """One after the other."""
    yield from first
    yield from rest


def _plain(found: Detections) -> dict[str, Any]:
    masks = found.masks
    place = {"windows": masks.windows, "bits": list(masks.bits), "size": list(masks.frame_size)}
    return {name: getattr(found, name) for name in FIELDS} | place


def _detections(fields: Mapping[str, Any]) -> Detections:
    height, width = fields["size"]
    masks = CompactMasks(fields["windows"], tuple(fields["bits"]), (height, width))
    return Detections(masks=masks, **{name: fields[name] for name in FIELDS})
