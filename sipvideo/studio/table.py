"""The objects of a run as edits have left them: columns that change, and every change undone again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.annotations import Json
from sipvideo.studio.index import Columns

Rows = NDArray[np.int64]
GONE = -1
"""Identity of what was deleted, or replaced by another mask."""
NO_ROWS: Rows = np.zeros(0, np.int64)


Steps = list[tuple[str, Any, Any]]
"""What to put back, the latest last: column, rows, and what they were before; or a row that was added."""


class Table:
    """Objects by frame and by identity.

    Rows 0 to ``base`` - 1 are the run's, in its order; what edits add comes behind them.

    Args:
        columns: of the run; not changed.

    Attributes:
        base: number of the run's objects.
        frame_count: number of frames.
        frames: int32 [rows], frame of each object.
        ids: int32 [rows], -1: gone.
        labels: int32 [rows].
        scores: float32 [rows].
        boxes: float32 [rows, 4], x0, y0, x1, y1, frame pixels.
        areas: int32 [rows], pixels of the mask.
        masks: compressed RLEs of rows that edits added.
        touched: identities that were changed since somebody emptied it.
    """

    def __init__(self, columns: Columns) -> None:
        self.base = self._count = len(columns.ids)
        self.frame_count = len(columns.offsets)
        self.columns = columns
        self.frames = columns.frames
        self.ids = np.array(columns.ids)
        self.labels = np.array(columns.labels)
        self.scores = np.array(columns.scores)
        self.boxes = np.array(columns.boxes)
        self.areas = np.array(columns.areas)
        self.masks: dict[int, Json] = {}
        self._added: dict[int, list[int]] = {}
        order = np.argsort(self.ids, kind="stable")
        names, starts = np.unique(self.ids[order], return_index=True)
        self._rows = (
            dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))
            if len(order)
            else {}
        )
        self._largest_id = int(self.ids.max(initial=-1))
        self._steps: Steps = []
        self.touched: set[int] = set()

    @property
    def identities(self) -> list[int]:
        """Those that are somewhere, rising."""
        return sorted(self._rows)

    def rows(self, identity: int, first: int = 0, last: int | None = None) -> Rows:
        """Its objects in order of time, in frames ``first`` to ``last`` alone, both inclusive."""
        rows: Rows = self._rows.get(identity, NO_ROWS)
        if first <= 0 and last is None:
            return rows
        frames = self.frames[rows]
        end = len(rows) if last is None else int(np.searchsorted(frames, last, "right"))
        part: Rows = rows[int(np.searchsorted(frames, first)) : end]
        return part

    def row(self, identity: int, frame: int) -> int | None:
        """Its object in a frame."""
        rows = self.rows(identity, frame, frame)
        return int(rows[0]) if len(rows) else None

    def in_frame(self, frame: int) -> list[int]:
        """Rows of the objects in a frame."""
        begin, end = self.columns.starts[frame : frame + 2].tolist()
        own = begin + np.flatnonzero(self.ids[begin:end] >= 0)
        return [*own.tolist(), *(r for r in self._added.get(frame, ()) if self.ids[r] >= 0)]

    def size(self, frame: int) -> tuple[int, int]:
        """(height, width) of a frame."""
        height, width = self.columns.sizes[frame].tolist()
        return height, width

    def is_edited(self, row: int) -> bool:
        """Whether it is other than the run left it."""
        if row >= self.base:
            return True
        columns = self.columns
        return bool(self.ids[row] != columns.ids[row] or self.labels[row] != columns.labels[row])

    def new_id(self) -> int:
        """A number that no identity has or had."""
        self.reserve(self._largest_id + 1)
        return self._largest_id

    def reserve(self, identity: int) -> None:
        """The number is somebody's, also if nothing is to be seen of it now."""
        self._largest_id = max(self._largest_id, identity)

    def taken_steps(self) -> Steps:
        """What was changed since the last time, for :meth:`take_back`."""
        steps, self._steps = self._steps, []
        return steps

    def assign(self, rows: Rows, identity: int) -> None:
        """Gives objects to an identity that is in none of their frames; :data:`GONE` removes them."""
        if len(rows):
            self._steps.append(("ids", rows, self.ids[rows]))
            self._give(rows, np.full(len(rows), identity, np.int32))

    def relabel(self, rows: Rows, label: int) -> None:
        """Gives objects a class."""
        self._steps.append(("labels", rows, self.labels[rows]))
        self.touched.update(np.unique(self.ids[rows]).tolist())
        self.labels[rows] = label

    def add(self, frame: int, mask: Json, like: tuple[int, int, float]) -> None:
        """One more object: identity, label, score. What the identity had in the frame is replaced."""
        identity, label, score = like
        before = self.row(identity, frame)
        if before is not None:
            self.assign(np.array([before]), GONE)
        row = self._new_row()
        x, y, w, h = coco_mask.toBbox(mask).tolist()
        self.frames[row], self.labels[row], self.scores[row] = frame, label, score
        self.boxes[row], self.areas[row] = (x, y, x + w, y + h), int(coco_mask.area(mask))
        self.masks[row] = mask
        self.ids[row] = GONE
        self._added.setdefault(frame, []).append(row)
        self._steps.append(("added", row, None))
        self._give(np.array([row]), np.array([identity], np.int32))

    def take_back(self, steps: Steps) -> None:
        """Undoes the latest changes that are not yet undone."""
        for column, rows, before in reversed(steps):
            if column == "ids":
                self._give(rows, before)
            elif column == "labels":
                self.labels[rows] = before
                self.touched.update(np.unique(self.ids[rows]).tolist())
            else:
                self._give(np.array([rows]), np.array([GONE], np.int32))
                self._added[int(self.frames[rows])].pop()
                del self.masks[rows]
                self._count -= 1

    @property
    def alive(self) -> Rows:
        """Rows of all objects, by identity and frame."""
        return np.concatenate([NO_ROWS, *(self._rows[identity] for identity in self.identities)])

    def _new_row(self) -> int:
        if self._count == len(self.ids):
            more = max(1024, len(self.ids) // 8)
            for name in ("frames", "ids", "labels", "scores", "boxes", "areas"):
                column = getattr(self, name)
                room = np.zeros((more, *column.shape[1:]), column.dtype)
                setattr(self, name, np.concatenate((column, room)))
            self.ids[self._count :] = GONE
        self._count += 1
        return self._count - 1

    def _give(self, rows: Rows, ids: NDArray[np.int32]) -> None:
        """Sets identities, and keeps the rows of each in order."""
        old = self.ids[rows]
        self.ids[rows] = ids
        for identity in {*np.unique(old).tolist(), *np.unique(ids).tolist()} - {GONE}:
            known = self._rows.get(identity, NO_ROWS)
            stay = known[self.ids[known] == identity]
            come = rows[(ids == identity) & (old != identity)]
            merged = np.concatenate((stay, come))
            self._keep(identity, merged[np.argsort(self.frames[merged], kind="stable")])

    def _keep(self, identity: int, rows: Rows) -> None:
        self.touched.add(identity)
        if len(rows):
            self._rows[identity] = rows
        else:
            self._rows.pop(identity, None)
