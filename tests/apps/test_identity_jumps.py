"""Jumps of the clock in real videos: who is known again by looks, counted without annotations."""

import numpy as np

from sipvideo.apps.reports.identities.jumps import Known, after_jump, identities
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


def known(shown: list[tuple[float, Detections]], config: TrackerConfig) -> Known:
    """What becomes of all after ten seconds between the frames 29 and 30."""
    return after_jump(shown, identities(shown, config), 30, 10.0, config)


def test_who_looks_as_before_is_known_again_after_the_jump() -> None:
    looks = np.eye(3)
    assert known(reports(looks, looks), TrackerConfig()) == Known(3, 0, 0)


def test_looks_that_were_changed_or_exchanged_are_new_or_somebody_elses() -> None:
    """Without a jump place alone keeps them who they were."""
    config = TrackerConfig(embedding_weight=0.1)
    looks = np.eye(6)
    assert known(reports(looks[:3], looks[3:]), config) == Known(0, 0, 3)
    exchanged = reports(looks[:3], looks[[1, 0, 2]])
    assert known(exchanged, config) == Known(1, 2, 0)
