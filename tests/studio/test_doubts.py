"""Doubts: what is odd in a run is found, told and can be mended by its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sipvideo.apps.reports.studio.planting import KINDS, Planted, plant
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.studio.doubts import Doubt, Sightings, doubts

SIZE = (240, 480)
FITTING = {
    "swap": ("swap",),
    "change": ("change",),
    "mixture": ("return", "jump"),
    "twin": ("twin",),
    "class": ("class",),
    "growth": ("growth",),
    "gap": ("gap",),
    "ghost": ("short",),
}


def walk(count: int = 60) -> list[FrameResult]:
    """Three objects that walk along rows of their own; the third leaves before a fourth comes."""
    results = []
    for t in range(count):
        places = {
            0: (20 + 5 * t, 20),
            1: (400 - 5 * t, 90),
            2: (60 + 2 * t, 160),
            3: (300 + t, 170),
        }
        if t > count // 2 - 8:
            del places[2]
        if t < count // 2 + 8:
            del places[3]
        results.append(_result(t, places))
    return results


def _result(t: int, places: dict[int, tuple[int, int]]) -> FrameResult:
    ids = sorted(places)
    crop = np.ones((50, 30), bool)
    masks = CompactMasks.from_crops([crop] * len(ids), [places[k] for k in ids], SIZE)
    found = Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.linspace(0.9, 0.8, len(ids), dtype=np.float32),
        labels=np.array([k % 2 for k in ids], np.int64),
        masks=masks,
        embeddings=np.eye(4, dtype=np.float32)[ids],
    )
    frame = Frame(np.broadcast_to(np.uint8(0), (*SIZE, 3)), t, t / 15)
    return FrameResult(frame, found, np.array(ids, np.int64), 0.0)


def listed(results: Sequence[FrameResult]) -> list[Doubt]:
    return doubts(Sightings.of(results), ["person", "dog"])


def about(one: Planted, found: Sequence[Doubt]) -> Doubt | None:
    for doubt in found:
        near = doubt.first - 5 <= one.last and one.first <= doubt.last + 5
        if doubt.kind in FITTING[one.kind] and set(doubt.ids) & set(one.ids) and near:
            return doubt
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_each_kind_is_among_the_first_doubts(kind: str) -> None:
    results, planted = plant(walk(), [kind], seed=3)
    assert [one.kind for one in planted] == [kind]
    doubt = about(planted[0], listed(results)[:3])
    assert doubt is not None
    assert doubt.remedy is not None
    wanted = planted[0].mend["op"]
    assert doubt.remedy["op"] == ("propagate" if wanted == "masks" else wanted)


def test_a_run_without_errors_has_no_doubt_that_is_likely() -> None:
    assert max((doubt.worth for doubt in listed(walk())), default=0) < 0.5


def test_doubts_come_worst_first_and_accepted_ones_do_not_come_back() -> None:
    results, _ = plant(walk(120), ["class", "growth", "ghost"], seed=1)
    seen = Sightings.of(results)
    found = doubts(seen)
    assert [one.worth for one in found] == sorted((one.worth for one in found), reverse=True)
    rest = doubts(seen, accepted={found[0].key})
    assert rest == found[1:]


def test_a_doubt_keeps_its_key_when_something_else_is_mended() -> None:
    results, planted = plant(walk(120), ["growth", "ghost"], seed=1)
    ghost = planted[1].ids[0]
    mended = [result.selected(np.flatnonzero(result.track_ids != ghost)) for result in results]
    before, after = ({one.key for one in listed(run)} for run in (results, mended))
    assert after < before


def test_the_edit_of_a_planted_error_takes_it_back() -> None:
    right = walk()
    results, planted = plant(right, ["swap"], seed=3)
    a, b, frame = (planted[0].mend[key] for key in ("a", "b", "frame"))
    names = {a: b, b: a}
    for t, (was, now) in enumerate(zip(right, results, strict=True)):
        ids = [names.get(k, k) if t >= frame else k for k in now.track_ids.tolist()]
        places = dict(zip(ids, now.detections.boxes.tolist(), strict=True))
        assert places == dict(
            zip(was.track_ids.tolist(), was.detections.boxes.tolist(), strict=True)
        )


def test_nothing_is_doubted_where_there_is_nothing() -> None:
    assert listed([]) == []
    assert listed([_result(t, {}) for t in range(3)]) == []
    assert all(np.isfinite(doubt.worth) for doubt in listed([_result(0, {0: (0, 0), 1: (5, 5)})]))
