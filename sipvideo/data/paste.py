"""Objects of one view laid over another one (copy-paste, Ghiasi et al., CVPR 2021)."""

from __future__ import annotations

import cv2
import numpy as np

from sipvideo.data.geometry import Crop, tight
from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks


def paste(view: Sample, donor: Sample, edge: float = 0.0) -> Sample:
    """All objects of ``donor`` in front of ``view``.

    Args:
        view: the lower view.
        donor: N objects on a view of the same size; their ids must not occur in ``view``.
        edge: standard deviation of the soft edge, pixels; 0 for a hard one. Masks are not changed by it.

    Returns:
        The lower view's objects without the pixels that are covered now, also those without any left, then the
        donor's.
    """
    if not len(donor):
        return view
    covered = np.zeros(view.image.shape[:2], np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(donor.masks.windows.tolist()):
        covered[y0:y1, x0:x1] |= donor.masks.crop(k).view(np.uint8)
    image = view.image.copy()
    if edge > 0:
        weight = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), edge)[..., None]
        rows, columns = np.flatnonzero(weight.any((1, 2))), np.flatnonzero(weight.any((0, 2)))
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        upper, lower = donor.image[part].astype(np.float32), image[part].astype(np.float32)
        image[part] = np.rint(lower + (upper - lower) * weight[part]).astype(np.uint8)
    else:
        cv2.copyTo(donor.image, covered, image)
    left = [_uncovered(view.masks, k, covered) for k in range(len(view))]
    crops = [*left, *((donor.masks.crop(k), _origin(donor.masks, k)) for k in range(len(donor)))]
    return Sample(
        image=image,
        masks=CompactMasks.from_crops(
            [c for c, _ in crops], [o for _, o in crops], view.masks.frame_size
        ),
        labels=np.concatenate((view.labels, donor.labels)),
        crowd=np.concatenate((view.crowd, donor.crowd)),
        object_ids=np.concatenate((view.object_ids, donor.object_ids)),
        labelled=view.labelled,
    )


def _uncovered(masks: CompactMasks, k: int, covered: np.ndarray) -> Crop:
    x0, y0, x1, y1 = masks.windows[k].tolist()
    hidden = covered[y0:y1, x0:x1].view(bool)
    if not hidden.any():
        return masks.crop(k), (x0, y0)
    return tight(masks.crop(k) & ~hidden, (x0, y0))


def _origin(masks: CompactMasks, k: int) -> tuple[int, int]:
    x0, y0 = masks.windows[k, :2].tolist()
    return x0, y0
