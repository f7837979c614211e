"""The camera's motion: found from the background, exactly nothing where it stands, and used for all places."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections
from sipvideo.tracker.camera import STANDS, Camera, CameraMotion, agreement, corners, moved_boxes
from tests.scenes import scripted
from tests.tracker.test_tracker import ids_of, tracker

Grey = NDArray[np.uint8]
SIZE = (180, 320)


def texture(seed: int = 0, contrast: float = 60.0) -> NDArray[np.float32]:
    """A picture that is larger than the view: blobs of several sizes."""
    rng = np.random.default_rng(seed)
    sizes = (2, 5, 12)
    layers = [cv2.GaussianBlur(rng.normal(size=(420, 560)), (0, 0), size) for size in sizes]
    picture = sum(layer / layer.std() for layer in layers)
    return (128 + contrast * picture / 2).astype(np.float32)


def view(
    scene: NDArray[np.float32], motion: CameraMotion = STANDS, grain: float = 0.0, seed: int = 0
) -> Grey:
    """The scene after a motion of the picture, uint8 [180, 320]."""
    factor, shift = complex(motion.factor), complex(motion.shift)
    here = np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
    offset = -here[:, :2] @ (120, 120)  # the view's top left is the scene's 120, 120
    here[:, 2] += offset
    picture = cv2.warpAffine(scene, here, SIZE[::-1], flags=cv2.INTER_LINEAR)
    noise = np.random.default_rng(seed).normal(0, grain, SIZE)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def seen(grey: Grey, found: Detections | None = None, scale: int = 2) -> Detections:
    size = (SIZE[0] * scale, SIZE[1] * scale)
    return replace(found if found is not None else Detections.empty(size), grey=grey)


MOTIONS = (
    CameraMotion(1, 0, 6 - 3j),
    CameraMotion(1.04, 0, -5 - 2j),
    CameraMotion(0.99 * np.exp(0.02j), 0, 4 + 1j),
    CameraMotion(1, 0, 25 + 4j),
)


@pytest.mark.parametrize("motion", MOTIONS)
def test_shifts_zooms_and_turns_are_found_in_frame_pixels(motion: CameraMotion) -> None:
    camera, scene = Camera(), texture()
    assert camera.follow(seen(view(scene, grain=2)), 0.1).still
    found = camera.follow(seen(view(scene, motion, grain=2, seed=1)), 0.1)
    points = np.array([100 + 80j, 500 + 80j, 320 + 180j, 100 + 300j], np.complex64)
    expected = 2 * CameraMotion(motion.factor, 0, motion.shift)(points / 2)
    assert np.abs(found(points) - expected).max() < 1.0


def test_a_standing_camera_is_exactly_the_identity_whatever_the_noise() -> None:
    camera, scene = Camera(), texture()
    for k in range(6):
        assert camera.follow(seen(view(scene, grain=3, seed=k)), 0.1) == STANDS


def test_a_large_undetected_object_does_not_move_a_standing_camera() -> None:
    camera, scene, front = Camera(), texture(), texture(1)
    for k in range(4):
        grey = view(scene, grain=2, seed=k)
        grey[:, 120:] = view(front, CameraMotion(shift=7 * k), grain=2, seed=k)[:, 120:]
        assert camera.follow(seen(grey), 0.1) == STANDS


def test_masks_keep_objects_out_of_the_motion() -> None:
    camera, scene, front = Camera(), texture(), texture(1)
    found = scripted([(40, 0, 640, 360)], frame_size=(360, 640))
    for k in range(3):
        grey = view(scene, CameraMotion(shift=3 * k), grain=1, seed=k)
        grey[:, 20:] = view(front, CameraMotion(shift=-6 * k), grain=1, seed=k)[:, 20:]
        # Hardly any background is left, so nothing is believed; the object's motion least of all.
        assert camera.follow(seen(grey, found), 0.1) == STANDS


def test_a_camera_that_is_lost_for_a_moment_is_believed_to_go_on() -> None:
    camera, scene = Camera(), texture()
    everything = scripted([(0, 0, 640, 360)], frame_size=(360, 640))
    moved = []
    for k in range(10):
        hidden = everything if k >= 3 else None  # no background is left to look at from then on
        grey = view(scene, CameraMotion(shift=4 * k), grain=1, seed=k)
        moved.append(camera.follow(seen(grey, hidden), 0.1 * k))
    shifts = [0 if motion is None else motion.shift.real for motion in moved]
    assert shifts[1:4] == pytest.approx([8, 8, 8], abs=0.5)
    assert shifts[4:8] == pytest.approx([shifts[3]] * 4, abs=1e-3)
    assert shifts[9] == 0


def test_what_cannot_be_trusted_is_the_identity() -> None:
    camera = Camera()
    flat = np.full(SIZE, 90, np.uint8)
    rng = np.random.default_rng(0)
    unrelated = rng.integers(50, 130, (4, *SIZE)).astype(np.uint8)
    for grey in (flat, flat, *unrelated, flat[:1], flat[:1], flat[:, :1], flat[:, :1]):
        assert camera.follow(seen(grey), 0.1) == STANDS
    assert camera.follow(Detections.empty((360, 640)), 0.1) == STANDS
    assert camera.grey is None


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_third_of_wild_points_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = (rng.uniform(0, 320, 60) + 1j * rng.uniform(0, 180, 60)).astype(np.complex64)
    truth = CameraMotion(
        1 + rng.uniform(-0.05, 0.05) + 1j * rng.uniform(-0.05, 0.05), 0, 8 * rng.normal() - 6j
    )
    after = truth(before) + (0.1 * rng.normal(size=60)).astype(np.complex64)
    after[:20] += (40 * (rng.normal(size=20) + 1j * rng.normal(size=20))).astype(np.complex64)
    found = agreement(before, after.astype(np.complex64))
    corner = np.array([0, 320, 180j, 320 + 180j], np.complex64)
    assert np.abs(found(corner) - truth(corner)).max() < 2.5


def test_corners_lie_outside_of_masks_and_spread_over_the_picture() -> None:
    masks = CompactMasks.from_dense(
        np.pad(np.ones((1, 200, 300), bool), ((0, 0), (90, 70), (100, 240)))
    )
    places = corners(view(texture()), masks, np.array([2.0, 2.0]))
    assert len(places) > 25
    inside = (
        (places.real * 2 >= 101)
        & (places.real * 2 < 399)
        & (places.imag * 2 >= 91)
        & (places.imag * 2 < 289)
    )
    assert not inside.any()
    assert np.ptp(places.real) > 250
    assert np.ptp(places.imag) > 130


def test_boxes_move_by_their_centres_and_grow_with_the_zoom() -> None:
    boxes = np.array([[10, 10, 30, 40]], np.float32)
    assert moved_boxes(boxes, STANDS).tolist() == boxes.tolist()
    moved = moved_boxes(boxes, CameraMotion(2, 0, 5 - 1j))
    np.testing.assert_allclose(moved, [[25, 19, 65, 79]])


def panned(steps: int, step: float, box: tuple[float, float, float, float]) -> list[Detections]:
    """An object that stands in a scene under a camera that pans by ``step`` grey pixels a frame."""
    scene = texture()
    frames = []
    for k in range(steps):
        x = 2 * step * k
        here = [box[0] + x, box[1], box[2] + x, box[3]]
        found = scripted([here], frame_size=(360, 640))
        frames.append(seen(view(scene, CameraMotion(shift=step * k), grain=1, seed=k), found))
    return frames


def test_an_object_is_found_again_where_the_camera_took_it_while_it_was_unseen() -> None:
    frames = panned(12, 9, (200, 150, 230, 180))
    nothing = Detections.empty((360, 640))
    for camera, expected in ((True, 0), (False, 1)):
        made = tracker(camera=camera, bare_growth=1.5)
        for k, found in enumerate(frames):
            hidden = replace(nothing, grey=found.grey)
            # It stood; then the camera pans while it is hidden.
            still = replace(frames[0], grey=frames[0].grey)
            shown = still if k < 4 else hidden
            if k >= 4:
                shown = replace(nothing, grey=frames[k - 3].grey)
            ids_of(made, shown, k / 12)
        back = frames[len(frames) - 4]
        assert ids_of(made, back, 1.0) == [expected]


def test_velocity_is_relative_to_the_background() -> None:
    made = tracker()
    for k, found in enumerate(panned(8, 5, (200, 150, 260, 220))):
        assert ids_of(made, found, k / 12) == [0]
    assert np.hypot(*made.tracks[0].velocity) < 20  # 10 pixels a frame on the picture: 120 a second


def test_points_in_masks_are_those_of_the_full_masks() -> None:
    rng = np.random.default_rng(0)
    dense = rng.uniform(size=(3, 40, 50)) < 0.3
    dense[:, :, :13] = False
    masks = CompactMasks.from_dense(dense)
    points = np.stack((rng.integers(0, 50, 300), rng.integers(0, 40, 300)), 1)
    expected = dense.any(0)[points[:, 1], points[:, 0]]
    np.testing.assert_array_equal(masks.cover(points), expected)
    assert not CompactMasks.empty((40, 50)).cover(points).any()


def test_a_cut_is_told_and_nothing_crosses_it_by_place() -> None:
    box = (200, 150, 260, 220)
    found = scripted([box], frame_size=(360, 640))
    for cut in (False, True):
        made = tracker()
        for k in range(4):
            assert ids_of(made, seen(view(texture(), grain=1, seed=k), found), k / 12) == [0]
        other = patches(1) if cut else view(texture(), grain=1, seed=9)
        assert ids_of(made, seen(other, found), 4 / 12) == [int(cut)]


def patches(seed: int) -> Grey:
    coarse = np.random.default_rng(seed).uniform(0, 255, (4, 6)).astype(np.float32)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)
