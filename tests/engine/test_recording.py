"""Recordings replayed: a stand-in for CUDA graphs on the CPU runs again exactly the operations that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sipvideo.engine.recording import Eager, Graph
from tests.engine.test_cuda import pair, picture, same
from tests.engine.test_tensors import CPU, step_for, uploaded
from tests.networks import HEADS, lively, small_config


class Operations(TorchDispatchMode):
    """Writes down every operation with its tensors, as a CUDA graph does with kernels and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


class CPUGraph:
    """In place of ``torch.cuda.CUDAGraph``: the same operations on the same memory, whatever Python would do now."""

    def __init__(self) -> None:
        self.operations = Operations()

    def replay(self) -> None:
        for func, args, kwargs, result in self.operations.calls:
            again = func(*args, **kwargs)
            read = {memory(value) for value in tree_leaves((args, kwargs))}
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                # A view of what is there, or what was written in place, is up to date already.
                if isinstance(old, torch.Tensor) and memory(old) not in read:
                    old.copy_(new)


def memory(value: object) -> int | None:
    """Where a tensor's numbers are; tensors that share memory have the same."""
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


class Stream:
    """Nothing runs beside."""

    def __init__(self, device: object = None) -> None:
        self.device = device

    def synchronize(self) -> None:
        pass


@contextmanager
def recording(
    graph: CPUGraph, pool: object = None, stream: object = None, capture_error_mode: str = "global"
) -> Iterator[None]:
    assert capture_error_mode == "thread_local"  # other threads go on meanwhile
    with graph.operations:
        yield


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA graphs on the CPU."""
    nothing: Callable[[object], Any] = lambda _: nullcontext()  # noqa: E731
    for name, value in (
        ("Stream", Stream),
        ("CUDAGraph", CPUGraph),
        ("graph", recording),
        ("stream", nothing),
        ("device", nothing),
    ):
        monkeypatch.setattr(torch.cuda, name, value)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("head", HEADS)
@torch.inference_mode()
def test_a_replay_on_other_frames_gives_what_the_step_gives(head: dict[str, object]) -> None:
    config = small_config(**head)
    step, _ = step_for(lively(config), config, (120, 160))
    graph, eager = Graph(step, 2, CPU, None), Eager(step, CPU)
    shares = []
    for seed in range(3):
        frames = uploaded([picture(seed=seed), picture(seed=seed + 10)])
        shares.append(graph(frames).share.clone())
        np.testing.assert_array_equal(shares[-1].numpy(), eager(frames).share.numpy())
        for start in (0, 100, step.layout.mask_bytes):
            np.testing.assert_array_equal(graph.bits(start).numpy(), eager.bits(start).numpy())
    assert not torch.equal(shares[0], shares[1])


@pytest.mark.usefixtures("graphs")
def test_an_engine_that_records_finds_the_same_objects() -> None:
    engine, host = pair()
    engine.network.records, engine.network.pool = True, None
    engine.prepare((120, 160))
    engine.network.recordings.wait()
    assert len(engine.network.recordings) == 2
    frames = [picture(seed=seed) for seed in range(5)]
    expected = host.detect(frames)
    for frame, one in zip(frames, expected, strict=True):
        same(engine.detect([frame])[0], one)
    many = [*frames, *frames[:2]]  # seven take the recording for eight
    for one, other in zip(engine.detect(many), [*expected, *expected[:2]], strict=True):
        same(one, other)


@pytest.mark.usefixtures("graphs")
def test_what_depends_on_values_would_be_noticed() -> None:
    graph, x = CPUGraph(), torch.ones(3)
    with recording(graph, capture_error_mode="thread_local"):
        doubled = x * 2 + 1
    x.fill_(5)
    graph.replay()
    assert doubled.tolist() == [11, 11, 11]
    with (
        pytest.raises(RuntimeError, match="not permitted"),
        recording(CPUGraph(), capture_error_mode="thread_local"),
    ):
        x.sum().item()
