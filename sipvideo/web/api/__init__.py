"""The REST API (docs/api.md): the server and its sources, zones, uploads and their results."""

from __future__ import annotations

from fastapi import APIRouter

from sipvideo.web.answers import problems
from sipvideo.web.api import jobs, sources, zones

ANYWHERE = problems(
    s401="the token is missing or wrong",
    s403="asked by another site, or under another name",
    s422="a wrong parameter",
)

router = APIRouter(prefix="/api", responses=ANYWHERE)
for part in (sources, zones, jobs):
    router.include_router(part.router)
