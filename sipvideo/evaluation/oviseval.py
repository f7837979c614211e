"""Average precision of tracks by how much the objects are hidden, as OVIS defines it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sipvideo.evaluation.cells import Params
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.evaluation.ytvoseval import YTVOSeval

# The published names are camel case.
# ruff: noqa: N803


class OVISeval(YTVOSeval):
    """The same with OVIS' occlusion: ground truth carries ``occlusion``, one word or null per frame.

    An object's occlusion is the mean over the more occluded half of its frames; light is up to 0.25, medium up to
    0.5, heavy above, ends inclusive. Predictions are never ignored for occlusion. The arrays of ``eval`` have an
    axis for it after the area's, and ``stats`` 18 figures: after the six AP by threshold and size AP light, medium
    and heavy; after the six AR likewise.
    """

    def __init__(
        self,
        cocoGt: YTVOS | None = None,
        cocoDt: YTVOS | None = None,
        iouType: str = "segm",
        mode: Literal["compat", "strict"] = "compat",
    ) -> None:
        super().__init__(cocoGt, cocoDt, iouType, mode)
        self.params.occRng = [[0, 1], [0, 0.25], [0.25, 0.5], [0.5, 1]]
        self.params.occRngLbl = ["all", "light", "medium", "heavy"]

    def _shaped(self, values: NDArray[np.float64], p: Params) -> NDArray[np.float64]:
        *lead, _, limits = values.shape
        return values.reshape(*lead, len(p.areaRng), len(p.occRng), limits)

    def _selected(self, areas: list[int], occlusion: str, limits: list[int]) -> tuple[Any, ...]:
        chosen = [i for i, name in enumerate(self.params.occRngLbl) if name == occlusion]
        return (..., areas, chosen, limits)

    def _figures(self) -> list[tuple[str, int, float | None, str, str]]:
        plain = super()._figures()
        limit = plain[-1][1]
        degrees = ("light", "medium", "heavy")
        occluded = {
            w: [(w, limit, None, "all", degree) for degree in degrees] for w in ("AP", "AR")
        }
        return [*plain[:6], *occluded["AP"], *plain[6:], *occluded["AR"]]
