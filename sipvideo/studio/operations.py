"""What an edit can be, and what it does to the objects of a run.

Every edit is a record for the log. Its identities are numbers of the run that it was made on; how they are found in
another one is the business of :mod:`sipvideo.studio.anchors`. Frames count from 0 among the run's; spans include both
ends. An edit either does all of what it says or raises and leaves everything as it was.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError
from sipvideo.exchange.collection import compressed
from sipvideo.sinks.results import majority
from sipvideo.studio.table import GONE, NO_ROWS, Rows, Table

Identity = Annotated[int, Field(ge=0, lt=2**31)]
FrameNumber = Annotated[int, Field(ge=0, lt=2**31)]
Label = Annotated[int, Field(ge=0, lt=10_000)]
Mask = Annotated[dict[str, Any], Field(description='COCO RLE: {"size": [h, w], "counts": "..."}')]
CERTAIN = 1.0
"""Score of what a person has drawn."""


class EditError(SipVideoError):
    """An edit cannot be done as it is asked for; nothing was changed."""


class Operation(BaseModel):
    """An edit.

    Attributes:
        within: frames that it may change at most, both inclusive; None: all.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    identities: ClassVar[tuple[str, ...]] = ()
    """Fields that name identities which are there before."""
    makes: ClassVar[str] = ""
    """Field that names the identity which begins with it."""

    within: tuple[FrameNumber, FrameNumber] | None = None

    def apply(self, table: Table) -> list[str]:
        """Changes the table; gives what a person should know.

        Raises:
            EditError: it cannot be done.
        """
        raise NotImplementedError

    def place(self) -> int | None:
        """The frame that it speaks of; None: no single one."""
        return None

    def record(self) -> Json:
        """As in the log."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def _rows(self, table: Table, identity: int, first: int = 0, last: int | None = None) -> Rows:
        """The objects of an identity that may be changed. Raises EditError where the identity is nowhere."""
        if not len(table.rows(identity)):
            raise EditError(f"there is no identity {identity}")
        if self.within is not None:
            first = max(first, self.within[0])
            last = self.within[1] if last is None else min(last, self.within[1])
        return table.rows(identity, first, last)

    def _check(self, table: Table, frame: int) -> None:
        """Raises EditError where a frame may not be changed, or is none."""
        if frame >= table.frame_count:
            raise EditError(f"there is no frame {frame}: the run has {table.frame_count}")
        if self.within is not None and not self.within[0] <= frame <= self.within[1]:
            raise EditError(f"frame {frame} is not one of {self.within[0]} to {self.within[1]}")


class Join(Operation):
    """All of ``from`` becomes ``into``; where both are in a frame the higher score stays."""

    identities = ("into", "from_")

    op: Literal["join"] = "join"
    into: Identity
    from_: Identity = Field(alias="from")
    first: FrameNumber = 0
    last: FrameNumber | None = None

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        if self.into == self.from_:
            raise EditError("an identity cannot be joined with itself")
        self._rows(table, self.into)
        come = self._rows(table, self.from_, self.first, self.last)
        if not len(come):
            raise EditError(f"identity {self.from_} is in none of these frames")
        stay = table.rows(self.into)
        _, mine, theirs = np.intersect1d(table.frames[stay], table.frames[come], True, True)
        loses = table.scores[come[theirs]] <= table.scores[stay[mine]]
        table.assign(come[theirs[loses]], GONE)
        table.assign(stay[mine[~loses]], GONE)
        table.assign(np.delete(come, theirs[loses]), self.into)
        if not len(mine):
            return []
        return [
            f"{self.into} and {self.from_} were both in {len(mine)} frames: the higher score stays"
        ]


class Cut(Operation):
    """From ``frame`` on the identity is another one."""

    identities = ("id",)
    makes = "new"

    op: Literal["cut"] = "cut"
    id: Identity
    frame: FrameNumber
    new: Identity | None = None

    def place(self) -> int | None:
        """See :meth:`Operation.place`."""
        return self.frame

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        assert self.new is not None
        _check_new(table, self.new)
        rows = self._rows(table, self.id, self.frame)
        if not len(rows) or len(rows) == len(table.rows(self.id)):
            raise EditError(f"identity {self.id} is not on both sides of frame {self.frame}")
        table.assign(rows, self.new)
        return []


class Swap(Operation):
    """From ``frame`` on the two identities are each the other."""

    identities = ("a", "b")

    op: Literal["swap"] = "swap"
    a: Identity
    b: Identity
    frame: FrameNumber

    def place(self) -> int | None:
        """See :meth:`Operation.place`."""
        return self.frame

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        if self.a == self.b:
            raise EditError("an identity cannot be swapped with itself")
        a, b = (self._rows(table, one, self.frame) for one in (self.a, self.b))
        if not len(a) + len(b):
            raise EditError(f"neither {self.a} nor {self.b} is there from frame {self.frame} on")
        # By way of nobody: both may be in the same frames.
        table.assign(a, GONE)
        table.assign(b, self.a)
        table.assign(a, self.b)
        return []


class Classed(Operation):
    """An edit that says a class: by its label, or by its name, which also counts where labels differ."""

    label: Label | None = None
    class_name: str | None = Field(default=None, alias="class", min_length=1, max_length=200)


class Relabel(Classed):
    """The identity is of another class."""

    identities = ("id",)

    op: Literal["relabel"] = "relabel"
    id: Identity
    first: FrameNumber = 0
    last: FrameNumber | None = None

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        if self.label is None:
            raise EditError("relabel: expected a label or a class")
        rows = self._rows(table, self.id, self.first, self.last)
        if not len(rows):
            raise EditError(f"identity {self.id} is in none of these frames")
        table.relabel(rows, self.label)
        return []


class Delete(Operation):
    """The identity is not in these frames."""

    identities = ("id",)

    op: Literal["delete"] = "delete"
    id: Identity
    first: FrameNumber = 0
    last: FrameNumber | None = None

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        rows = self._rows(table, self.id, self.first, self.last)
        if not len(rows):
            raise EditError(f"identity {self.id} is in none of these frames")
        table.assign(rows, GONE)
        return []


class SetMask(Classed):
    """The object in a frame has this mask; it is added where it was missing. No mask: it is not there."""

    identities = ("id",)

    op: Literal["mask"] = "mask"
    id: Identity
    frame: FrameNumber
    mask: Mask | None

    def place(self) -> int | None:
        """See :meth:`Operation.place`."""
        return self.frame

    def record(self) -> Json:
        """See :meth:`Operation.record`."""
        return {**super().record(), "mask": self.mask}

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        self._check(table, self.frame)
        _put(table, self, [(self.frame, checked(table, self.frame, self.mask))])
        return []


class SetMasks(Classed):
    """The object has these masks in these frames, as :class:`SetMask` in each."""

    identities = ("id",)

    op: Literal["masks"] = "masks"
    id: Identity
    frames: list[tuple[FrameNumber, Mask | None]] = Field(min_length=1)

    def place(self) -> int | None:
        """See :meth:`Operation.place`."""
        return self.frames[0][0]

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        numbers = [frame for frame, _ in self.frames]
        for frame in numbers:
            self._check(table, frame)
        if len(set(numbers)) < len(numbers):
            raise EditError("masks: a frame is there twice")
        _put(table, self, [(frame, checked(table, frame, mask)) for frame, mask in self.frames])
        return []


class Create(Classed):
    """A new identity, with its first mask."""

    makes = "id"

    op: Literal["create"] = "create"
    id: Identity | None = None
    frame: FrameNumber
    mask: Mask

    def place(self) -> int | None:
        """See :meth:`Operation.place`."""
        return self.frame

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        assert self.id is not None
        _check_new(table, self.id)
        self._check(table, self.frame)
        mask = checked(table, self.frame, self.mask)
        if mask is None:
            raise EditError("create: the mask is empty")
        if self.label is None:
            raise EditError("create: expected a label or a class")
        table.add(self.frame, mask, (self.id, self.label, CERTAIN))
        return []


class Accept(Operation):
    """A doubt was looked at and is none."""

    op: Literal["accept"] = "accept"
    doubt: str = Field(min_length=1, max_length=500)

    def apply(self, table: Table) -> list[str]:
        """See :meth:`Operation.apply`."""
        return []


AnyOperation = Annotated[
    Join | Cut | Swap | Relabel | Delete | SetMask | SetMasks | Create | Accept,
    Field(discriminator="op"),
]
_OPERATION: TypeAdapter[Any] = TypeAdapter(AnyOperation)


def read_operation(record: Json) -> Operation:
    """An edit from its record, without what the log says beside it.

    Raises:
        EditError: it is none.
    """
    try:
        found: Operation = _OPERATION.validate_python(record)
    except ValidationError as error:
        trouble = error.errors()[0]
        place = ".".join(str(part) for part in trouble["loc"])
        raise EditError(": ".join(part for part in (place, trouble["msg"]) if part)) from error
    return found


def checked(table: Table, frame: int, mask: Json | None) -> Json | None:
    """A mask that native code may have, its counts as text; None where it is empty.

    Raises:
        EditError: it is malformed, or not of the frame's size.
    """
    if mask is None:
        return None
    try:
        found = compressed(mask, table.size(frame))
    except (ValueError, TypeError) as error:
        raise EditError(f"frame {frame}: mask: {error}") from error
    return found if coco_mask.area(found) else None


def label_of(table: Table, rows: Rows) -> int | None:
    """The most frequent label; ties: the smallest. None: there is no row."""
    return majority(Counter(table.labels[rows].tolist())) if len(rows) else None


def _check_new(table: Table, identity: int) -> None:
    if len(table.rows(identity)):
        raise EditError(f"identity {identity} is there already")


def _put(table: Table, operation: SetMask | SetMasks, masks: list[tuple[int, Json | None]]) -> None:
    """Gives an identity masks; what is not said of an object stays as it was there, or is as it mostly is."""
    identity, rows = operation.id, table.rows(operation.id)
    usual = operation.label if operation.label is not None else label_of(table, rows)
    if usual is None:
        raise EditError(f"there is no identity {identity}")
    for frame, mask in masks:
        before = table.row(identity, frame)
        if mask is None:
            table.assign(NO_ROWS if before is None else np.array([before]), GONE)
            continue
        label, score = usual, CERTAIN
        if before is not None:
            score = float(table.scores[before])
            label = int(table.labels[before]) if operation.label is None else usual
        table.add(frame, mask, (identity, label, score))
