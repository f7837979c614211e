"""The colours of objects: of the mask alone, at any size of frame and picture, and in embeddings by a share."""

import cv2
import numpy as np
import pytest

from sipvideo.masks import CompactMasks
from sipvideo.postprocess.colours import SIZE, colours, with_looks
from sipvideo.structures import Detections
from sipvideo.transforms import small_picture

RED, BLUE = (200, 40, 40), (40, 60, 190)


def halves(size: tuple[int, int]) -> tuple[np.ndarray, CompactMasks]:
    """A picture whose left half is red and whose right one is blue, and masks of the left, the right and the middle."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = RED, BLUE
    masks = np.zeros((3, height, width), bool)
    masks[0, height // 4 : height // 2, 3 : width // 2 - 3] = True
    masks[1, height // 4 : height // 2, width // 2 + 3 :] = True
    masks[2, height // 2 :, width // 4 : width * 3 // 4] = True
    return image, CompactMasks.from_dense(masks)


def report(masks: CompactMasks, embeddings: np.ndarray) -> Detections:
    """Objects with these masks and embeddings."""
    return Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.linspace(0.9, 0.5, len(masks), dtype=np.float32),
        labels=np.zeros(len(masks), np.int64),
        masks=masks,
        embeddings=embeddings.astype(np.float32),
    )


@pytest.mark.parametrize("size", [(96, 160), (720, 1280), (53, 401)])
def test_an_object_has_the_colours_of_its_mask_in_their_shares(size: tuple[int, int]) -> None:
    image, masks = halves(size)
    found = colours(small_picture(image), masks)
    assert found.shape == (3, SIZE)
    likeness = found @ found.T
    np.testing.assert_allclose(np.diag(likeness), 1, atol=1e-6)
    assert likeness[0, 1] < 0.05
    # Half of it is of either colour, and roots are compared.
    np.testing.assert_allclose(likeness[2, :2], np.sqrt(0.5), atol=0.05)


def test_what_is_in_the_box_beside_the_mask_does_not_count() -> None:
    image, _ = halves((120, 200))
    ring = np.zeros((1, 120, 200), bool)
    ring[0, 10:110, 5:95] = True
    ring[0, 30:90, 25:75] = False
    image[30:90, 25:75] = BLUE
    plain = np.zeros((120, 200, 3), np.uint8)
    plain[:] = RED
    ours = colours(image, CompactMasks.from_dense(ring))
    red = colours(plain, CompactMasks.from_dense(ring))
    assert (ours * red).sum() > 0.97


def test_masks_too_thin_or_empty_still_have_finite_colours() -> None:
    image, _ = halves((720, 1280))
    masks = np.zeros((3, 720, 1280), bool)
    masks[0, 100, 50:600] = True
    masks[1, 7, 9] = True
    found = colours(small_picture(image), CompactMasks.from_dense(masks))
    np.testing.assert_allclose((found**2).sum(1), [1, 1, 0], atol=1e-6)
    assert colours(image, CompactMasks.empty((720, 1280))).shape == (0, SIZE)


def test_the_likeness_of_embeddings_is_shared_with_that_of_colours_and_lengths_stay() -> None:
    image, masks = halves((120, 200))
    own = np.random.default_rng(0).normal(size=(3, 8)) * [[1], [5], [0.1]]
    before = report(masks, own)
    after = with_looks(before, small_picture(image), 0.25)
    seen = colours(small_picture(image), masks)
    assert after.embeddings.dtype == np.float32
    lengths = np.linalg.norm(own, axis=1)
    np.testing.assert_allclose(np.linalg.norm(after.embeddings, axis=1), lengths, rtol=1e-5)
    unit, unit_before = after.embeddings / lengths[:, None], own / lengths[:, None]
    expected = 0.75 * unit_before @ unit_before.T + 0.25 * seen @ seen.T
    np.testing.assert_allclose(unit @ unit.T, expected, atol=1e-5)


def test_without_a_share_embeddings_are_the_networks_and_without_embeddings_colours_are_all() -> (
    None
):
    image, masks = halves((120, 200))
    small = small_picture(image)
    plain = report(masks, np.ones((3, 4)))
    assert with_looks(plain, small, 0).embeddings is plain.embeddings
    grey = with_looks(plain, small, 0).grey
    assert grey is not None
    np.testing.assert_array_equal(grey, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    bare = with_looks(report(masks, np.zeros((3, 0))), small, 0.5)
    np.testing.assert_array_equal(bare.embeddings, colours(small, masks))
