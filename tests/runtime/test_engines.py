"""The engines that read ONNX give the maps of PyTorch, keep them, and say what is wrong."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sipvideo.config import Config
from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.runtime import bundle, graph, make_runtime
from sipvideo.runtime.cache import Cache
from sipvideo.runtime.layout import flat, gathered
from tests.networks import HEADS, converted, lively, small_config

pytest.importorskip("onnxscript", reason="needs the extra 'export'")
openvino = pytest.importorskip("openvino", reason="needs the extra 'openvino'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

from sipvideo.runtime.onnxruntime import ONNXRuntime  # noqa: E402
from sipvideo.runtime.openvino import SIZES, OpenVINORuntime, read_network  # noqa: E402

Engine = Callable[[bytes], Runtime]
ENGINES: dict[str, Engine] = {
    "openvino": lambda content: OpenVINORuntime(read_network(content)),
    "onnxruntime": ONNXRuntime,
}


KINDS = (0, 4)
"""Heads with deformable convolution and with grids; an export of the default model has what they lack."""


@pytest.fixture(scope="module")
def cache(conversions: Path) -> Cache:
    return Cache(conversions)


@pytest.fixture(scope="module")
def contents(conversions: Path) -> dict[int, bytes]:
    """ONNX of networks with these kinds of head."""
    found = {}
    for which in KINDS:
        model = lively(_config(which))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        found[which] = converted(model, _config(which), conversions)
        after = model.state_dict()
        assert before.keys() == after.keys(), "conversion leaves the network as it was"
        assert all(torch.equal(value, before[name]) for name, value in after.items())
    return found


def _config(which: int) -> Config:
    return small_config(**HEADS[which])


def _images(batch: int = 1, height: int = 96, width: int = 160, seed: int = 0) -> np.ndarray:
    """As the segmenter makes them: channels-last in memory."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((batch, height, width, 3), np.float32)
    return values.transpose(0, 3, 1, 2)


def _expected(config: Config, images: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        outputs = lively(config)(torch.from_numpy(np.ascontiguousarray(images)))
    return {name: value.numpy() for name, value in flat(outputs)}


def _assert_equal(outputs: DenseOutputs, expected: dict[str, np.ndarray]) -> None:
    found = dict(flat(outputs))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        size = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[name], value, atol=2e-4 * size, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_map_equals_pytorchs_for_every_kind_of_head_batch_and_size(
    contents: dict[int, bytes], engine: str, which: int
) -> None:
    runtime = ENGINES[engine](contents[which])
    for images in (_images(), _images(2, 64, 96)):
        _assert_equal(runtime(images), _expected(_config(which), images))


@pytest.mark.parametrize("engine", ENGINES)
def test_results_that_are_kept_do_not_change_when_the_next_frame_runs(
    contents: dict[int, bytes], engine: str
) -> None:
    runtime = ENGINES[engine](contents[0])
    images = [_images(seed=seed) for seed in range(4)]
    kept = [runtime(image) for image in images]
    for image, outputs in zip(images, kept, strict=True):
        _assert_equal(outputs, _expected(_config(0), image))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shared", [False, True])
def test_threads_that_call_at_once_each_get_their_own_result(
    contents: dict[int, bytes], engine: str, shared: bool
) -> None:
    runtime = ENGINES[engine](contents[0])
    if shared:
        runtime = runtime.shared(4)
        assert runtime.callers == 4
    images = [_images(seed=seed, height=32 * (2 + seed % 2)) for seed in range(4)]
    alone = [dict(flat(runtime(image))) for image in images]
    found: dict[int, list[DenseOutputs]] = {}

    def work(which: int) -> None:
        found[which] = [runtime(images[which]) for _ in range(8)]

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which, expected in enumerate(alone):
        assert len(found[which]) == 8
        for outputs in found[which]:
            _assert_equal(outputs, expected)


def test_openvino_keeps_only_the_last_sizes(contents: dict[int, bytes]) -> None:
    runtime = OpenVINORuntime(read_network(contents[4]))
    sizes = [(32 * h, 32 * w) for h, w in itertools.product((2, 3), (2, 3, 4))]
    for height, width in (*sizes, sizes[0]):
        outputs = runtime(_images(1, height, width))
        assert outputs.basis_masks.shape[2:] == (height // 4, width // 4)
    assert len(runtime._compiled) == SIZES


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_networks_that_go_in_the_order_they_came_leave_no_stack_for_signals_that_is_gone(
    contents: dict[int, bytes],
) -> None:
    def work() -> None:  # every thread has a stack of its own for signals
        first, second = (OpenVINORuntime(read_network(contents[0])) for _ in range(2))
        for engine in (first, second):
            engine(_images())
        del engine, first
        gc.collect()
        del second
        gc.collect()
        found.append(_signal_stack())

    found: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (address,) = found
    assert not address or _is_mapped(address)


def _signal_stack() -> int:
    """Where this thread handles signals that ask for a stack of their own; 0: there is none."""

    class Stack(ctypes.Structure):
        _fields_ = (
            ("address", ctypes.c_void_p),
            ("flags", ctypes.c_int),
            ("size", ctypes.c_size_t),
        )

    stack = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address or 0


def _is_mapped(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(text, 16) for text in line.split()[0].split("-"))
        if first <= address < last:
            return True
    return False


def test_bfloat16_is_used_only_when_asked_for(contents: dict[int, bytes]) -> None:
    images = _images()
    expected = _expected(_config(0), images)["basis_masks"]
    size = np.abs(expected).max()
    network = read_network(contents[0])
    single = OpenVINORuntime(network)(images).basis_masks
    half = OpenVINORuntime(network, "openvino-bf16")(images).basis_masks
    assert np.abs(single - expected).max() < 1e-4 * size
    assert np.abs(half - expected).max() < 0.1 * size


def test_a_network_of_fixed_size_takes_batches_and_names_the_size_that_it_needs(
    contents: dict[int, bytes],
) -> None:
    network = read_network(contents[0])
    network.reshape([1, 3, 96, 160])
    runtime = OpenVINORuntime(network)
    images = _images(3)
    _assert_equal(runtime(images), _expected(_config(0), images))
    with pytest.raises(ConfigError, match=r"160x96.*64x96.*--size 64x96 or --dynamic"):
        runtime(_images(1, 96, 64))


@pytest.mark.parametrize("name", ["openvino", "openvino-bf16", "onnxruntime"])
def test_a_network_of_pytorch_runs_by_name_and_is_not_converted_twice(
    name: str, contents: dict[int, bytes], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPVIDEO_CACHE", str(cache.folder))
    monkeypatch.setattr(graph, "onnx_graph", lambda model: pytest.fail("converted again"))
    runtime = make_runtime(name, lively(_config(4)), _config(4), "cpu")
    assert runtime.name == name
    assert name.split("-")[0] in runtime.about.lower().replace(" ", "")
    found = dict(flat(runtime(_images())))["basis_masks"]
    expected = _expected(_config(4), _images())["basis_masks"]
    assert np.abs(found - expected).max() < (0.1 if "bf16" in name else 1e-4) * expected.max()


def test_other_weights_or_another_head_are_another_cache_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    config = _config(4)
    other = lively(config)
    with torch.no_grad():
        other.head.basis.output.bias += 1.0
    keys = {graph._key(lively(config), config), graph._key(other, config)}
    changed = config.with_overrides(["head.mask_units=2"])
    keys.add(graph._key(lively(changed), changed))
    assert len(keys) == 3
    assert graph._key(lively(config), config) in keys
    assert cache.get(keys.pop()) is None


def test_without_the_converter_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(ConfigError, match=r"onnxscript is not installed: pip install"):
        graph.cached_onnx_graph(lively(_config(4)), _config(4), Cache(tmp_path))


def test_a_cache_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    cache.put("key", b"content")

    def refused(path: Path) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "touch", refused)
    assert cache.get("key") == b"content"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_cache_entry_is_as_if_it_were_not_there(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.put("key", b"content")
    assert cache.get("key") == b"content"
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-1], "changed": data[:-1] + b"!", "empty": b""}[damage])
    assert cache.get("key") is None
    cache.put("key", b"content")
    assert cache.get("key") == b"content"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=400)
    for number, name in enumerate(("a", "b", "c")):
        cache.put(name, bytes(100))
        path = tmp_path / f"{name}.network"
        os.utime(path, (number, number))
    assert cache.get("a") is not None  # used now
    cache.put("d", bytes(100))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.get("d") is not None
    cache.put("huge", bytes(401))
    assert cache.get("huge") is None


def test_without_a_place_to_write_nothing_is_cached_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    for folder in (str(blocked / "below"), "off"):
        monkeypatch.setenv("SIPVIDEO_CACHE", folder)
        cache = Cache()
        cache.put("key", b"content")
        assert cache.get("key") is None
    assert blocked.read_bytes() == b""


def test_what_is_no_network_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(b"nonsense")
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(CheckpointError, match=r"network\.onnx: .* cannot read it") as caught:
            bundle.open_network(tmp_path, name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="take onnxruntime or openvino"):
        bundle.open_network(tmp_path, "torch")
    with pytest.raises(CheckpointError, match=r"no exported network in it \(expected network.xml"):
        bundle.open_network(tmp_path / "absent")


def test_a_network_that_can_be_read_but_not_run_is_told_in_one_line(
    contents: dict[int, bytes],
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(contents[0])
    weight = next(w for w in model.graph.initializer if len(w.dims) == 4 and w.dims[1] > 1)
    kernel = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(kernel[:, :-1].copy(), weight.name))
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot"):
        ONNXRuntime(model.SerializeToString())(_images())
    with pytest.raises(CheckpointError, match="OpenVINO cannot"):
        OpenVINORuntime(read_network(model.SerializeToString()))(_images())


def test_openvino_tells_nobody_of_its_use_and_writes_nothing_to_the_home_folder(
    tmp_path: Path,
) -> None:
    program = (
        "from sipvideo.runtime.openvino import require; require(); import openvino, threading; "
    )
    program += "print([thread.name for thread in threading.enumerate()])"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        **{"env": environment, "capture_output": True, "text": True, "check": True},
    )
    assert done.stdout == "['MainThread']\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "<layer/>", "x<net name='a'/>", '<!DOCTYPE x [<!ENTITY a "b">]><net name="&a;">']
)
def test_xml_that_is_no_network_is_refused_before_openvino_reads_it(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "network.xml"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"network\.xml: damaged, or not a network"):
        read_network(path)


@pytest.mark.parametrize("spoil", ["before", "cut", "behind", "nothing", "endless"])
def test_what_cannot_be_onnx_is_refused_before_openvino_tries_all_its_readers(
    spoil: str, contents: dict[int, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = contents[0]
    spoilt = {
        "before": b"\xea" * 7 + whole,
        "cut": whole[: len(whole) // 2],
        "behind": whole + b"\xff",
        "nothing": b"",
        "endless": b"\x08" + b"\xff" * 50,
    }
    with pytest.raises(CheckpointError, match="damaged, or not a network in ONNX"):
        read_network(spoilt[spoil])
    assert capfd.readouterr().err == ""


def test_an_absent_device_is_refused(contents: dict[int, bytes]) -> None:
    for device in ("cuda", "nonsense"):
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            continue
        with pytest.raises(ConfigError, match=f"--device {device}: not available here"):
            ONNXRuntime(contents[0], device)
    for device in ("cuda", "nonsense"):
        with pytest.raises(ConfigError, match=f"--device {device}: not available here"):
            make_runtime("openvino", lively(_config(0)), _config(0), device)
    with pytest.raises(ConfigError, match="--device meta: networks run on cpu or cuda"):
        make_runtime("torch", lively(_config(0)), _config(0), "meta")


def test_flat_names_and_values_come_back_as_they_were() -> None:
    """Also of a head without centerness and embeddings."""
    outputs = gathered(_expected(_config(3), _images()))
    assert outputs.centerness_logits == outputs.embedding_features == []
    again = gathered(dict(flat(outputs)))
    for (name, one), (other_name, other) in zip(flat(outputs), flat(again), strict=True):
        assert name == other_name
        assert one is other
