"""What the REST API answers, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from sipvideo.web.jobs import State


class Problem(BaseModel):
    """Why a request was not carried out."""

    detail: str = Field(description="one line")


class Looks(BaseModel):
    """How the page shows live pictures at first."""

    labels: bool = Field(description="tags are shown")
    tags: list[str] = Field(description="what they say: class, id, score")
    trails: bool = Field(description="paths behind identities are shown")
    seconds: float = Field(description="length of a path")
    boxes: bool
    opacity: float = Field(description="of masks")
    outlines: bool


class Health(BaseModel):
    """That the server is there, and its limits."""

    status: str = "ok"
    version: str
    model: str = Field(description="model and engine")
    classes: list[str] = Field(description="class names in label order")
    visitors: int = Field(description="live connections now")
    max_visitors: int
    jobs: int = Field(description="videos waiting or in work")
    max_upload: int = Field(description="bytes of one video")
    max_duration: float = Field(description="seconds of one video")
    keep: float = Field(description="seconds until results are removed")
    looks: Looks


class NewSource(BaseModel, extra="forbid"):
    """A live source that the server is to show."""

    source: str = Field(
        max_length=2000,
        description="rtsp://..., http://..., udp://... and the like, or the number of a camera of the server",
    )
    id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]{0,40}$",
        description="to be used in addresses; empty: the next number",
    )


class SourceInfo(BaseModel):
    """A live source of the server."""

    id: str
    name: str
    state: str = Field(
        description="connecting, live, failing (frames cannot be processed), waiting (to be reopened), ended, "
        "failed, closed"
    )
    text: str = Field(description="the state in words")
    size: list[int] | None = Field(description="height and width of its pictures")
    fps: float = Field(description="results per second of late")
    source_fps: float = Field(description="pictures per second that the source gives")
    dropped: int = Field(
        description="pictures without a result: a newer one came first, nobody watched, or they were damaged"
    )
    reconnects: int
    age_p50_ms: float | None = Field(
        description="capture to display, median of the last results shown"
    )
    age_p95_ms: float | None


class Zones(BaseModel):
    """Zones and lines of a source, and what they have counted."""

    rules: dict[str, Any] = Field(description="as in a file for --zones")
    editable: bool = Field(description="whether PUT changes them (--allow-zones)")
    counts: dict[str, Any] = Field(
        description="zones: inside and visits by class; lines: crossings by direction and class"
    )


class ResultFile(BaseModel):
    """A file of results."""

    name: str
    bytes: int
    url: str


class JobInfo(BaseModel):
    """An uploaded video and what became of it."""

    id: str
    name: str = Field(description="the visitor's file name, fit to be shown")
    state: State
    problem: str = Field(description="why it failed, else empty")
    created: float = Field(description="seconds since 1970")
    ended: float | None = Field(description="seconds since 1970")
    frames: int = Field(description="done so far")
    frame_count: int | None = Field(description="in the video, where known")
    seconds: float = Field(description="of video done so far")
    duration: float | None = Field(description="of the video in seconds, where known")
    fps: float = Field(description="frames done per second")
    tracks: int = Field(description="identities so far")
    notes: list[str] = Field(description="what was chosen, changed or left out, once it has ended")
    counts: dict[str, dict[str, int]] = Field(
        description="by zone and line: how many entered, or crossed in each direction, once it has ended"
    )
    expires: float | None = Field(description="when its results are removed, seconds since 1970")
    results: list[ResultFile] = Field(description="once it has ended")
    archive: str | None = Field(description="address of all results in one zip file")
    studio: str | None = Field(description="address of the page on which its results are edited")


def problems(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Documentation of answers other than success: ``problems(s404="no such job")``."""
    return {
        int(status[1:]): {"model": Problem, "description": reason}
        for status, reason in reasons.items()
    }
