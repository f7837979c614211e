"""Every step in static shapes equals the numpy way: on random tensors, with no object, with all classes, in batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from sipvideo import boxes as numpy_boxes
from sipvideo.config import Config, InputConfig
from sipvideo.engine import HostEngine
from sipvideo.engine.tensors import masks, suppression
from sipvideo.engine.tensors.masks import FrameMasks
from sipvideo.engine.tensors.objects import Objects
from sipvideo.engine.tensors.small import SmallPicture
from sipvideo.engine.tensors.step import Found, FrameStep
from sipvideo.engine.tensors.transform import PictureTransform
from sipvideo.model.head import HeadOutputs
from sipvideo.postprocess import Postprocess, assembly
from sipvideo.postprocess import suppression as numpy_suppression
from sipvideo.runtime.pytorch import TorchRuntime, as_arrays, object_head
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import FrameTransform, small_picture
from tests.networks import HEADS, lively, picture, small_config

CPU = torch.device("cpu")


def noise(size: tuple[int, int], seed: int) -> Frame:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Frame(image, 0, 0.0)


SIZES = [(7, 5), (64, 96), (97, 61), (120, 160), (240, 320), (321, 255), (480, 20), (33, 410)]


@pytest.mark.parametrize("order", ["bgr", "rgb"])
@pytest.mark.parametrize("rule", ["keep_ratio", "stretch", "shortest_edge"])
def test_inputs_equal_those_of_the_host_bit_for_bit(rule: str, order: str) -> None:
    resized = 0
    for seed, size in enumerate(SIZES):
        for long, short in ((160, 90), (320, 300), (97, 61), (64, 64)):
            config = InputConfig.model_validate(
                {"resize": rule, "size": (long, short), "channel_order": order}
                | {"std": (57.375, 57.12, 58.395)}
            )
            frames = [noise(size, seed), noise(size, seed + 100)]
            host = FrameTransform(config)
            geometry = host.geometry(size)
            device = PictureTransform(config, geometry, CPU)
            uploaded = torch.from_numpy(np.stack([frame.image for frame in frames]))
            ours = device.normalised(device.resized(uploaded))
            assert ours.is_contiguous(memory_format=torch.channels_last)
            for frame, image in zip(frames, ours, strict=True):
                np.testing.assert_array_equal(image.numpy(), host(frame)[0])
            resized += geometry.resized_size != size
    assert resized > 25


def test_the_small_picture_is_that_of_the_host() -> None:
    rng = np.random.default_rng(3)
    sizes = [(360, 640), (720, 1280), (240, 320), (144, 256), (464, 464), (261, 464), (640, 360)]
    for size in sizes + [(int(h), int(w)) for h, w in rng.integers(1, 900, (20, 2))]:
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        expected = small_picture(image)
        make = SmallPicture(size)
        assert make.size == expected.shape[:2]
        found = make(torch.from_numpy(image)[None].int())[0].numpy()
        difference = np.abs(found.astype(int) - expected)
        exact = size in [(360, 640), (720, 1280), (640, 360), (240, 320), (144, 256)]
        assert difference.max() <= (0 if exact else 1)


@pytest.mark.parametrize("rule", ["fast", "classwise"])
def test_suppression_keeps_the_same_pairs(rule: str) -> None:
    rng = np.random.default_rng(5)
    for count, classes in ((1, 1), (40, 3), (300, 1), (256, 80)):
        corners = rng.uniform(0, 60, (2, count, 2))
        boxes = np.concatenate((corners, corners + rng.uniform(0, 40, (2, count, 2))), 2)
        boxes[:, ::7] = boxes[:, :1]  # many alike, some without area
        boxes[:, ::11, 2:] = boxes[:, ::11, :2]
        boxes = boxes.astype(np.float32)
        labels = rng.integers(0, classes, (2, count))
        kept, settled = getattr(suppression, rule)(
            torch.from_numpy(boxes), torch.from_numpy(labels), 0.5
        )
        assert settled.all()
        for item in range(2):
            expected = getattr(numpy_suppression, rule)(boxes[item], labels[item], 0.5)
            np.testing.assert_array_equal(kept[item].numpy(), expected)


def test_a_chain_of_suppressions_that_is_too_long_is_told() -> None:
    x0 = torch.arange(40) * 4.0
    boxes = torch.stack((x0, x0 * 0, x0 + 10, x0 * 0 + 10), 1)[None]
    _, settled = suppression.classwise(boxes, torch.zeros(1, 40).long(), 0.4)
    assert not settled.any()
    short, settled = suppression.classwise(boxes[:, :6], torch.zeros(1, 6).long(), 0.4)
    assert settled.all()
    assert short[0].tolist() == [True, False] * 3


def test_the_first_that_stay_are_found_also_where_there_are_fewer() -> None:
    kept = torch.tensor([[False, True, False, True, True], [False] * 5])
    number, count = suppression.first(kept, 2)
    assert (number[0].tolist(), count.tolist()) == ([1, 3], [2, 0])
    number, count = suppression.first(kept, 4)
    assert number[0, :3].tolist() == [1, 3, 4]
    assert count.tolist() == [3, 0]
    assert number.max() < 5


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_of_boxes_have_the_published_edges(parts: int) -> None:
    rng = np.random.default_rng(parts)
    low = rng.uniform(-20, 70, 4000).astype(np.float32)
    high = low + rng.uniform(-5, 60, 4000).astype(np.float32)
    low[::9], high[::9] = np.round(low[::9]), np.round(high[::9])
    low[5], high[6], low[7], high[8] = np.nan, np.inf, -np.inf, np.nan
    expected = numpy_boxes.part_edges(low, high, 64, parts)
    found = masks.part_edges(torch.from_numpy(low), torch.from_numpy(high), 64, parts)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("upsampled", "frame"), [((90, 120), (90, 120)), ((37, 300), (40, 260)), ((11, 9), (20, 9))]
)
def test_bits_of_masks_equal_the_numpy_way_from_any_byte_on(
    upsampled: tuple[int, int], frame: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(2, 4, 24, 32)).astype(np.float32)
    vectors = rng.normal(size=(2, 5, 16)).astype(np.float32)
    corners = rng.uniform(-5, 25, (2, 5, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(0, 25, (2, 5, 2))), 2).astype(np.float32)
    boxes[0, 2] = 0
    rows = torch.from_numpy(basis).flatten(2).transpose(1, 2).contiguous()
    found = masks.assemble(rows, torch.from_numpy(vectors), torch.from_numpy(boxes), (24, 32), 2)
    on_frame = FrameMasks((24, 32), upsampled, frame, 0.5, CPU)
    windows = on_frame.windows(found.windows)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    for item, count in enumerate((5, 3)):
        expected = assembly.assemble(basis[item], vectors[item, :count], boxes[item, :count], 2)
        np.testing.assert_array_equal(found.windows[item, :count].numpy(), expected.windows)
        np.testing.assert_allclose(
            found.certainty(0.5)[item, :count].numpy(), expected.certainty(0.5), atol=1e-6
        )
        packed = assembly.to_frame(expected, upsampled, frame, 0.5)
        np.testing.assert_array_equal(windows[item, :count].numpy(), packed.windows)
        whole = np.concatenate([bits.reshape(-1) for bits in packed.bits])
        for start, size in ((0, len(whole) + 9), (0, 7), (5, 40), (len(whole) - 3, 20)):
            ours = on_frame.bits(found.maps, windows, valid, torch.tensor([start]), size)
            wanted = np.zeros(size, np.uint8)
            wanted[: len(whole) - start] = whole[start : start + size]
            np.testing.assert_array_equal(ours[item].numpy(), wanted)


def detected(step: FrameStep, found: Found) -> list[Detections]:
    """The detections of every item, all of whose rules must be settled."""
    result = []
    for item, share in enumerate(found.share.numpy()):
        _, size, settled = step.layout.counts(share)
        assert settled
        further = []
        for start in range(step.layout.mask_bytes, size, step.layout.mask_bytes):
            begin = torch.tensor([start])
            further.append(step.bits(found, begin)[item].numpy())
        result.append(step.layout.detections(share, further))
    return result


def same(ours: Detections, expected: Detections) -> None:
    assert len(ours) == len(expected)
    np.testing.assert_array_equal(ours.labels, expected.labels)
    np.testing.assert_allclose(ours.boxes, expected.boxes, atol=1e-4)
    np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(ours.embeddings, expected.embeddings, atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(ours.masks.windows, expected.masks.windows)
    assert (ours.mask_scores is None) == (expected.mask_scores is None)
    if ours.mask_scores is not None and expected.mask_scores is not None:
        np.testing.assert_allclose(ours.mask_scores, expected.mask_scores, atol=1e-4)
    differing = 0
    for a, b in zip(ours.masks.bits, expected.masks.bits, strict=True):
        assert a.shape == b.shape
        differing += int(np.unpackbits(a ^ b).sum())
    assert differing <= 3


def step_for(
    model: torch.nn.Module, config: Config, size: tuple[int, int]
) -> tuple[FrameStep, HostEngine]:
    """The step and the host's way, of the same network."""
    host = HostEngine(
        TorchRuntime(copy.deepcopy(model), CPU),
        object_head(model, config),
        config,  # type: ignore[arg-type]
    )
    assert isinstance(host.runtime, TorchRuntime)
    objects = Objects(host.objects, CPU)
    return FrameStep(host.runtime.model, objects, config, host.transform.geometry(size), CPU), host


def uploaded(frames: Sequence[Frame]) -> torch.Tensor:
    return torch.from_numpy(np.stack([frame.image for frame in frames]))


RULES: list[dict[str, object]] = [
    {},
    {"nms": "classwise", "mask_quality": True, "mask_threshold": 0.4},
    {"score": "sqrt_product", "threshold_on": "class", "candidates_per_level": 30},
    {"candidate_rule": "location_and_class", "score": "sqrt_product", "threshold_on": "class"}
    | {"nms": "classwise", "nms_iou": 0.6, "nms_pixel": 1, "mask_scale": "min_ratio"}
    | {"candidates_per_level": 50},
    {"candidate_rule": "location_and_class", "score_threshold": 0.001, "max_detections": 7},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("head", HEADS)
@torch.inference_mode()
def test_the_whole_step_equals_the_host_for_every_head_and_rule(
    head: dict[str, object], rules: dict[str, object]
) -> None:
    config = small_config(**head)
    post = config.postprocess.model_copy(update=rules)
    config = config.model_copy(update={"postprocess": post})
    model = lively(config)
    step, host = step_for(model, config, (120, 160))
    frames = [picture(seed=seed) for seed in range(3)]
    found = detected(step, step(uploaded(frames)))
    assert sum(map(len, found)) > 10
    for one, frame in zip(found, frames, strict=True):
        same(one, host.detect([frame])[0])


@torch.inference_mode()
def test_a_batch_equals_its_frames_one_by_one() -> None:
    config = small_config()
    step, _ = step_for(lively(config), config, (120, 160))
    frames = [picture(seed=seed) for seed in range(4)]
    together = detected(step, step(uploaded(frames)))
    for frame, one in zip(frames, together, strict=True):
        same(detected(step, step(uploaded([frame])))[0], one)


@pytest.mark.parametrize("rescoring", [False, True])
@torch.inference_mode()
def test_masks_can_be_scored_by_a_network(rescoring: bool) -> None:
    config = small_config(rescoring=rescoring, basis_upsample=8).with_overrides(
        ["input.size=[160, 160]", "input.resize=stretch", "postprocess.max_detections=5"]
    )
    model = lively(config)
    step, host = step_for(model, config, (100, 140))
    frame = picture(100, 140)
    same(detected(step, step(uploaded([frame])))[0], host.detect([frame])[0])


def outputs_like(outputs: HeadOutputs, class_bias: float, seed: int) -> HeadOutputs:
    """Raw outputs of the same shapes, random: with a high bias all classes of all cells take part."""
    generator = torch.Generator().manual_seed(seed)

    def change(value: torch.Tensor, scale: float, shift: float) -> torch.Tensor:
        values = torch.randn(value.shape, generator=generator) * scale + shift
        return values.contiguous(memory_format=torch.channels_last)

    return HeadOutputs(
        [change(x, 1.0, class_bias) for x in outputs.class_logits],
        [change(x, 1.0, 1.0) for x in outputs.centerness_logits],
        [change(x, 20.0, 25.0) for x in outputs.box_distances],
        [change(x, 1.0, 0.0) for x in outputs.coefficient_features],
        change(outputs.basis_masks, 1.0, 0.0).relu(),
        [change(x, 1.0, 0.0) for x in outputs.embedding_features],
    )


@pytest.mark.parametrize("class_bias", [-30.0, -3.0, 3.0])
@pytest.mark.parametrize("rules", RULES[:4])
@torch.inference_mode()
def test_objects_of_random_outputs_equal_the_host(
    rules: dict[str, object], class_bias: float
) -> None:
    config = small_config()
    post = config.postprocess.model_copy(update=rules)
    config = config.model_copy(update={"postprocess": post})
    step, host = step_for(lively(config), config, (120, 160))
    pictures = step.transform.resized(uploaded([picture()] * 2))
    like = step.network(step.transform.normalised(pictures))
    settled = 0
    for seed in range(3):
        outputs = outputs_like(like, class_bias, seed)
        found = step.objects_of(outputs, pictures)
        post_process = Postprocess(config, host.objects)
        expected = [post_process(as_arrays(outputs), step.geometry, item) for item in range(2)]
        counts = [step.layout.counts(share) for share in found.share.numpy()]
        if all(ok for _, _, ok in counts):
            settled += 1
            for one, other in zip(detected(step, found), expected, strict=True):
                same(one, other)
        if class_bias == -30:
            assert [count for count, _, _ in counts] == [0, 0]
    assert settled or class_bias == 3.0


class Traced(torch.nn.Module):
    """A step as a module, for tracing."""

    def __init__(self, step: FrameStep) -> None:
        super().__init__()
        assert isinstance(step.network, torch.nn.Module)
        self.network = step.network
        self.step = step

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.step(frames).share


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its internals
def test_the_step_can_be_recorded_as_no_value_decides_what_runs(head: dict[str, object]) -> None:
    config = small_config(**head)
    step, _ = step_for(lively(config), config, (120, 160))
    frames = uploaded([picture(seed=1), picture(seed=2)])
    with torch.no_grad():
        program = torch.export.export(Traced(step), (frames,), strict=False)
        assert len(program.graph.nodes) > 200
        assert not waits(program)
        other = uploaded([picture(seed=3), picture(seed=4)])
        np.testing.assert_array_equal(program.module()(other).numpy(), step(other).share.numpy())


def waits(program: torch.export.ExportedProgram) -> bool:
    """Whether an operation waits for the device, or a shape depends on values."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    values = [node.meta["val"] for node in calls if "val" in node.meta]
    static = all(
        all(type(side) is int for side in value.shape)
        if isinstance(value, torch.Tensor)
        else not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))
        for several in values
        for value in (several if isinstance(several, (list, tuple)) else [several])
    )
    return not static or any(str(node.target) in WAITING for node in calls)


WAITING = {
    f"aten.{name}.default"
    for name in ("_local_scalar_dense", "nonzero", "masked_select", "item", "unique2", "equal")
}
"""Operations that wait for the device."""


def test_a_step_that_waits_would_be_noticed() -> None:
    class Chooses(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[x > 0.5].sum() * 2

    class Asks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum().item()

    for module in (Chooses(), Asks()):
        assert waits(torch.export.export(module, (torch.rand(5),), strict=False))
