"""Which tracklets show one object: cues, and the choice of all pairs together."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np

from sipvideo.config import RepairConfig
from sipvideo.structures import Frame, FrameResult
from sipvideo.tracker.joining import CUES, _best_pairs, join, weigh
from sipvideo.tracker.tracklets import Sighting, Tracklet, Tracklets
from tests.scenes import scripted


def tracklet(
    number: int,
    begin: float,
    end: float,
    look: tuple[float, ...] = (1.0, 0.0, 0.0),
    *,
    track_id: int = -1,
    x: float = 50.0,
    scene: int = 0,
) -> Tracklet:
    """Stands still at ``x``."""
    box = np.array([x, 40, x + 20, 80], np.float32)
    seen = [Sighting(second, box, 500) for second in np.linspace(begin, end, 5).tolist()]
    found = Tracklet(number, number if track_id < 0 else track_id, seen, deque(seen), np.zeros(0))
    found.look = np.array(look, np.float32)
    found.hits, found.scores, found.best_score = 5, 1.0, 0.8
    found.votes, found.scene = {0: 1.0}, scene
    return found


def cues(earlier: list[Tracklet], later: list[Tracklet]) -> dict[str, np.ndarray]:
    pairs = np.nonzero([[a.end < b.begin for b in later] for a in earlier])
    rows = weigh(earlier, later, (pairs[0], pairs[1]), np.zeros(3, np.float32))
    return dict(zip(CUES, rows.T, strict=True))


def test_only_candidates_of_the_same_time_are_rivals() -> None:
    first = tracklet(0, 0, 1)
    again = [tracklet(1, 2, 3), tracklet(2, 4, 5)]  # the same object, twice more
    assert cues([first], again)["uniqueness"].tolist() == [0.5, 0.5]
    other = tracklet(3, 2, 3, (0.8, 0.6, 0.0))  # there at the same time: one of them at most
    found = cues([first], [again[0], other])["uniqueness"]
    np.testing.assert_allclose(found, [0.2, -0.2], atol=1e-6)


def test_looks_decide_where_two_could_have_come_back() -> None:
    red, blue = tracklet(0, 0, 1, (1, 0, 0)), tracklet(1, 0, 1, (0, 1, 0), x=90)
    back = [tracklet(2, 2, 3, (0, 1, 0.1)), tracklet(3, 2, 3, (1, 0, 0.1), x=90)]
    links = join([red, blue], back, np.zeros(3, np.float32), RepairConfig())
    chosen = {(link.earlier, link.later) for link in links if link.chosen}
    assert chosen == {(1, 2), (0, 3)}


def test_after_a_cut_looks_decide_and_not_the_place() -> None:
    red, blue = tracklet(0, 0, 1, (1, 0, 0)), tracklet(1, 0, 1, (0, 1, 0), x=90)
    common = np.zeros(3, np.float32)
    for scene, expected in ((0, {(0, 2), (1, 3)}), (1, set())):
        after = [
            tracklet(2, 1.1, 2, (0, 0, 1), scene=scene),
            tracklet(3, 1.1, 2, (0, 0, 1), x=90, scene=scene),
        ]
        links = join([red, blue], after, common, RepairConfig())
        assert {(link.earlier, link.later) for link in links if link.chosen} == expected
    alike = tracklet(2, 1.1, 2, (0, 1, 0.1), scene=1)
    links = join([red, blue], [alike], common, RepairConfig())
    assert [(link.earlier, link.later) for link in links if link.chosen] == [(1, 2)]


def test_where_nobody_goes_on_in_place_there_was_a_cut() -> None:
    def scenes(frames: list[dict[int, float]]) -> list[int]:
        made = Tracklets()
        for k, objects in enumerate(frames):
            found = scripted([(x, 40, x + 20, 80) for x in objects.values()])
            frame = Frame(np.zeros((*found.masks.frame_size, 3), np.uint8), k, k / 10)
            made.observe(FrameResult(frame, found, np.array([*objects], np.int64), 0.0))
        return [made.begun[-1].scene, len(made.begun)]

    here = {0: 20.0, 1: 60.0}
    assert scenes([here, here]) == [0, 2]
    assert scenes([here, {}, {0: 24.0, 2: 90.0}]) == [0, 3]  # one goes on
    assert scenes([here, {2: 100.0, 3: 130.0}]) == [1, 4]
    assert scenes([here, {2: 20.0, 3: 60.0}]) == [0, 4]  # other identities of the same objects
    assert scenes([here, {0: 90.0, 3: 130.0}]) == [1, 4]  # known again, elsewhere
    assert scenes([here, {2: 100.0}]) == [0, 3]  # too few to tell


def test_what_is_too_long_ago_or_too_unlikely_is_no_candidate() -> None:
    a, b = tracklet(0, 0, 1), tracklet(1, 3, 4)
    common = np.zeros(3, np.float32)
    assert join([a], [b], common, RepairConfig())[0].chosen
    assert join([a], [b], common, RepairConfig(join_seconds=1)) == []
    assert join([a], [b], common, RepairConfig(join_odds=30)) == []
    assert join([b], [a], common, RepairConfig()) == []
    assert join([], [], common, RepairConfig()) == []


def test_pairs_are_chosen_as_by_trying_all() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        gains = rng.uniform(0.01, 1, (4, 4)) * (rng.uniform(size=(4, 4)) < 0.5)
        rows, columns = gains.nonzero()
        chosen = _best_pairs(rows, columns, gains[rows, columns])
        best = max(gains[range(4), p].sum() for p in map(list, itertools.permutations(range(4))))
        assert np.isclose(gains[rows, columns][chosen].sum(), best)
        assert len(set(rows[chosen])) == len(set(columns[chosen])) == chosen.sum()
