"""Who is who in a run, as a person sees it who watches the film, and which edit makes it better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sipvideo.structures import FrameResult

Json = dict[str, Any]
NOTHING = -1
"""The true object of a mask that is of none, or that is a second one of it."""
SAME = 1.5
"""Pixels by which the sides of a box may differ and still be of the same report."""


class Sight:
    """Who is who: for every object of a run its frame, its identity, and its true object.

    Args:
        frames: of the run, as the server tells them.
        truth: boxes [K, 4] and identities [K] of each frame before errors were planted.
    """

    def __init__(self, frames: Sequence[Json], truth: Sequence[tuple[Any, Any]]) -> None:
        rows = []
        for frame in frames:
            boxes, owners = truth[frame["frame"]]
            taken: set[int] = set()
            found = [
                (float(np.abs(boxes[k] - one["box"]).max()), n, k)
                for n, one in enumerate(frame["objects"])
                for k in range(len(boxes))
            ]
            own = dict.fromkeys(range(len(frame["objects"])), NOTHING)
            for apart, n, k in sorted(found):
                if apart <= SAME and own[n] == NOTHING and k not in taken:
                    taken.add(k)
                    own[n] = int(owners[k])
            rows += [(frame["frame"], one["id"], own[n]) for n, one in enumerate(frame["objects"])]
        self.rows = np.array(rows, np.int64).reshape(-1, 3)

    def wrong(self, rows: Any = None) -> int:
        """How much is wrong: changes of the object under an identity, and of the identity on an object."""
        _, ids, owners = (self.rows if rows is None else rows).T
        real = owners != NOTHING
        turns = _changes(ids, owners) + _changes(owners[real], ids[real])
        return turns + len(set(ids[~real].tolist()))

    def after(self, edit: Json) -> Any:
        """The rows that an edit would leave."""
        rows = self.rows.copy()
        frames, ids = rows[:, 0], rows[:, 1]
        match edit["op"]:
            case "join":
                ids[ids == edit["from"]] = edit["into"]
            case "cut":
                ids[(ids == edit["id"]) & (frames >= edit["frame"])] = ids.max() + 1
            case "swap":
                a, b = edit["a"], edit["b"]
                late = frames >= edit["frame"]
                mine, theirs = late & (ids == a), late & (ids == b)
                ids[mine], ids[theirs] = b, a
            case "delete":
                gone = (ids == edit["id"]) & (frames >= edit["first"]) & (frames <= edit["last"])
                rows = rows[~gone]
            case _:
                return rows
        return rows

    def helps(self, edit: Json | None) -> int:
        """By how much an edit makes it better."""
        return 0 if edit is None else self.wrong() - self.wrong(self.after(edit))

    def by_hand(self, ids: Sequence[int], near: tuple[int, int]) -> Json | None:
        """The best that can be done about these identities at about this time; None: nothing is wrong there."""
        options = list(self._options(ids, near))
        best = max(options, key=self.helps, default=None)
        return best if best is not None and self.helps(best) > 0 else None

    def _options(self, ids: Sequence[int], near: tuple[int, int]) -> Iterator[Json]:
        turns = set()
        for one in ids:
            mine = self.rows[self.rows[:, 1] == one]
            turned = mine[1:][np.diff(mine[:, 2]) != 0][:, 0]
            turns |= {int(t) for t in turned if near[0] <= t <= near[1]}
            yield from ({"op": "cut", "id": one, "frame": t} for t in sorted(turns))
            if len(mine) and (mine[:, 2] == NOTHING).all():
                yield {
                    "op": "delete",
                    "id": one,
                    "first": int(mine[0, 0]),
                    "last": int(mine[-1, 0]),
                }
        for t in sorted(turns):
            # Whoever else is in the picture then may be the other one.
            at = set(self.rows[np.abs(self.rows[:, 0] - t) <= 1][:, 1].tolist())
            yield from ({"op": "swap", "a": a, "b": b, "frame": t} for a in ids for b in at - {a})
        for a in ids:
            yield from ({"op": "join", "into": a, "from": b} for b in ids if a < b)


def _changes(keys: Any, values: Any) -> int:
    """In how many places the value changes within a key, rows in order of time."""
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    return int(((np.diff(keys) == 0) & (np.diff(values) != 0)).sum())


def frames_of(page: Any) -> list[Json]:
    """All frames of the run in a tab, as the server has them now."""
    found: list[Json] = page.evaluate(
        """async () => {
          const frames = [];
          for (let first = 0; first < studio.run.count; first += 200) {
            const answer = await fetch(`/api/studio${studio.run.path}/frames?first=${first}&count=200`);
            frames.push(...(await answer.json()).frames);
          }
          return frames;
        }"""
    )
    return found


def tracks_of(frames: Sequence[Json], ids: Sequence[int]) -> list[list[Json | None]]:
    """Masks of each identity, one or None per frame; ``ids`` of all objects in a row, ``NOTHING`` does not count."""
    found: dict[int, list[Json | None]] = {}
    objects = ((frame["frame"], one) for frame in frames for one in frame["objects"])
    for (number, one), track_id in zip(objects, ids, strict=True):
        if track_id != NOTHING:
            found.setdefault(track_id, [None] * len(frames))[number] = one["mask"]
    return list(found.values())


def as_told(results: Sequence[FrameResult]) -> list[Json]:
    """Frames as the server tells them, without masks."""
    return [
        {
            "frame": n,
            "objects": [
                {"id": track_id, "box": box}
                for track_id, box in zip(
                    result.track_ids.tolist(), result.detections.boxes.tolist(), strict=True
                )
            ],
        }
        for n, result in enumerate(results)
    ]
