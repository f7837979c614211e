"""Results for, and detections from, other libraries in memory: supervision, pandas, Polars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import ConfigError
from sipvideo.extras import absence
from sipvideo.masks import CompactMasks
from sipvideo.postprocess.colours import with_looks
from sipvideo.sinks.results import class_name
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.transforms import small_picture

if TYPE_CHECKING:
    import supervision


def to_supervision(result: FrameResult, class_names: Sequence[str] = ()) -> supervision.Detections:
    """A result as ``supervision.Detections``: boxes, masks, scores, classes, identities; untracked objects left out.

    Args:
        result: of one frame.
        class_names: names in label order, for ``data["class_name"]``.

    Raises:
        ConfigError: supervision is not installed.
    """
    library = _supervision()
    result = result.tracked()
    found = result.detections
    masks = np.zeros((len(found), *result.frame.size), bool)
    for k in range(len(found)):
        masks[k] = found.masks.dense(k)
    names = np.array([class_name(class_names, label) for label in found.labels.tolist()], dtype=str)
    made: supervision.Detections = library.Detections(
        xyxy=found.boxes.copy(),
        mask=masks,
        confidence=found.scores.copy(),
        class_id=found.labels.astype(int),
        tracker_id=result.track_ids.astype(int),
        data={"class_name": names},
    )
    return made


def from_supervision(
    detections: supervision.Detections, frame: Frame, embeddings: NDArray[Any] | None = None
) -> Detections:
    """What another program's detector found in a frame, for our tracker and everything after it.

    An object without a mask gets its box as one; without a score 1; without a class 0. Identities are not taken over.

    Args:
        detections: of the frame.
        frame: with its picture, in which the tracker sees how the camera moves.
        embeddings: float [N, E], what objects look like, cosine distances telling them apart; None: the colours of
            their masks, if there are masks, else nothing is known.

    Raises:
        ValueError: arrays do not fit each other or the frame.
    """
    n, (height, width) = len(detections), frame.size
    boxes = np.asarray(detections.xyxy, np.float32).reshape(n, 4)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    masks = np.zeros((n, height, width), bool)
    if detections.mask is not None:
        masks[:] = np.asarray(detections.mask, bool)
    else:
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.round().astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
    scores = _or(detections.confidence, n, 1.0, np.float32)
    labels = _or(detections.class_id, n, 0, np.int64)
    looks = np.zeros((n, 0)) if embeddings is None else np.asarray(embeddings)
    order = np.argsort(-scores, kind="stable")
    found = Detections(
        boxes=boxes[order],
        scores=scores[order],
        labels=labels[order],
        masks=CompactMasks.from_dense(masks[order]),
        embeddings=looks[order].astype(np.float32),
    )
    known = embeddings is not None or detections.mask is None
    return with_looks(found, small_picture(frame.image), 0.0 if known else 1.0)


def columns(
    results: Iterable[FrameResult], class_names: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Tracked objects of results as columns, a row per object and frame, masks as COCO's RLE text.

    ``pandas.DataFrame(columns(results))`` and ``polars.DataFrame(columns(results))`` are tables of them.

    Args:
        results: of one video, which are taken one by one.
        class_names: names in label order.
    """
    names = ("frame", "timestamp", "track_id", "label", "class_name", "score")
    table: dict[str, list[Any]] = {
        name: [] for name in (*names, "x0", "y0", "x1", "y1", "mask_area", "mask")
    }
    for result in results:
        kept = result.tracked()
        found, areas = kept.detections, kept.detections.masks.areas().tolist()
        for k, track_id in enumerate(kept.track_ids.tolist()):
            label = int(found.labels[k])
            row = [
                kept.frame.index,
                kept.frame.timestamp,
                track_id,
                label,
                class_name(class_names, label),
            ]
            row += [
                float(found.scores[k]),
                *found.boxes[k].tolist(),
                areas[k],
                _text(found.masks.rle(k)),
            ]
            for column, value in zip(table.values(), row, strict=True):
                column.append(value)
    return table


def _text(rle: dict[str, Any]) -> str:
    counts = rle["counts"]
    return counts.decode("ascii") if isinstance(counts, bytes) else str(counts)


def _or(values: NDArray[Any] | None, n: int, usual: float, dtype: Any) -> NDArray[Any]:
    return np.full(n, usual, dtype) if values is None else np.asarray(values, dtype).reshape(n)


def _supervision() -> Any:
    try:
        import supervision
    except ModuleNotFoundError as error:
        raise ConfigError(absence("supervision")) from error
    return supervision
