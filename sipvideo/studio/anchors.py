"""How identities of an edit are found again in a run that was made anew, where they have other numbers.

Every identity that an edit names has an anchor: a frame in which it was then, and its box there. In another run it is
the identity whose box overlaps the anchor's most, as the objects are when the edit's turn comes.
"""

from __future__ import annotations

import numpy as np

from sipvideo.annotations import Json
from sipvideo.boxes import iou
from sipvideo.studio.log import BEGIN
from sipvideo.studio.operations import EditError, Operation
from sipvideo.studio.table import Table

NUMBERS = ("id", "into", "from", "a", "b", "new")
"""Keys of a line that hold identities."""
MAKES = {"cut": "new", "create": "id"}
"""Which of them begins with the edit."""

OVERLAP = 0.3
"""Intersection over union of boxes from which two show one object."""


def anchors_of(operation: Operation, table: Table) -> list[Json]:
    """Anchors of the identities that an edit names, before it is done."""
    found = []
    for name in operation.identities:
        identity = getattr(operation, name)
        rows = table.rows(identity)
        if not len(rows):
            continue
        # Near the place that the edit is about, where the identity is what the edit means.
        place = operation.place()
        if place is None:
            row = int(rows[len(rows) // 2])
        else:
            k = int(np.searchsorted(table.frames[rows], place))
            row = int(rows[min(k, len(rows) - 1)])
        box = [round(float(side), 1) for side in table.boxes[row]]
        found.append({"id": identity, "frame": int(table.frames[row]), "box": box})
    return found


class Translation:
    """Numbers of other runs' edits in this one.

    Args:
        table: this run's objects.
        run: its fingerprint.

    Attributes:
        told: fingerprint of the run that the latest lines of the log speak of; None: not yet told.
    """

    def __init__(self, table: Table, run: str) -> None:
        self._table = table
        self._run = run
        self.told: str | None = None
        self._made: dict[int, int] = {}
        """Identities that edits of the run told of made, and what they are here."""
        self._foreign: dict[int, dict[int, int]] = {}
        """The same for each line that speaks of another run, by its number."""

    def note(self, line: Json) -> None:
        """Reads the next line of the log, whether it will be done or not: numbers must not depend on that."""
        if line["op"] == BEGIN:
            self.told, self._made = str(line["run"]), {}
        elif self.told == self._run:
            for name in NUMBERS:
                if isinstance(line.get(name), int):
                    self._table.reserve(line[name])
        else:
            self._foreign[line["n"]] = self._made
            name = MAKES.get(line["op"], "")
            if isinstance(line.get(name), int):
                self._made[line[name]] = self._table.new_id()

    def translated(self, operation: Operation, line: Json) -> Operation:
        """A line's edit with the numbers of this run.

        Raises:
            EditError: an identity is not found.
        """
        made = self._foreign.get(line["n"])
        if made is None:
            return operation
        anchors = {anchor["id"]: anchor for anchor in line.get("anchors") or ()}
        changes = {}
        for name in operation.identities:
            identity = getattr(operation, name)
            known = made.get(identity)
            changes[name] = self._find(identity, anchors.get(identity)) if known is None else known
        if operation.makes:
            changes[operation.makes] = made[getattr(operation, operation.makes)]
        return operation.model_copy(update=changes)

    def _find(self, identity: int, anchor: Json | None) -> int:
        if anchor is None:
            raise EditError(f"nothing tells which object {identity} was")
        table, frame = self._table, int(anchor["frame"])
        rows = table.in_frame(frame) if frame < table.frame_count else []
        if rows:
            box = np.array([anchor["box"]], np.float32)
            overlaps = iou(box, table.boxes[rows])[0]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= OVERLAP:
                return int(table.ids[rows[best]])
        raise EditError(f"object {identity} is not found in frame {frame}")
