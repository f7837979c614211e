from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from sipvideo.apps.main import main
from sipvideo.config import available, config_from_values, load_config
from sipvideo.model import checkpoint
from sipvideo.model.sipmask import SipMask


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the default architecture, freshly initialised."""
    path = tmp_path_factory.mktemp("weights") / "fresh.safetensors"
    config = load_config("sipmask_nano")
    torch.manual_seed(0)
    checkpoint.save(path, SipMask(config), config)
    return path


def test_config_lists_every_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == available()


@pytest.mark.parametrize("name", available())
def test_a_shown_configuration_reads_back_as_the_same(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", name]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert config_from_values(values, "shown") == load_config(name)


def test_set_changes_the_shown_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "sipmask_nano", "--set", "tracker.max_age=7.5"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["tracker"]["max_age"] == 7.5


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["sipmask_nani"], "did you mean 'sipmask_nano'"),
        (["sipmask_nano", "--set", "tracker.max_aeg=1"], "did you mean 'max_age'"),
        (["sipmask_nano", "--set", "tracker.max_age"], "expected section.key=value"),
        (["sipmask_nano", "--set", "tracker.max_age=soon"], "max_age"),
        (["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert part in told


def test_inspect_tells_kind_size_and_fit(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "inspect", str(weights), "--names"]) == 0
    told = capsys.readouterr().out
    count = sum(tensor.numel() for tensor in checkpoint.read(weights).tensors.values())
    assert f"{count:,} values" in told
    assert "fits      sipmask_nano, 80 classes" in told
    assert "\n  backbone." in told


def test_inspect_says_what_does_not_fit(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "inspect", str(weights), "--set", "head.bases=16"]) == 2
    assert "does not fit the configuration" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"PK\x03\x04broken"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_holds_no_weights_is_one_line(
    content: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    for command in (["weights", "inspect"], ["video", "a.mp4", "-o", "out", "--weights"]):
        assert main([*command, str(tmp_path / name)]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert told.startswith("sipvideo: error: ")
        assert name in told


def test_an_unknown_device_and_key_are_one_line_before_any_work(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["video", "a.mp4", "-o", str(tmp_path / "out"), "--weights", str(weights)]
    for more in (["--device", "abacus"], ["--set", "postprocess.score_treshold=0.1"]):
        assert main([*start, *more]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert more[1].split("=")[0].split(".")[-1] in told
