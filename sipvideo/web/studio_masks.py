"""The studio's routes that look at pictures and masks: what is doubtful."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from sipvideo.annotations import Json
from sipvideo.studio.doubts import doubts as doubts_of
from sipvideo.studio.tracks import sightings
from sipvideo.web import studio_answers as answers
from sipvideo.web.studio import NO_RUN, as_json, document_of
from sipvideo.web.studio import router as studio_router

router = APIRouter(
    prefix=studio_router.prefix, tags=studio_router.tags, responses=studio_router.responses
)


@router.get("/{key}/doubts", response_model=list[answers.DoubtInfo], responses=NO_RUN)
async def doubts(request: Request, key: str) -> Response:
    """What is most likely wrong, worst first, without what somebody has found right."""
    document = await document_of(request, key)

    def made() -> list[Json]:
        listed = doubts_of(sightings(document), document.class_names, document.accepted)
        return [one.record() for one in listed]

    return as_json(await asyncio.to_thread(made))
