"""The ncnn reader, and the trunk and pyramid that its weights fill."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sipvideo.errors import CheckpointError
from sipvideo.model.ncnn import read_convolutions
from sipvideo.model.pan import PAN
from sipvideo.model.shufflenet import ShuffleNetV2

HALF = 0x01306B47


def tagged(values: np.ndarray, tag: int = HALF) -> bytes:
    raw = values.astype("<f2" if tag == HALF else "<f4").tobytes()
    return struct.pack("<I", tag) + raw + b"\0" * (-len(raw) % 4)


def write_model(folder: Path, convolutions: list[nn.Conv2d], tag: int = HALF) -> tuple[Path, Path]:
    """Writes convolutions as a chain in ncnn's format: the reader's counterpart."""
    lines = ["Input input 0 1 b0 0=8 1=8 2=3"]
    data = b""
    for k, c in enumerate(convolutions):
        kind = "Convolution" if c.groups == 1 else "ConvolutionDepthWise"
        fields = f"0={c.out_channels} 1={c.kernel_size[1]} 11={c.kernel_size[0]} 3=1 4=0"
        fields += f" 5={int(c.bias is not None)} 6={c.weight.numel()} -23310=1,1.000000e-01"
        fields += f" 7={c.groups}" if c.groups > 1 else ""
        lines.append(f"{kind:24} conv{k} 1 1 b{k} b{k + 1} {fields}")
        data += tagged(c.weight.detach().numpy(), tag)
        if c.bias is not None:
            data += c.bias.detach().numpy().astype("<f4").tobytes()
    param, weights = folder / "m.param", folder / "m.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n")
    weights.write_bytes(data)
    return param, weights


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    convolutions = [
        nn.Conv2d(3, 5, (1, 3)),
        nn.Conv2d(5, 5, 3, groups=5),
        nn.Conv2d(5, 2, 1, bias=False),
    ]
    return write_model(tmp_path, convolutions)


@pytest.mark.parametrize("tag", [HALF, 0])
def test_convolutions_come_back_as_they_were_written(tmp_path: Path, tag: int) -> None:
    torch.manual_seed(0)
    written = [
        nn.Conv2d(3, 5, (1, 3)),
        nn.Conv2d(5, 5, 3, groups=5),
        nn.Conv2d(5, 2, 1, bias=False),
    ]
    read = read_convolutions(*write_model(tmp_path, written, tag))
    assert [c.name for c in read] == ["conv0", "conv1", "conv2"]
    for convolution, module in zip(read, written, strict=True):
        tolerance = 0 if tag == 0 else 1e-3
        np.testing.assert_allclose(
            convolution.weight, module.weight.detach().numpy(), rtol=tolerance, atol=tolerance
        )
        bias = (
            np.zeros(module.out_channels) if module.bias is None else module.bias.detach().numpy()
        )
        np.testing.assert_array_equal(convolution.bias, bias.astype(np.float32))


def test_every_truncation_is_a_checkpoint_error(small: tuple[Path, Path]) -> None:
    whole = small[1].read_bytes()
    for length in range(len(whole)):
        small[1].write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="too short"):
            read_convolutions(*small)
    small[1].write_bytes(whole + b"\0" * 4)
    with pytest.raises(CheckpointError, match="4 bytes left"):
        read_convolutions(*small)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7767517", "7767518", "not an ncnn text file"),
        ("4 4", "9 9", "expected '9 9' layers"),
        ("4 4", "", "expected '' layers"),
        ("6=45", "6=46", "do not fill"),
        ("6=45", "6=-45", "do not fill"),
        ("6=45", "6=many", "well-formed"),
        ("6=45", "", "well-formed"),
        ("7=5", "7=3", "do not fill"),
        ("Input ", "InnerProduct ", "'InnerProduct' is not understood"),
    ],
)
def test_damaged_text_is_a_checkpoint_error(
    small: tuple[Path, Path], old: str, new: str, message: str
) -> None:
    text = small[0].read_text()
    assert old in text
    small[0].write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        read_convolutions(*small)


def test_unknown_weight_formats_and_broken_numbers_are_checkpoint_errors(
    small: tuple[Path, Path],
) -> None:
    whole = small[1].read_bytes()
    small[1].write_bytes(struct.pack("<I", 0x000D4B38) + whole[4:])
    with pytest.raises(CheckpointError, match="0x000d4b38"):
        read_convolutions(*small)
    small[1].write_bytes(whole[:4] + np.float16(np.nan).tobytes() + whole[6:])
    with pytest.raises(CheckpointError, match="not finite"):
        read_convolutions(*small)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_convolutions(small[0], small[1].with_name("missing.bin"))


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (224, 416)])
def test_trunk_and_pyramid_keep_their_strides(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    trunk = ShuffleNetV2()
    pyramid = PAN(trunk.out_channels[-3:], 96)
    features = trunk(torch.randn(2, 3, *size))
    for f, channels, stride in zip(features, trunk.out_channels, trunk.strides, strict=True):
        assert f.shape == (2, channels, size[0] // stride, size[1] // stride)
    for level, f in zip(pyramid(features[-3:]), features[-3:], strict=True):
        assert level.shape == (2, 96, *f.shape[2:])


def test_trunk_gives_a_batch_what_it_gives_single_pictures() -> None:
    torch.manual_seed(3)
    trunk = ShuffleNetV2()
    images = torch.randn(3, 3, 64, 64)
    for k, together in enumerate(zip(*(f for f in trunk(images)), strict=True)):
        for a, b in zip(together, trunk(images[k : k + 1]), strict=True):
            torch.testing.assert_close(a, b[0], rtol=1e-4, atol=1e-5)


def test_halving_in_the_pyramid_equals_bilinear_resizing() -> None:
    torch.manual_seed(4)
    pyramid = PAN((4, 4), 4)
    features = [torch.randn(1, 4, 8, 12), torch.randn(1, 4, 4, 6)]
    fine, coarse = (lateral(f) for lateral, f in zip(pyramid.laterals, features, strict=True))
    fine = fine + F.interpolate(coarse, size=(8, 12), mode="bilinear", align_corners=False)
    coarse = coarse + F.interpolate(fine, size=(4, 6), mode="bilinear", align_corners=False)
    for a, b in zip(pyramid(features), (fine, coarse), strict=True):
        torch.testing.assert_close(a, b)
