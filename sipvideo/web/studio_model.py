"""The studio's routes that ask the model: masks refined by clicks and carried to other frames, figures, training."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request

from sipvideo.annotations import Json
from sipvideo.build import MODELS, load
from sipvideo.errors import DatasetError, SipVideoError, SourceError
from sipvideo.masks import CompactMasks, from_rles
from sipvideo.structures import Frame
from sipvideo.studio import Document
from sipvideo.studio.anew import check, make_anew
from sipvideo.studio.index import CACHE
from sipvideo.studio.learning import Course, learn
from sipvideo.studio.lessons import lessons
from sipvideo.studio.propagate import propagate
from sipvideo.studio.refine import OpenFrame, Refiner
from sipvideo.studio.scores import score
from sipvideo.studio.shelf import Opened, Studio
from sipvideo.studio.tasks import Task
from sipvideo.studio.window import Click, Refined
from sipvideo.web import studio_answers as answers
from sipvideo.web.answers import problems
from sipvideo.web.settings import Person
from sipvideo.web.studio import Visitor, document_of, opened, studio_of
from sipvideo.web.studio import router as studio_router

OPEN_FRAMES = 8
"""Frames whose maps are kept: as many as somebody goes back and forth between."""
PROPAGATE, SCORE, LEARN, ANEW = "propagate", "score", "learn", "anew"

router = APIRouter(
    prefix=studio_router.prefix, tags=studio_router.tags, responses=studio_router.responses
)
ASKING = problems(
    s404="no such run, frame, object or picture",
    s422="neither a mask, a box nor a click inside; or there is no model",
    s500="the run cannot be read: why",
)


@dataclass(frozen=True)
class _Clicked:
    """Clicks on an object, the mask before the first of them, and the one that they made."""

    start: CompactMasks
    found: CompactMasks
    clicks: list[Click]


class Views:
    """Frames that the model has looked at, and the clicks that were set on them.

    Args:
        studio: whose model it is.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = Lock()
        self._refiner: Refiner | None = None
        self._frames: OrderedDict[tuple[str, int], OpenFrame] = OrderedDict()
        self._clicked: dict[tuple[str, int, int], _Clicked] = {}

    @property
    def refiner(self) -> Refiner:
        """Refines with the studio's model. Raises SipVideoError: there is none."""
        if self._refiner is None:
            self._refiner = Refiner(self._studio.segmenter().engine)
        return self._refiner

    def refine(self, key: str, run: Opened, wish: answers.RefineBody) -> Refined:
        """See the route. Raises SipVideoError, ValueError."""
        with self._lock:  # of clicks in quick succession each builds on the one before
            frame = self._open(key, run, wish.frame)
            clicks = [(x, y, bool(inside)) for x, y, inside in wish.clicks]
            box = None if wish.box is None else np.array(wish.box, np.float32)
            now = None if wish.id is None else _mask_of(run.document(), wish.frame, wish.id)
            if wish.id is None or now is None:
                return frame.refine(clicks, None, box)
            place = key, wish.frame, wish.id
            start = self._before_first_click(place, now, clicks)
            found = frame.refine(clicks, start)
            self._clicked[place] = _Clicked(start, found.masks, clicks)
            if len(self._clicked) > OPEN_FRAMES:
                del self._clicked[next(iter(self._clicked))]
            return found

    def _open(self, key: str, run: Opened, number: int) -> OpenFrame:
        known = self._frames.get((key, number))
        if known is None:
            known = self.refiner.open(_frame(run, number))
            self._frames[key, number] = known
            if len(self._frames) > OPEN_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end((key, number))
        return known

    def _before_first_click(
        self, place: tuple[str, int, int], now: CompactMasks, clicks: list[Click]
    ) -> CompactMasks:
        """The mask that the first of the clicks was set on: what came of them may be in the document already."""
        known = self._clicked.pop(place, None)
        if known is None or not known.clicks or known.clicks != clicks[: len(known.clicks)]:
            return now
        # Somebody who drew on it meanwhile means that.
        same = any(one.rle(0) == now.rle(0) for one in (known.start, known.found))
        return known.start if same else now


def views_of(request: Request) -> Views:
    """The server's views."""
    state = request.app.state
    if not hasattr(state, "studio_views"):
        state.studio_views = Views(studio_of(request))
    found: Views = state.studio_views
    return found


def _frame(run: Opened, number: int) -> Frame:
    document = run.document()
    second = float(document.index.columns.times[number])
    return Frame(run.video.image(number), number, second)


def _mask_of(document: Document, frame: int, identity: int) -> CompactMasks | None:
    """An object's mask as it is now; None: it is not in the frame."""
    record = next(document.records(frame, 1))
    height, width = record["size"]
    rles = [one["segmentation"] for one in record["objects"] if one["track_id"] == identity]
    return from_rles(rles, (height, width)) if rles else None


def _check_frame(document: Document, frame: int) -> None:
    if not 0 <= frame < document.table.frame_count:
        raise HTTPException(404, "no such frame")


@router.post("/{key}/refine", responses=ASKING)
async def refine(request: Request, key: str, body: answers.RefineBody) -> answers.Refinement:
    """The mask that fits some clicks; nothing is edited. Without clicks the frame is looked at, so that they are quick.

    An object in a box, or under a click where no ``id`` is given, is new: what the model sees there.
    """
    document = await document_of(request, key)
    _check_frame(document, body.frame)
    run, views = opened(request, key), views_of(request)
    began = time.perf_counter()
    try:
        found = await asyncio.to_thread(views.refine, key, run, body)
    except SourceError as error:
        raise HTTPException(404, str(error)) from error
    except (SipVideoError, ValueError) as error:
        raise HTTPException(422, str(error)) from error
    return answers.Refinement(
        mask=found.masks.rle(0),
        score=found.score,
        label=found.label,
        ms=round(1000 * (time.perf_counter() - began), 1),
    )


@router.post("/{key}/propagate", responses=ASKING)
async def carry(
    request: Request, key: str, body: answers.PropagateBody, visitor: Visitor
) -> answers.TaskInfo:
    """Carries an object's mask to the frames after this one, or before it; ends as one edit.

    It ends before the next frame whose mask somebody drew, where the run's own object agrees, where the object is lost,
    and at ``until``.
    """
    document = await document_of(request, key)
    _check_frame(document, body.frame)
    mask = await asyncio.to_thread(_mask_of, document, body.frame, body.id)
    if mask is None:
        raise HTTPException(404, f"{body.id} is not in frame {body.frame}")
    run, views = opened(request, key), views_of(request)

    def work(task: Task) -> Json:
        return _carried(task, run, views, (body, mask, visitor))

    return _told(studio_of(request).tasks.start(key, PROPAGATE, work))


def _carried(
    task: Task, run: Opened, views: Views, wish: tuple[answers.PropagateBody, CompactMasks, Person]
) -> Json:
    body, mask, visitor = wish
    document = run.document()
    numbers = _way(document, body, visitor.frames)

    def rest() -> Iterator[tuple[int, Frame, CompactMasks | None]]:
        for number in numbers:
            yield number, _frame(run, number), _mask_of(document, number, body.id)

    found: list[Any] = []
    begin = _frame(run, body.frame), mask
    for done, step in enumerate(propagate(views.refiner, begin, rest()), 1):
        task.advance(done, len(numbers))
        if not step.agrees and len(step.masks) and step.masks.area(0):
            found.append([step.frame, step.masks.rle(0)])
    if not found:
        task.detail = f"{body.id} is as the model has it, nothing was changed"
        return {"frames": 0, "edit": None}
    with document.lock:
        edit = {"op": "masks", "id": body.id, "frames": found, "within": visitor.frames}
        base = document.since(document.revision).revision
        change = document.edit([edit], base, visitor.name or body.author)
    task.detail = f"the mask of {body.id} was carried to {len(found)} frames"
    return {"frames": len(found), "edit": change.lines[-1]["n"]}


def _way(
    document: Document, body: answers.PropagateBody, within: tuple[int, int] | None
) -> list[int]:
    """The frames to be gone through, up to one whose mask somebody drew or that the visitor may not change."""
    with document.lock:
        table = document.table
        last = table.frame_count - 1 if body.direction > 0 else 0
        if body.until is not None:
            last = min(max(body.until - body.direction, 0), table.frame_count - 1)
        numbers = range(body.frame + body.direction, last + body.direction, body.direction)
        rows = table.rows(body.id)
        drawn = {int(frame) for frame in table.frames[rows[rows >= table.base]]}
    first, final = within or (0, table.frame_count - 1)
    way: list[int] = []
    for number in numbers:
        if number in drawn or not first <= number <= final:
            break
        way.append(number)
    return way


@router.post("/{key}/score", responses=ASKING)
async def figures(request: Request, key: str, body: answers.ScoreBody) -> answers.TaskInfo:
    """Tracking figures of the run before and after its edits, against annotations or with the edits as the truth."""
    document = await document_of(request, key)
    truth = _named(request, body.truth)

    def work(task: Task) -> Json:
        return score(document, truth, lambda share, what: task.advance(share, 1.0, what))

    return _told(studio_of(request).tasks.start(key, SCORE, work))


@router.post("/{key}/learn", responses=ASKING)
async def teach(request: Request, key: str, body: answers.LearnBody) -> answers.TaskInfo:
    """Trains the model on the corrected frames, and measures it on those held out before it is offered.

    One training of a run at a time; after a stop the next request goes on where it was.
    """
    document = await document_of(request, key)
    studio, run = studio_of(request), opened(request, key)
    known = studio.tasks.find(key, LEARN)
    if known is not None and known.state in ("waiting", "running"):
        return _told(known)
    try:
        model = await asyncio.to_thread(lambda: studio.segmenter().engine.model)
    except SipVideoError as error:
        raise HTTPException(422, str(error)) from error
    name, weights = model.removeprefix("sipmask_"), _named(request, body.weights)
    if name not in MODELS:
        raise HTTPException(422, f"{model}: only the models that come along learn here")
    course = Course(
        name, weights, _named(request, body.known), _named(request, body.kept), body.steps
    )

    def work(task: Task) -> Json:
        folder = document.folder / CACHE / "learnt" / str(document.revision)

        def told(share: float, what: str) -> None:
            task.advance(share, 1.0, what)

        def picture(number: int) -> Any:
            return run.video.image(number)

        found = lessons(document, picture, folder / "lessons", told)
        return learn(found, course, folder / "run", told, task.stop)

    return _told(studio.tasks.start(key, LEARN, work))


@router.get("/{key}/learn", responses=ASKING)
async def learnt(request: Request, key: str) -> answers.TaskInfo | None:
    """The latest training of the run; null: there was none since the server began."""
    await document_of(request, key)
    task = studio_of(request).tasks.find(key, LEARN)
    return None if task is None else _told(task)


@router.post("/{key}/anew", responses=ASKING)
async def anew(
    request: Request, key: str, body: answers.AnewBody, visitor: Visitor
) -> answers.TaskInfo:
    """Segments the run's source anew with the model of its latest training, into a run beside this one.

    The task's result: ``run``, the key of the new one; ``edits``, how many were found in it, and of how many.
    """
    document = await document_of(request, key)
    studio, run = studio_of(request), opened(request, key)
    if visitor.frames is not None:
        raise HTTPException(403, "whoever makes a run anew must be allowed to change all frames")
    known = studio.tasks.find(key, ANEW)
    if known is not None and known.state in ("waiting", "running"):
        return _told(known)
    taught = studio.tasks.find(key, LEARN)
    if taught is None or taught.state != "done":
        raise HTTPException(422, "no model has learnt from this run yet: train first")
    try:
        await asyncio.to_thread(lambda: check(document, run.video))
    except SipVideoError as error:
        raise HTTPException(422, str(error)) from error
    weights = taught.result["weights"]

    def work(task: Task) -> Json:
        new = make_anew(document, run.video, load(weights=weights), task, edits=body.edits)
        name = studio.key_of(new)
        done, of = studio.run(name).document().found
        task.detail = f"{new.name}: {done} of {of} edits were found again" if of else new.name
        return {"run": name, "edits": [done, of]}

    return _told(studio.tasks.start(key, ANEW, work))


def _named(request: Request, name: str | None) -> Path | None:
    """A file of this machine, which its owner alone may name. Raises HTTPException."""
    if name is None:
        return None
    if not studio_of(request).owner:
        raise HTTPException(403, "files of this machine are named by its owner alone")
    path = Path(name)
    if not path.is_file():
        raise HTTPException(422, str(DatasetError(f"{name}: no such file")))
    return path


def _told(task: Task) -> answers.TaskInfo:
    return answers.TaskInfo(**task.record())
