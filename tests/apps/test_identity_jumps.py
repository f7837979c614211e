"""Jumps of the clock in real videos: who is known again by looks, counted without annotations."""

import numpy as np

from sipvideo.apps.reports.identities.jumps import Known, after_jump
from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections
from tests.scenes import scripted

BOXES = [(10.0, 10.0, 40.0, 40.0), (60.0, 60.0, 100.0, 100.0), (110.0, 20.0, 140.0, 50.0)]


def reports(looks: np.ndarray, after: np.ndarray) -> list[tuple[float, Detections]]:
    """Sixty frames at ten a second in which nobody moves; objects look like ``after`` from the thirtieth on."""
    return [
        (k / 10, scripted(BOXES, 0.9, embeddings=(looks if k < 30 else after).astype(np.float32)))
        for k in range(60)
    ]


def test_who_looks_as_before_is_known_again_after_the_jump() -> None:
    looks = np.eye(3)
    assert after_jump(reports(looks, looks), 30, 10.0, TrackerConfig()) == Known(3, 0, 0)


def test_looks_that_were_changed_or_exchanged_are_new_or_somebody_elses() -> None:
    """Without a jump place alone keeps them who they were."""
    config = TrackerConfig(embedding_weight=0.1)
    looks = np.eye(6)
    assert after_jump(reports(looks[:3], looks[3:]), 30, 10.0, config) == Known(0, 0, 3)
    exchanged = reports(looks[:3], looks[[1, 0, 2]])
    assert after_jump(exchanged, 30, 10.0, config) == Known(1, 2, 0)
