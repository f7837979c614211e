"""Weights files: damaged, of other shapes, with code inside, with numbers that promise gigabytes."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sipvideo.model import checkpoint
from sipvideo.model.sipmask import SipMask
from tests.fuzz import videos
from tests.fuzz.case import NOTHING, Case
from tests.fuzz.mutate import NUMBERS, Rng, choose, json_bytes, mutated_bytes, mutated_tree
from tests.networks import small_config

TYPES = ("F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "X", 4)


@functools.cache
def own() -> bytes:
    """A small network's weights in the project's own format."""
    torch.manual_seed(0)
    config = small_config()
    path = Path("own.safetensors")
    checkpoint.save(path, SipMask(config), config, half=True)
    data = path.read_bytes()
    path.unlink()
    return data


@functools.cache
def published() -> bytes:
    """What looks like a published checkpoint at first sight."""
    tensors = {f"bbox_head.sip_{k}.weight": torch.ones(3, 2) for k in ("cof", "mask_lat", "x")}
    file = io.BytesIO()
    torch.save({"state_dict": tensors, "meta": {"epoch": 3, "CLASSES": ("a", "b")}}, file)
    return file.getvalue()


def safetensors_header(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """The header's tree or its configuration changed; sometimes the numbers of the tensors."""
    (size,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    way = int(rng.integers(5))
    if way == 0:
        config, how = mutated_tree(rng, json.loads(header["__metadata__"]["config"]))
        text, more = json_bytes(rng, config)
        header["__metadata__"]["config"] = text.decode("utf-8", "replace")
        how = f"configuration {how} {more}"
    elif way == 1:
        name = choose(rng, [k for k in header if k != "__metadata__"])
        field = choose(rng, ("dtype", "shape", "data_offsets"))
        old = header[name][field]
        new = (
            choose(rng, TYPES)
            if field == "dtype"
            else [choose(rng, (*NUMBERS, -1, 2**62)) for _ in old]
        )
        header[name][field], how = new, f"{name} {field}={new}"
    elif way == 2:
        filling = choose(rng, (float("nan"), float("inf"), 65000.0, 0.0))
        body = np.full(len(body) // 2, filling, np.float16).tobytes()[: len(body)]
        how = f"all {filling}"
    else:
        header, how = mutated_tree(rng, header)
    text = json.dumps(header).encode("utf-8", "replace")
    length = len(text) if rng.random() < 0.9 else choose(rng, (*NUMBERS, 2**63))
    return struct.pack(
        "<Q", length
    ) + text + body, f"header {how} {length if length != len(text) else ''}"


def weights(rng: Rng, folder: Path) -> Case:
    """The own format."""
    data, how = choose(rng, (safetensors_header, safetensors_header, mutated_bytes))(rng, own())
    (folder / "in.safetensors").write_bytes(data)
    return Case(how, _reading(rng, folder, "in.safetensors"), NOTHING)


def _reading(rng: Rng, folder: Path, name: str) -> list[str]:
    if rng.random() < 0.7:
        named = choose(rng, ([], ["--names"], ["--config", "sipmask_nano"]))
        return ["weights", "inspect", name, *named]
    (folder / "clip.gif").write_bytes(videos.base("gif"))
    arguments = ["video", "clip.gif", "-o", "out", "-q", "--save", "lines", "--weights", name]
    return [*arguments, "--device", "cpu", "--runtime", "torch"]


class _Calls:
    """Pickles as a call of a function: what must never happen when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: tuple[Callable[[], Any], ...] = (
    lambda: _Calls(os.system, "touch hacked"),
    lambda: _Calls(eval, "open('hacked', 'w')"),
    lambda: _Calls(exec, "open('hacked', 'w')"),
    lambda: _Calls(os.makedirs, "hacked"),
    lambda: _Calls(getattr, "text", "upper"),
    lambda: _Calls(bytearray, 2**36),
    lambda: _Calls(torch.zeros, 2**36),
    lambda: _Calls(torch.load, "/etc/passwd"),
    lambda: {"state_dict": _Calls(os.system, "touch hacked")},
    lambda: {"state_dict": {"bbox_head.sip_cof.weight": _Calls(torch.ones, 3)}},
    lambda: {"state_dict": {5: torch.ones(2), "bbox_head.sip_x": torch.ones(2)}},
    lambda: {"state_dict": {"bbox_head.sip_x": "text"}, "meta": {"a": float("nan")}},
    lambda: {"state_dict": [torch.ones(2)]},
    lambda: {"bbox_head.sip_cof.weight": torch.ones(2).to_sparse()},
    lambda: {"bbox_head.sip_cof.weight": torch.ones(1).expand(2**20, 2**20)},
    lambda: {"bbox_head.sip_cof.weight": torch.zeros(2, dtype=torch.complex64)},
    lambda: {"bbox_head.scales.0.scale": torch.ones(3), "bbox_head.sip_x": torch.ones(2)},
    lambda: {"state_dict": {"rpn.head.sip_cof.weight": torch.ones(3)}, "model": 5},
    lambda: {"model": {"rpn.head.sip_\ud800": torch.ones(3)}, "meta": ["x"]},
    lambda: {"state_dict": {"x" * 100_000: torch.ones(1)}},
    lambda: torch.ones(4),
    lambda: [1, 2, 3],
    lambda: None,
)


def _pickled(rng: Rng) -> tuple[bytes, str]:
    k = int(rng.integers(len(HOSTILE)))
    value, file = HOSTILE[k](), io.BytesIO()
    way = int(rng.integers(3))
    if way == 2:
        with_protocol = pickle.dumps(value, protocol=int(rng.integers(0, 5)))
        return with_protocol, f"hostile {k} as a plain pickle"
    torch.save(value, file, _use_new_zipfile_serialization=way == 0)
    return file.getvalue(), f"hostile {k} {'zipped' if way == 0 else 'of old'}"


def _bombs(rng: Rng) -> tuple[bytes, str]:
    """Pickles and archives whose few bytes ask for much."""
    depth = int(10 ** rng.uniform(2, 5))
    texts = {
        "nested": b"\x80\x02" + b"(" * depth + b"l" * depth + b".",
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
        "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**33) + b"x.",
        "memo": b"\x80\x02]r\xff\xff\xff\x7f.",
        "doubling": b"\x80\x02]q\x00" + b"h\x00h\x00\x86q\x00" * 40 + b".",
    }
    name = choose(rng, (*texts, "zip"))
    if name != "zip":
        return texts[name], name
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            choose(rng, ("x/data.pkl", "data.pkl", "../x/data.pkl")), b"\x00" * 50_000_000
        )
        archive.writestr("x/version", "3\n")
    return file.getvalue(), "zip bomb"


def _inner(rng: Rng) -> tuple[bytes, str]:
    """A checkpoint whose archive is whole and whose members are not."""
    target = io.BytesIO()
    how = ""
    with zipfile.ZipFile(io.BytesIO(published())) as source, zipfile.ZipFile(target, "w") as made:
        names = source.namelist()
        spoilt = choose(rng, [n for n in names if n.endswith("data.pkl")] * 3 + names)
        for name in names:
            data = source.read(name)
            if name == spoilt:
                data, how = mutated_bytes(rng, data)
                how = f"{name} {how}"
            if name != spoilt or rng.random() < 0.85:
                made.writestr(name, data)
    return target.getvalue(), how


def pickles(rng: Rng, folder: Path) -> Case:
    """Published checkpoints: pickles, damaged and hostile."""
    way = int(rng.integers(6))
    if way < 2:
        data, how = _pickled(rng)
    elif way == 2:
        data, how = _bombs(rng)
    elif way < 5:
        data, how = _inner(rng)
    else:
        data, how = mutated_bytes(rng, published())
    name = choose(rng, ("in.pth", "in.pth", "in.pt", "in.bin", "in.safetensors"))
    (folder / name).write_bytes(data)
    return Case(how, _reading(rng, folder, name), NOTHING)
