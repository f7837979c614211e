"""The engine that keeps everything on the GPU between the picture and the objects: one transfer each way."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sipvideo.config import Config
from sipvideo.engine import precision
from sipvideo.engine.contract import Engine, Size
from sipvideo.engine.recording import Eager, Execution, Graph, Recordings
from sipvideo.engine.tensors.objects import Objects
from sipvideo.engine.tensors.pictures import CardPicture
from sipvideo.engine.tensors.step import FrameStep
from sipvideo.errors import ConfigError
from sipvideo.forks import claim_threads
from sipvideo.model.head import HeadOutputs
from sipvideo.model.sipmask import SipMask
from sipvideo.postprocess import DenseOutputs, ObjectHead, Postprocess
from sipvideo.postprocess.colours import with_looks
from sipvideo.sources.hardware import Decoding
from sipvideo.structures import Detections, FloatArray, Frame
from sipvideo.transforms import FrameTransform

BATCHES = (1, 2, 4, 8, 16)
"""Sizes of recorded batches; smaller ones are padded."""
LARGEST = 8
"""Frames of a batch where somebody waits for them; ``for_files`` takes the largest of ``BATCHES``."""
CALLERS = 2
"""One thread fills and reads memory of the host while the other's batch is on the device."""
STEPS = 32
"""Frame sizes whose tables are kept."""

Kind = tuple[str, tuple[int, int], int]
"""A kind of batch: configuration (as JSON: quickly compared), frame size, frames."""


@dataclass(eq=False)
class Network:
    """One network on a device, shared by the engines that run it for other input sizes.

    Attributes:
        model: as :meth:`SipMask.for_inference` rearranges it, in its precision, on the device.
        head: its per-object part, for the host.
        name: of the runtime.
        device: where it runs.
        most: frames of a batch that the device's memory has place for.
        host_ways: frames that the host had to finish, as the device's fixed bounds were too narrow for them.
        frames, bytes_to_host: of all batches so far.
    """

    model: SipMask
    head: ObjectHead
    name: str
    device: torch.device
    most: int = BATCHES[-1]
    host_ways: int = 0
    frames: int = 0
    bytes_to_host: int = 0
    bytes_to_device: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.precision = precision.PRECISIONS[self.name]
        precision.apply(self.precision)
        self.model.for_inference().to(self.device).in_precision(self.precision.dtype)
        self.objects = Objects(self.head, self.device)
        self.configs: dict[str, Config] = {}
        self.steps: OrderedDict[tuple[str, tuple[int, int]], FrameStep] = OrderedDict()
        self.recordings: Recordings[Kind, Execution] = Recordings(self._record, failed=_told)
        self.on_cuda = self.records = self.device.type == "cuda"
        if self.on_cuda:
            self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self.pool = torch.cuda.graph_pool_handle()
            torch.cuda.synchronize(self.device)

    def known(self, config: Config) -> str:
        """What :meth:`step` and :meth:`execution` call a configuration."""
        name = config.model_dump_json()
        self.configs[name] = config
        return name

    def step(self, config: str, size: tuple[int, int]) -> FrameStep:
        """The step for frames of (height, width)."""
        step = self.steps.pop((config, size), None)
        if step is None:
            step = self._new_step(config, size)
        self.steps[config, size] = step
        if len(self.steps) > STEPS:
            self.steps.popitem(last=False)
        return step

    def execution(self, config: str, size: tuple[int, int], count: int) -> Execution:
        """How a batch of ``count`` frames runs: recorded if it can be, else as written."""
        if self.records:
            batch = next(most for most in BATCHES if most >= count)
            recorded = self.recordings.get((config, size, batch))
            if recorded is not None:
                return recorded
        return Eager(self.step(config, size), self.device)

    def _new_step(self, config: str, size: tuple[int, int]) -> FrameStep:
        whole = self.configs[config]
        geometry = FrameTransform(whole.input).geometry(size)
        dtype = self.precision.dtype
        return FrameStep(self.model, self.objects, whole, geometry, self.device, dtype)

    def _record(self, kind: Kind) -> Execution:
        config, size, batch = kind
        precision.apply(self.precision)
        return Graph(self._new_step(config, size), batch, self.device, self.pool)

    @property
    def about(self) -> str:
        """For people: engine, version, precision, where."""
        where = torch.cuda.get_device_name(self.device) if self.on_cuda else "cpu"
        kind = "tf32" if self.precision.tf32 else str(self.precision.dtype).removeprefix("torch.")
        return f"PyTorch {torch.__version__}, {kind}, all on {where}"

    def memory(self, *shape: int) -> Tensor:
        """Bytes on the host that the device reads and writes directly."""
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.on_cuda)

    def fetched(self, values: Tensor) -> Tensor:
        """Bytes on the device, brought to the host."""
        self.bytes_to_host += values.numel()
        if not self.on_cuda:
            return values.clone(memory_format=torch.contiguous_format)
        host = self.memory(*values.shape).copy_(values, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return host

    def current(self) -> ExitStack:
        """Makes the device, its stream and the precision those of the calling thread."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.on_cuda:
            stack.enter_context(torch.cuda.device(self.device))
            stack.enter_context(torch.cuda.stream(self.stream))
        precision.apply(self.precision)
        return stack


class CudaEngine(Engine):
    """Finds the objects of frames on a GPU; on the CPU too, for tests. May be used from several threads at once.

    Batches that come often are recorded as CUDA graphs in the background and replayed from then on; meanwhile, and
    for frames of rare sizes, kernels are launched one by one.

    Args:
        network: the network and its device.
        config: its configuration.
        largest_batch: frames that are segmented together.
    """

    resizable = True
    callers = CALLERS

    def __init__(self, network: Network, config: Config, largest_batch: int = LARGEST) -> None:
        self.network, self.config, self.largest_batch = network, config, largest_batch
        self.model, self.input_size = config.name, config.input.size
        self.device, self.about = str(network.device), network.about
        self.threshold = config.postprocess.score_threshold
        if network.on_cuda:
            number = str(network.device.index or 0)
            self.decoding = Decoding("cuda", number, CardPicture.of)
        self._known = network.known(config)
        self._postprocess = Postprocess(config, network.head)
        self._transform = FrameTransform(config.input)

    @classmethod
    def of(
        cls, model: SipMask, head: ObjectHead, config: Config, device: torch.device, name: str
    ) -> CudaEngine:
        """An engine for a network, which is rearranged for inference.

        Args:
            model: the network, weights loaded.
            head: its per-object part.
            config: its configuration.
            device: where it runs.
            name: one of ``precision.PRECISIONS``, or "auto".

        Raises:
            ConfigError: a precision whose results do not hold.
        """
        return cls(Network(model, head, precision.choose(name), device), config)

    def for_files(self) -> CudaEngine:
        """The same with larger batches: throughput instead of latency."""
        return CudaEngine(self.network, self.config, BATCHES[-1])

    def resized(self, size: Size) -> CudaEngine:
        """The same network with another input size."""
        config = self.config.with_overrides([f"input.size=[{size[0]}, {size[1]}]"])
        return CudaEngine(self.network, config, self.largest_batch)

    def doubting(self, threshold: float) -> CudaEngine:
        """The same network that reports objects from a lower score too."""
        if self.threshold <= threshold:
            return self
        config = self.config.with_overrides([f"postprocess.score_threshold={threshold}"])
        return CudaEngine(self.network, config, self.largest_batch)

    def prepare(self, frame_size: tuple[int, int]) -> None:
        """Runs one grey frame of (height, width), so that libraries are loaded, and has two batches recorded."""
        image = np.full((*frame_size, 3), 128, np.uint8)
        self.detect([Frame(image, 0, 0.0)])
        if self.network.records:
            for batch in (self.largest_batch, 1):
                self.network.recordings.want((self._known, frame_size, batch))

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detections of frames of any sizes, in their order; equal to calling one by one up to rounding.

        Raises:
            ConfigError: the device has no memory for a single frame.
            SipVideoError: in a fork of the process that uses the device.
        """
        claim_threads("CUDA")
        by_size: dict[tuple[int, int], list[int]] = {}
        for number, frame in enumerate(frames):
            by_size.setdefault(frame.size, []).append(number)
        found: dict[int, Detections] = {}
        for numbers in by_size.values():
            while numbers:
                count = min(self.largest_batch, self.network.most)
                here, numbers = numbers[:count], numbers[count:]
                batch = [frames[number] for number in here]
                try:
                    found |= zip(here, self._batch(batch), strict=True)
                except torch.cuda.OutOfMemoryError as error:
                    self._take_less(len(here), error)
                    numbers = here + numbers
        return [found[number] for number in range(len(frames))]

    def _take_less(self, count: int, error: Exception) -> None:
        """After a batch of ``count`` frames found no memory: smaller ones from now on.

        Raises:
            ConfigError: there is none smaller.
        """
        network = self.network
        network.recordings.wait()
        network.recordings.clear()
        if network.on_cuda:
            torch.cuda.empty_cache()
        if count == 1:
            raise ConfigError(
                f"--device {self.device}: its memory has no place for one frame; "
                "take a smaller input.size or --device cpu"
            ) from error
        network.most = min(network.most, max(most for most in BATCHES if most < count))
        note = (
            f"{self.device}: no memory for batches of {count}; at most {network.most} from now on"
        )
        warnings.warn(note, stacklevel=2)

    def _on_device(self, frames: Sequence[Frame]) -> list[Tensor]:
        """The frames' pictures where they were decoded, if that is this device, for all of them; else none."""
        pictures = [frame.on_device for frame in frames]
        pixels = [one.pixels for one in pictures if isinstance(one, CardPicture)]
        kind, number = self.network.device.type, self.network.device.index or 0
        here = all((p.device.type, p.device.index or 0) == (kind, number) for p in pixels)
        return pixels if here and len(pixels) == len(frames) else []

    def _batch(self, frames: list[Frame]) -> list[Detections]:
        """Detections of frames of one size, at most ``BATCHES[-1]``."""
        network, size = self.network, frames[0].size
        pictures = self._on_device(frames)
        staged = None if pictures else network.memory(len(frames), *size, 3)
        if staged is not None:
            network.bytes_to_device += staged.numel()
            for place, frame in zip(staged.numpy(), frames, strict=True):
                np.copyto(place, frame.image)
        # The device's memory of a step is one caller's until all that it wants is on the host.
        with network.lock, network.current():
            layout = network.step(self._known, size).layout
            run = network.execution(self._known, size, len(frames))
            found = run(torch.stack(pictures) if staged is None else staged)
            network.frames += len(frames)
            shares = network.fetched(found.share[: len(frames)]).numpy()
            counts = [layout.counts(share) for share in shares]
            most = max(length for _, length, _ in counts)
            further = [
                network.fetched(run.bits(start)[: len(frames), : most - start]).numpy()
                for start in range(layout.mask_bytes, most, layout.mask_bytes)
            ]
            rest = {
                item: host_outputs(found.outputs, item)
                for item, (_, _, settled) in enumerate(counts)
                if not settled
            }
        network.host_ways += len(rest)
        geometry = self._transform.geometry(size)
        objects = [
            self._postprocess(rest[item], geometry)
            if item in rest
            else layout.detections(share, [part[item] for part in further])
            for item, share in enumerate(shares)
        ]
        looks = self.config.postprocess.colour_share
        pairs = zip(objects, shares, strict=True)
        return [with_looks(one, layout.small(share), looks) for one, share in pairs]


def host_outputs(outputs: HeadOutputs, item: int) -> DenseOutputs:
    """The raw outputs of one item of a batch, on the host."""

    def one(value: Tensor) -> FloatArray:
        array: FloatArray = value[item : item + 1].cpu().numpy()
        return array

    def several(values: list[Tensor]) -> list[FloatArray]:
        return [one(value) for value in values]

    return DenseOutputs(
        several(outputs.class_logits),
        several(outputs.centerness_logits),
        several(outputs.box_distances),
        several(outputs.coefficient_features),
        one(outputs.basis_masks),
        several(outputs.embedding_features),
    )


def _told(kind: Kind, error: Exception) -> None:
    _, (height, width), batch = kind
    warnings.warn(
        f"batches of {batch} frames of {width} x {height} are not recorded: {error}", stacklevel=2
    )
