"""The PyTorch runtimes: the same objects in every precision, and clear words where one cannot run."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import sipvideo
from sipvideo import runtime
from sipvideo.apps.main import main
from sipvideo.engine import HostEngine
from sipvideo.errors import ConfigError
from sipvideo.model.head import HeadOutputs
from sipvideo.model.sipmask import SipMask
from sipvideo.runtime import NAMES, available, make_runtime, pytorch
from sipvideo.runtime.cache import Cache
from sipvideo.sources import open_source
from sipvideo.structures import Detections, Frame
from tests.networks import HEADS, lively, picture, segmenter, small_config

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"


@pytest.fixture(scope="module")
def street() -> Frame:
    with open_source(str(CLIP)) as source:
        return next(iter(source))


def segment(name: str) -> HostEngine:
    found = sipvideo.load(device="cpu", runtime=name).engine
    assert isinstance(found, HostEngine)
    return found


def same_objects(ours: Detections, expected: Detections, least: float) -> None:
    """Every clear object of one is in the other: same class, mask overlap of at least ``least``, a similar score."""
    for one, other in ((ours, expected), (expected, ours)):
        clear = one[one.scores > 0.4]
        assert len(clear) > 3
        overlap = clear.masks.iou(other.masks) * (clear.labels[:, None] == other.labels)
        best = overlap.argmax(1)
        assert overlap.max(1).min() >= least
        assert np.abs(clear.scores - other.scores[best]).max() < 0.05


def test_bfloat16_finds_the_same_objects_on_a_real_frame(street: Frame) -> None:
    half = segment("torch-bf16")
    found = half.detect([street])[0]
    same_objects(found, segment("torch").detect([street])[0], 0.85)
    outputs = half.runtime(half.inputs([street])[0])
    assert outputs.basis_masks.dtype == outputs.class_logits[0].dtype == np.float32
    assert "bfloat16" in half.runtime.about


@pytest.mark.parametrize(
    "head", [*HEADS, {"alignment": "classes_and_coefficients", "norm": "group", "unit": "conv"}]
)
def test_bfloat16_outputs_are_near_those_of_single_precision(head: dict[str, object]) -> None:
    config = small_config(**head)
    model = lively(config)
    single, half = (segmenter(model, config, name) for name in ("torch", "torch-bf16"))
    images, _, _ = single.inputs([picture()])
    exact, near = single.runtime(images), half.runtime(images)
    pairs = [(exact.basis_masks, near.basis_masks)]
    pairs += zip(exact.class_logits, near.class_logits, strict=True)
    pairs += zip(exact.box_distances, near.box_distances, strict=True)
    for a, b in pairs:
        assert b.dtype == np.float32
        assert np.abs(a - b).mean() < 0.04 * np.abs(a).mean() + 1e-3
        assert not np.array_equal(a, b)


class OneConvolution(SipMask):
    """Stands for a network: compiling a whole one takes minutes."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 5, 3, padding=1)

    def for_inference(self) -> SipMask:
        return self.eval()

    def forward(self, images: torch.Tensor) -> HeadOutputs:
        x = torch.relu(self.conv(images))
        return HeadOutputs([x.sigmoid()], [], [x * 2, x[:, :, ::2]], [], x.amax(1, True), [])


@pytest.mark.skipif(not pytorch.compiler(), reason="torch-compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its internals
def test_a_compiled_network_gives_the_same_outputs() -> None:
    compiled, eager = (
        make_runtime(name, OneConvolution(), small_config(), "cpu")
        for name in ("torch-compile", "torch")
    )
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32).transpose(0, 3, 1, 2)
    # Without a look at what the processor can do, and headers made for many networks, in a third of the time.
    quick = {"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False}
    with torch._inductor.config.patch(quick):
        expected, found = eager(images), compiled(images)
    np.testing.assert_allclose(found.basis_masks, expected.basis_masks, atol=1e-5)
    for a, b in zip(found.box_distances, expected.box_distances, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(found.class_logits) == 1
    assert found.embedding_features == []


def test_compiling_without_a_compiler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "torch-compile" not in available()
    with pytest.raises(ConfigError, match=r"torch-compile: needs a C\+\+ compiler"):
        make_runtime("torch-compile", lively(small_config()), small_config(), "cpu")


def test_the_automatic_choice_never_waits_for_a_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIPVIDEO_CACHE", str(tmp_path))
    config = small_config()
    assert make_runtime("auto", lively(config), config, "cpu").name == "torch"
    assert not list(tmp_path.iterdir())


def test_the_automatic_choice_takes_an_engine_that_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino")
    from sipvideo.runtime import graph

    monkeypatch.setenv("SIPVIDEO_CACHE", str(tmp_path))
    config, model = small_config(), OneConvolution()
    assert runtime._fastest(model, config) == "torch"
    Cache().put(graph._key(model, config), b"converted")
    assert runtime._fastest(model, config) == "openvino"


def test_half_precision_of_gpus_is_refused_on_cpus() -> None:
    with pytest.raises(ConfigError, match="torch-fp16: needs CUDA"):
        make_runtime("torch-fp16", lively(small_config()), small_config(), "cpu")


def test_a_runtime_may_be_called_from_several_threads() -> None:
    config = small_config()
    ready = segmenter(lively(config), config)
    frames = [picture(seed=seed) for seed in range(6)]
    expected = [ready.detect([frame])[0] for frame in frames]
    with ThreadPoolExecutor(3) as pool:
        for found, alone in zip(
            pool.map(lambda frame: ready.detect([frame])[0], frames), expected, strict=True
        ):
            np.testing.assert_array_equal(found.boxes, alone.boxes)
            np.testing.assert_array_equal(found.labels, alone.labels)


def test_another_input_size_shares_the_network() -> None:
    config = small_config()
    ready = segmenter(lively(config), config)
    small = ready.resized((96, 96))
    assert small.runtime is ready.runtime
    assert small.inputs([picture()])[0].shape == (1, 3, 96, 96)
    assert ready.inputs([picture()])[0].shape == (1, 3, 128, 160)
    assert small.detect([picture()])[0].masks.frame_size == (120, 160)
    with pytest.raises(ConfigError, match=r"input\.size"):
        ready.resized((0, 96))


def test_model_inputs_lie_channels_last_in_memory_without_copies() -> None:
    config = small_config()
    images, _, _ = segmenter(lively(config), config).inputs([picture(), picture(seed=1)])
    assert torch.from_numpy(images).is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_runtime_is_one_line_with_the_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["video", str(CLIP), "-o", str(tmp_path), "--runtime", "tensorflow"]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    for name in ("auto", *NAMES):
        assert name in message


def test_everything_but_the_network_works_without_pytorch() -> None:
    modules = "build, engine, pipeline, postprocess, runtime, tracker, masks, structures"
    code = "import sys, sipvideo; sipvideo.load; sipvideo.open_source; from sipvideo import "
    code += f"{modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_that_holds_no_exported_model_is_refused_without_loading_pytorch(
    tmp_path: Path,
) -> None:
    code = "import sys, sipvideo\ntry: sipvideo.load(weights=sys.argv[1])\n"
    code += "except sipvideo.errors.CheckpointError as error: print(error, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "an exported model is a folder with objects.safetensors False" in done.stdout


def test_without_pytorch_a_weights_file_says_what_to_install() -> None:
    code = (
        "import sys, sipvideo; sys.modules['torch'] = None\ntry: sipvideo.load(runtime='torch')\n"
    )
    code += "except sipvideo.errors.ConfigError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'sipvideo[torch]'" in done.stdout
