"""What the studio's routes take and answer, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from sipvideo.studio.exporting import KINDS, WRITTEN

MASK = 'COCO RLE of the whole frame: {"size": [height, width], "counts": "..."}'


class RunInfo(BaseModel):
    """A run that can be looked at and edited."""

    id: str
    name: str
    frames: int
    size: list[int] | None = Field(description="height and width of its frames, once it is open")
    fps: float | None = Field(description="frames per second on average, once it is open")
    duration: float = Field(description="seconds")
    identities: int | None
    has_video: bool | None = Field(description="whether its pictures are there, once it is open")
    revision: int = Field(description="number of the last line of its log; 0: never edited")
    editable: bool = Field(description="whether this visitor may edit it")
    classes: list[str] = Field(description="names in label order, once it is open")
    video: Literal["source", "annotated"] | None = Field(
        description="its pictures: those that it was made from, or its own video with masks drawn in"
    )
    notes: list[str] = Field(description="what a person should know, one line each")
    opening: float | None = Field(
        description="share of it that is looked through, while it is opened for the first time: ask again"
    )


class OneRun(RunInfo):
    """A run, and what this visitor may do in it."""

    author: str = Field(description="the visitor's name in the log")
    range: list[int] | None = Field(
        description="first and last frame that the visitor may change; null: all"
    )


class Track(BaseModel):
    """An identity as a lane of a timeline."""

    id: int
    label: int = Field(description="its most frequent one")
    class_: str = Field(alias="class")
    frames: int = Field(description="in how many it is")
    score: float = Field(description="mean")
    spans: list[list[int]] = Field(description="first and last frame of each stretch")
    thickness: str = Field(
        description="base64: a byte for each bin, mean score times 255; 0: in no frame of the bin"
    )
    bins: list[int] = Field(description="first frame of the first bin, frames of each")


class Tracks(BaseModel):
    """All identities of a run."""

    revision: int
    tracks: list[Track]


class Sighting(BaseModel):
    """An object in a frame."""

    id: int
    label: int
    score: float
    box: list[float] = Field(description="x0, y0, x1, y1 in pixels of the frame")
    mask: dict[str, Any] = Field(description=MASK)
    edited: bool = Field(description="other than the run left it")
    filled: bool = Field(description="put in afterwards by the run, where it had been missed")
    returned: float = Field(description="seconds that it was away, if it came back just now")


class FrameObjects(BaseModel):
    """The objects of a frame."""

    frame: int
    timestamp: float = Field(description="seconds")
    objects: list[Sighting]


class Frames(BaseModel):
    """Frames in a row."""

    revision: int
    frames: list[FrameObjects]


class EditsBody(BaseModel):
    """Edits that are done together, and undone together."""

    base: int = Field(ge=0, le=2**31, description="revision that the visitor saw")
    author: str = Field(
        "", max_length=100, description="name for the log; ignored where a link has one"
    )
    edits: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=1000,
        description="each with `op` (join, cut, swap, relabel, delete, mask, masks, create, accept) and what it takes, "
        "see docs/studio.md",
    )


class StepBody(BaseModel):
    """Undo or redo of the visitor's own latest edit."""

    base: int = Field(ge=0, le=2**31, description="revision that the visitor saw")
    author: str = Field("", max_length=100, description="as for edits")


class Changed(BaseModel):
    """What became of a run by new lines of its log."""

    revision: int
    edits: list[dict[str, Any]] = Field(description="the new lines")
    tracks: list[Track] = Field(
        description="identities that are not what they were, as they are now"
    )
    removed: list[int] = Field(description="identities that are nowhere any more")
    notes: list[str] = Field(description="what a person should know, one line each")


class Overtaken(Changed):
    """Somebody else was faster: nothing was changed; this happened since ``base``."""

    detail: str


class SourceBody(BaseModel):
    """Where a run's source is now."""

    source: str = Field(
        min_length=1, max_length=4000, description="a file or folder of the server's machine"
    )


class DoubtInfo(BaseModel):
    """Something that may be wrong."""

    key: str = Field(description="names it in `accept`, as long as what it is about stays as it is")
    kind: str = Field(description="swap, jump, return, change, twin, class, growth, gap, short")
    ids: list[int] = Field(description="identities that it is about")
    first: int
    last: int
    worth: float = Field(description="0 to 1, how likely it is worth a look")
    why: str
    remedy: dict[str, Any] | None = Field(
        description="an edit that may mend it; op `propagate`: masks to be carried on"
    )


class ExportBody(BaseModel):
    """What to write of the edited run."""

    kinds: list[Annotated[str, Field(max_length=20)]] = Field(
        [], max_length=20, description=f"results: some of {', '.join(KINDS)}"
    )
    format: str | None = Field(
        None, max_length=20, description=f"of another program: one of {', '.join(WRITTEN)}"
    )
    pictures: bool = Field(
        False, description="also the frames, where the format has places of its own for them"
    )
    tolerance: float = Field(
        1.0, ge=0, le=100, description="pixels that polygons may leave the masks"
    )

    @model_validator(mode="after")
    def _known(self) -> ExportBody:
        if self.format is not None and self.format not in WRITTEN:
            raise ValueError(f"format: expected one of {', '.join(WRITTEN)}, got {self.format!r}")
        if not self.kinds and self.format is None:
            raise ValueError("expected kinds, a format, or both")
        return self


class TaskInfo(BaseModel):
    """Long work in the background."""

    task: int
    run: str
    kind: str = Field(description="proxy, propagate, score, learn, ...")
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: float
    total: float = Field(description="of which so much is done; 0: not yet known")
    detail: str
    result: Any = None


class RefineBody(BaseModel):
    """Clicks on an object."""

    frame: int = Field(ge=0, lt=2**31)
    id: int | None = Field(None, ge=0, lt=2**31, description="null: a new object")
    box: list[float] | None = Field(
        None, min_length=4, max_length=4, description="x0, y0, x1, y1 around a new object"
    )
    clicks: list[tuple[float, float, int]] = Field(
        [], max_length=100, description="x, y in pixels of the frame; 1: inside, 0: outside"
    )


class Refinement(BaseModel):
    """The mask that fits the clicks. Nothing is edited yet."""

    mask: dict[str, Any] = Field(description=MASK)
    score: float = Field(description="mean probability of its pixels")
    label: int | None = Field(description="of a new object, where the model tells one")
    ms: float = Field(description="milliseconds that it took")


class PropagateBody(BaseModel):
    """A mask that is to be carried to other frames."""

    frame: int = Field(ge=0, lt=2**31, description="in which the mask is right")
    id: int = Field(ge=0, lt=2**31)
    direction: Literal[1, -1] = 1
    until: int | None = Field(None, ge=0, lt=2**31, description="first frame that stays as it is")
    author: str = Field("", max_length=100, description="as for edits")


class ScoreBody(BaseModel):
    """What a run is compared with."""

    truth: str | None = Field(
        None, max_length=4000, description="annotations in YouTube-VIS format; null: the edits"
    )


class LearnBody(BaseModel):
    """A training on corrections. Files are named by the machine's owner alone."""

    weights: str | None = Field(
        None, max_length=4000, description="to start from; null: those that come along"
    )
    known: str | None = Field(
        None, max_length=4000, description="annotated pictures that are learnt beside, COCO"
    )
    kept: str | None = Field(
        None, max_length=4000, description="annotated pictures on which is measured, COCO"
    )
    steps: int | None = Field(None, ge=1, le=100_000, description="null: the recipe's")


class AnewBody(BaseModel):
    """A run made anew with the model that learnt from it."""

    edits: bool = Field(
        False, description="its edits are taken over: objects are found again by where they were"
    )
