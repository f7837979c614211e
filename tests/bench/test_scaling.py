"""The measurement of growth: raw outputs that are made up, through everything else as it is."""

from __future__ import annotations

import numpy as np
import pytest

import sipvideo
from sipvideo.bench import scaling
from sipvideo.bench.stages import noise
from sipvideo.config import load_config
from sipvideo.engine import HostEngine
from sipvideo.postprocess import ObjectHead
from sipvideo.postprocess.objects import weight_shapes


@pytest.mark.parametrize("count", [0, 1, 10, 100, 130])
@pytest.mark.parametrize("name", ["sipmask_nano", "mmdet_sipmask_r50_caffe_fpn_ssd_6x"])
def test_made_up_outputs_have_as_many_objects_as_asked_for(name: str, count: int) -> None:
    config = load_config(name, ["postprocess.max_detections=200", "input.size=[640, 384]"])
    rng = np.random.default_rng(0)
    weights = {
        key: rng.standard_normal(shape).astype(np.float32) / 30
        for key, shape in weight_shapes(config).items()
    }
    objects = ObjectHead(config, weights)
    segment = HostEngine(scaling.ScriptedNetwork(config, objects, count), objects, config)
    detections = segment.detect(noise((180, 320), 1))[0]
    assert len(detections) == count
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    assert (sides > 5).all()


def test_every_stage_of_every_combination_is_measured() -> None:
    segmenter = sipvideo.load(device="cpu", runtime="torch")
    sizes = ((90, 160), (180, 320))
    growth = scaling.measure(segmenter, frames=2, sizes=sizes, counts=(1, 12), masks=5)
    assert growth.stages.keys() == {(h, n) for h in (90, 180) for n in (1, 12)}
    for stages in growth.stages.values():
        assert "association" in stages
        assert all(milliseconds > 0 for milliseconds in stages.values())
    values = growth.values()
    assert len(values["milliseconds"]) == 4
    factors = values["growth"]
    assert factors["90p, 1 to 12 objects"]["linear"] == 12
    assert factors["12 objects, 90p to 180p"]["linear"] == 4
    assert "times as long" in growth.table()
    assert growth.picture().width > 400
