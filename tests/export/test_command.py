"""``sipvideo export`` end to end: the default model, real engines, a real clip, and what comes of broken exports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sipvideo import build
from sipvideo.apps import export
from sipvideo.errors import ConfigError
from sipvideo.export import quantise
from sipvideo.export.networks import open_graph, write_network
from sipvideo.runtime.bundle import open_network
from sipvideo.runtime.layout import flat
from sipvideo.sources import open_source
from tests.media import write_video
from tests.networks import HEADS, converted, lively, small_config

for package, extra in (("onnxscript", "export"), ("nncf", "export"), ("openvino", "openvino")):
    pytest.importorskip(package, reason=f"needs the extra {extra!r}")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
SMALL = ["--model", "nano", "--set", "input.size=[320, 320]", "--quiet"]


@pytest.fixture(scope="module", autouse=True)
def cached(conversions: Path) -> Iterator[None]:
    """Commands keep converted networks where the other tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIPVIDEO_CACHE", str(conversions))
        yield


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip's first pictures."""
    with open_source(str(CLIP)) as source:
        pictures = [frame.image for frame in islice(source, 12)]
    return write_video(tmp_path_factory.mktemp("clips") / "short.mp4", pictures)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lighter model for OpenVINO, single precision, free sizes."""
    path = tmp_path_factory.mktemp("exports") / "nano"
    line = ["--format", "openvino", "--dynamic", "--check-frames", "3", "-o", str(path), *SMALL]
    assert export.main(line) == 0
    return path


@pytest.fixture(scope="module")
def content(conversions: Path) -> bytes:
    """A small network in ONNX, with weights in single precision."""
    config = small_config(**HEADS[0])
    return converted(lively(config), config, conversions)


def test_an_export_is_a_folder_with_network_object_weights_and_report(exported: Path) -> None:
    files = {path.name for path in exported.iterdir()}
    assert files == {"network.xml", "network.bin", "objects.safetensors", "report.json"}
    report = json.loads((exported / "report.json").read_text())
    assert report["good"] is True
    assert report["check"]["objects"] > 20
    assert report["check"]["matched"] == report["check"]["ids_equal"] == 1.0
    assert report["check"]["mask_iou"] > 0.999
    assert report["versions"]["openvino"]


def test_an_exported_model_segments_a_video_where_pytorch_cannot_be_imported(
    exported: Path, short: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'torchvision', 'onnx', 'nncf'):\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from sipvideo.apps.main import main\n"
        "code = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    line = ["video", str(short), "--weights", str(exported), "--save", "lines", "-o", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    (lines,) = (p for p in tmp_path.rglob("*") if "lines" in p.name or p.suffix == ".jsonl")
    frames = [json.loads(text) for text in lines.read_text().splitlines()]
    assert len(frames) == 12
    assert sum(len(frame["objects"]) for frame in frames) > 5 * len(frames)


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_an_int8_export_keeps_masks_and_identities(form: str, tmp_path: Path) -> None:
    path = tmp_path / "int8"
    line = ["--format", form, "--precision", "int8", "--calibrate", str(CLIP)]
    line += ["--calibration-frames", "8", "--check-frames", "3", "-o", str(path), *SMALL]
    assert export.main(line) == 0
    report = json.loads((path / "report.json").read_text())
    assert report["calibrated_on"] == CLIP.name
    assert 0.9 <= report["check"]["mask_iou"] < 1.0, "quantised, and still right"
    assert report["check"]["ids_equal"] >= 0.95
    segmenter = build.load(weights=path)
    assert segmenter.class_names == build.load_model()[0].class_names
    with pytest.raises(ConfigError, match=r"take (openvino|onnxruntime)"):
        build.load(weights=path, runtime="torch")


def test_int8_without_a_video_to_calibrate_on_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        export.main(["--precision", "int8", "-o", "x"])
    assert caught.value.code == 2
    assert "int8 needs --calibrate VIDEO" in capsys.readouterr().err


def test_a_broken_export_is_refused_and_says_so_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def zeros(content: bytes, form: str, size: tuple[int, int] | None) -> object:
        import onnx
        from onnx import numpy_helper

        network = open_graph(content, form, size)
        for tensor in network.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 4 and values.shape[2] == 1:
                tensor.CopyFrom(numpy_helper.from_array(values * np.float32(1.2), tensor.name))
        assert isinstance(network, onnx.ModelProto)
        return network

    monkeypatch.setattr("sipvideo.export.open_graph", zeros)
    path = tmp_path / "broken"
    line = ["--format", "onnx", "--check-frames", "2", "-o", str(path), *SMALL]
    assert export.main(line) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["broken.refused"]
    report = json.loads((tmp_path / "broken.refused" / "report.json").read_text())
    assert report["good"] is False
    assert report["faults"]
    assert "is not good" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["--size", "64x320", "-o", "x"], "--size 64x320: the frames to check on need"),
        (["--check", "absent.mp4", "-o", "x"], "absent.mp4"),
        (["--weights", "absent.safetensors", "-o", "x"], "absent.safetensors"),
        (["-o", "."], "is no exported model"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    line: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    assert export.main([*line, "--quiet"]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert problem in complaint
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_half_precision_is_half_the_file_and_the_same_maps(
    content: bytes, form: str, tmp_path: Path
) -> None:
    sizes, maps = {}, {}
    image = np.random.default_rng(0).standard_normal((1, 3, 96, 160), np.float32)
    for precision in ("fp32", "fp16"):
        folder = tmp_path / precision
        folder.mkdir()
        write_network(open_graph(content, form, (96, 160)), form, precision, folder)
        sizes[precision] = sum(p.stat().st_size for p in folder.iterdir() if p.suffix != ".xml")
        maps[precision] = dict(flat(open_network(folder)(image)))
    assert sizes["fp16"] < 0.65 * sizes["fp32"]
    for name, value in maps["fp32"].items():
        error = np.abs(maps["fp16"][name] - value).max()
        assert 0 < error < 0.05 * max(1.0, np.abs(value).max()), name


def test_first_depthwise_and_last_convolutions_stay_in_single_precision(content: bytes) -> None:
    import onnx

    graph = onnx.load_from_string(content).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kept = quantise.kept_nodes(content)
    shapes = [tuple(weights[n.input[1]].dims) for n in graph.node if n.name in kept]
    assert shapes[0] == (24, 3, 3, 3)
    depthwise = [shape for shape in shapes[1:] if shape[1] == 1]
    assert len(depthwise) == 19, "the trunk's"
    # Three levels each of classes and box sides, and one of basis masks.
    outputs = [shape[0] for shape in shapes[1:] if shape[1] != 1]
    assert sorted(outputs) == [3, 3, 3, 4, 4, 4, 8]
