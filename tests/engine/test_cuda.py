"""The GPU's engine, run on the CPU: the host's objects, whatever batches, sizes and memory there are."""

from __future__ import annotations

import copy
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sipvideo import build
from sipvideo.engine import HostEngine, precision, recording
from sipvideo.engine.cuda import BATCHES, CudaEngine, Network
from sipvideo.engine.recording import Eager, Recordings
from sipvideo.engine.tensors import step as steps
from sipvideo.engine.tensors.step import Found, FrameStep
from sipvideo.errors import ConfigError
from sipvideo.model.ops import deformable_conv, deformable_conv_by_grid
from sipvideo.runtime.pytorch import object_head
from sipvideo.sources import open_source
from sipvideo.structures import Frame
from sipvideo.transforms import grey_picture
from tests.engine.test_tensors import same
from tests.networks import lively, picture, segmenter, small_config

CPU = torch.device("cpu")
CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"


def pair(**head: object) -> tuple[CudaEngine, HostEngine]:
    """The same small network in both engines."""
    config = small_config(**head)
    model = lively(config)
    network = Network(copy.deepcopy(model), object_head(model, config), "torch", CPU)
    return CudaEngine(network, config), segmenter(model, config)


def test_the_default_model_finds_the_same_objects_on_real_frames() -> None:
    config, model = build.load_model()
    host = segmenter(model, config)
    engine = CudaEngine.of(model, object_head(model, config), config, CPU, "torch")
    with open_source(str(CLIP)) as source:
        frames = [frame for frame in source if frame.index % 40 == 0][:4]
    found = engine.detect(frames)
    assert sum(map(len, found)) > 30
    for one, frame in zip(found, frames, strict=True):
        same(one, host.detect([frame])[0])
    assert engine.network.host_ways == 0


def test_frames_of_any_sizes_keep_their_order() -> None:
    engine, host = pair()
    frames = [picture(*size, seed) for seed, size in enumerate([(120, 160), (90, 70)] * 3)]
    assert engine.detect([]) == []
    for one, frame in zip(engine.detect(frames), frames, strict=True):
        assert one.masks.frame_size == frame.size
        same(one, host.detect([frame])[0])


def test_another_input_size_shares_the_network() -> None:
    engine, host = pair()
    smaller = engine.resized((96, 96))
    assert smaller.network is engine.network
    frame = picture()
    same(smaller.detect([frame])[0], host.resized((96, 96)).detect([frame])[0])
    same(engine.detect([frame])[0], host.detect([frame])[0])
    files = engine.for_files()
    assert files.largest_batch == BATCHES[-1] > engine.largest_batch
    many = [picture(seed=seed) for seed in range(20)]
    for one, frame in zip(files.detect(many), many, strict=True):
        same(one, host.detect([frame])[0])


def test_what_the_fixed_bounds_do_not_settle_is_finished_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "LEAST_PAIRS", 25)
    monkeypatch.setattr(steps, "PAIRS_PER_DETECTION", 1)
    engine, host = pair()
    frames = [picture(seed=seed) for seed in range(4)]
    found = engine.detect(frames)
    assert 0 < engine.network.host_ways <= 4
    for one, frame in zip(found, frames, strict=True):
        same(one, host.detect([frame])[0])


class Padded:
    """Stands for a recording: always runs whole batches, on what was there before."""

    def __init__(self, step: FrameStep, batch: int) -> None:
        self.frames = torch.zeros((batch, *step.geometry.frame_size, 3), dtype=torch.uint8)
        self.eager = Eager(step, CPU)

    def __call__(self, frames: torch.Tensor) -> Found:
        self.frames[: len(frames)] = frames
        return self.eager(self.frames)

    def bits(self, start: int) -> torch.Tensor:
        return self.eager.bits(start)


def recorded(engine: CudaEngine) -> list[int]:
    """Lets an engine on the CPU record as one on a GPU does; returns the batches that will be recorded."""
    batches: list[int] = []

    def record(kind: tuple[str, tuple[int, int], int]) -> Padded:
        batches.append(kind[2])
        return Padded(engine.network._new_step(*kind[:2]), kind[2])

    engine.network.records = True
    engine.network.recordings = Recordings(record)
    return batches


@torch.inference_mode()
def test_recorded_batches_are_padded_and_masks_come_in_several_parts() -> None:
    engine, host = pair()
    batches = recorded(engine)
    frames = [picture(seed=seed) for seed in range(3)]
    expected = [host.detect([frame])[0] for frame in frames]
    mask_bytes = engine.network.step(engine._known, frames[0].size).layout.mask_bytes
    assert max(sum(bits.size for bits in one.masks.bits) for one in expected) > mask_bytes
    for _ in range(recording.TIMES + 1):
        for one, other in zip(engine.detect(frames), expected, strict=True):
            same(one, other)
        engine.network.recordings.wait()
    assert batches == [4]
    assert len(engine.network.recordings) == 1
    for frame, other in zip(frames, expected, strict=True):
        same(engine.detect([frame])[0], other)


def test_a_folder_of_mixed_sizes_records_nothing() -> None:
    made: list[int] = []
    recordings: Recordings[int, int] = Recordings(lambda key: made.append(key) or key)
    for key in range(2000):
        for _ in range(recording.TIMES - 1):
            assert recordings.get(key) is None
    recordings.wait()
    assert made == []
    assert len(recordings._came) <= recording.COUNTED


def test_nobody_waits_for_a_recording_and_the_last_used_ones_are_kept() -> None:
    begin, made = threading.Event(), []

    def record(key: str) -> str:
        begin.wait(10)
        made.append(key)
        return key.upper()

    recordings: Recordings[str, str] = Recordings(record, most=2)
    for _ in range(10):
        assert recordings.get("a") is None  # still being made
    begin.set()
    recordings.wait()
    assert made == ["a"]
    assert recordings.get("a") == "A"
    for key in "bac":
        for _ in range(recording.TIMES):
            recordings.get(key)
            recordings.wait()
    assert len(recordings) == 2
    assert (recordings.get("b"), recordings.get("a"), recordings.get("c")) == (None, "A", "C")


def test_what_cannot_be_recorded_is_told_once_and_goes_on_without() -> None:
    told = []

    def record(key: str) -> str:
        raise RuntimeError("no memory")

    recordings: Recordings[str, str] = Recordings(record, failed=lambda *what: told.append(what))
    for _ in range(5 * recording.TIMES):
        assert recordings.get("a") is None
        recordings.wait()
    assert [key for key, _ in told] == ["a"]


def test_less_memory_means_smaller_batches_and_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, host = pair()
    run = Eager.__call__

    def limited(self: Eager, frames: torch.Tensor) -> Found:
        if len(frames) > 2:
            raise torch.cuda.OutOfMemoryError("too much")
        return run(self, frames)

    monkeypatch.setattr(Eager, "__call__", limited)
    frames = [picture(seed=seed) for seed in range(5)]
    with pytest.warns(UserWarning, match="no memory for batches of") as notes:
        found = engine.detect(frames)
    assert [str(note.message).split(": ")[1] for note in notes] == [
        "no memory for batches of 5; at most 4 from now on",
        "no memory for batches of 4; at most 2 from now on",
    ]
    for one, frame in zip(found, frames, strict=True):
        same(one, host.detect([frame])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(engine.for_files().detect(frames)) == 5


def test_no_memory_for_one_frame_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = pair()

    def nothing(self: Eager, frames: torch.Tensor) -> Found:
        raise torch.cuda.OutOfMemoryError("too much")

    monkeypatch.setattr(Eager, "__call__", nothing)
    with pytest.raises(ConfigError, match="no place for one frame"):
        engine.detect([picture()])


def test_several_threads_get_their_own_objects() -> None:
    engine, host = pair()
    recorded(engine)
    frames = [picture(seed=seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: engine.detect([frame])[0], frames))
    for one, frame in zip(found, frames, strict=True):
        same(one, host.detect([frame])[0])


def test_only_precisions_that_hold_are_chosen_unasked_and_those_that_do_not_are_refused() -> None:
    assert precision.PRECISIONS[precision.choose("auto")].holds
    assert precision.choose("torch-fp16") == "torch-fp16"
    for name, one in precision.PRECISIONS.items():
        if one.holds is False:
            with pytest.raises(ConfigError, match=f"--runtime {name}"):
                precision.choose(name)


def test_single_precision_rounds_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pair()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("size", [(17, 23), (1, 5), (6, 1), (40, 33)])
@pytest.mark.parametrize("groups", [1, 2, 4])
@torch.no_grad()
def test_the_deformable_convolution_for_gpus_equals_the_other(
    groups: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(groups)
    feature = torch.randn(2, 16, *size).contiguous(memory_format=torch.channels_last)
    offsets = torch.randn(2, groups * 18, *size) * 4
    offsets[:, :, :, 0] -= 50  # far outside
    weight = torch.randn(8, 16, 3, 3)
    expected = deformable_conv(feature, offsets, weight, groups)
    found = deformable_conv_by_grid(feature, offsets, weight, groups)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    half = deformable_conv_by_grid(feature.half(), offsets, weight.half(), groups)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=5e-2)


def test_gradients_of_the_deformable_convolution_are_the_librarys() -> None:
    torch.manual_seed(0)
    values = [torch.randn(1, 4, 5, 6), torch.randn(1, 36, 5, 6), torch.randn(3, 4, 3, 3)]
    leaves = [value.double().requires_grad_() for value in values]
    single = [value.clone().requires_grad_() for value in values]
    result = deformable_conv(*single, groups=2)
    exact = deformable_conv_by_grid_in_doubles(*leaves)
    torch.testing.assert_close(result, exact.float(), rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(result)
    found = torch.autograd.grad((result * weights).sum(), single)
    expected = torch.autograd.grad((exact * weights.double()).sum(), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-3, atol=1e-3)


def deformable_conv_by_grid_in_doubles(
    feature: torch.Tensor, offsets: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The plain definition: every tap of every cell read by hand, with gradients."""
    _, channels, height, width = feature.shape
    moves = offsets.view(2, 9, 2, height, width)
    rows = []
    for y in range(height):
        for x in range(width):
            taps = [
                _read(
                    feature[0, group * channels // 2 : (group + 1) * channels // 2],
                    y + k // 3 - 1 + moves[group, k, 0, y, x],
                    x + k % 3 - 1 + moves[group, k, 1, y, x],
                )
                for group in range(2)
                for k in range(9)
            ]
            columns = torch.stack(taps).view(2, 9, -1).transpose(1, 2).flatten()
            rows.append(weight.flatten(1) @ columns)
    return torch.stack(rows, 1).view(1, -1, height, width)


def _read(feature: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    _, height, width = feature.shape
    total = feature.new_zeros(len(feature))
    top, left = int(np.floor(y.item())), int(np.floor(x.item()))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - (y - row).abs()) * (1 - (x - column).abs())
                total = total + share * feature[:, row, column]
    return total


def test_every_frame_has_its_grey_picture() -> None:
    engine, host = pair()
    frame = picture(600, 800)
    height, width = host.transform.geometry(frame.size).resized_size
    assert engine.network.host_ways == 0
    grey = engine.detect([frame])[0].grey
    assert grey is not None
    scaled = cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(grey.astype(int) - grey_picture(scaled)).max() <= 1


def test_a_prepared_engine_is_recorded_before_the_first_frame_comes() -> None:
    engine, host = pair()
    batches = recorded(engine)
    engine.prepare((120, 160))
    engine.network.recordings.wait()
    assert batches == [engine.largest_batch, 1]
    frame = picture()
    same(engine.detect([frame])[0], host.detect([frame])[0])


def test_frames_may_lie_in_memory_as_they_like() -> None:
    engine, host = pair()
    frame = picture()
    turned = Frame(frame.image[:, ::-1], 0, 0.0)
    straight = Frame(np.ascontiguousarray(turned.image), 0, 0.0)
    same(engine.detect([turned])[0], host.detect([straight])[0])
