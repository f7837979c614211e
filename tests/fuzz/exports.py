"""Folders of exported models, one of whose files is spoilt."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from sipvideo.build import packaged
from tests.fuzz import videos
from tests.fuzz.case import NOTHING, Case
from tests.fuzz.mutate import Rng, choose, mutated_bytes
from tests.fuzz.weights import safetensors_header


@functools.cache
def _exported(kind: str) -> dict[str, bytes]:
    """The files of the packaged export, for ONNX or as OpenVINO keeps networks."""
    source = packaged("sipmask_nano_onnx")
    files = {p.name: p.read_bytes() for p in source.iterdir()}
    if kind == "openvino":
        import openvino

        from sipvideo.runtime.openvino import read_network

        place = Path("converted")
        place.mkdir()
        openvino.save_model(read_network(source / "network.onnx"), str(place / "network.xml"))
        del files["network.onnx"]
        files |= {p.name: p.read_bytes() for p in place.iterdir()}
        shutil.rmtree(place)
    return files


def exported(rng: Rng, folder: Path) -> Case:
    """The folder of an exported model, one of its files spoilt."""
    kind = choose(rng, ("onnx", "openvino"))
    files = dict(_exported(kind))
    name = choose(rng, [*files, "network.onnx" if kind == "onnx" else "network.xml"])
    way = int(rng.integers(4))
    if name.endswith("safetensors"):
        files[name], how = choose(rng, (safetensors_header, mutated_bytes))(rng, files[name])
    elif name == "network.onnx" and way:
        files[name], how = _onnx(rng, files[name])
    elif name == "network.xml" and way:
        files[name], how = _xml(rng, files[name])
    else:
        files[name], how = mutated_bytes(rng, files[name])
    target = folder / "model"
    target.mkdir()
    for file, data in files.items():
        (target / file).write_bytes(data)
    (folder / "clip.gif").write_bytes(videos.base("gif"))
    runtime = choose(rng, ("openvino", "onnxruntime")) if kind == "onnx" else "openvino"
    arguments = ["video", "clip.gif", "-o", "out", "-q", "--save", "lines", "--weights", "model"]
    arguments += ["--set", "input.size=[160,96]"]
    return Case(
        f"{kind} {name}: {how}", [*arguments, "--device", "cpu", "--runtime", runtime], NOTHING
    )


def _onnx(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """A graph that is still one: other operations, attributes, shapes, edges; weights in other files."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node, weight = choose(rng, graph.node), choose(rng, graph.initializer)
    way = int(rng.integers(9))
    if way == 0:
        node.op_type = choose(rng, ("Relu", "Reshape", "Loop", "If", "Nothing", "Expand", "Range"))
    elif way == 1 and node.attribute:
        attribute = choose(rng, node.attribute)
        attribute.i = choose(rng, (-1, 0, 2**31, 2**62))
        attribute.ints[:] = [choose(rng, (-1, 0, 1, 2**31, 2**62)) for _ in attribute.ints]
    elif way == 2:
        weight.dims[:] = [choose(rng, (0, 1, -1, 2**31, 2**40)) for _ in weight.dims]
    elif way == 3:
        node.input[0] = choose(rng, (graph.node[-1].output[0], node.output[0], "", "nobody"))
    elif way == 4:
        graph.node.remove(node)
    elif way == 5:
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", choose(rng, ("/etc/passwd", "../clip.gif", "x"))),
            ("length", "64"),
        ):
            weight.external_data.add(key=key, value=value)
    elif way == 6:
        graph.input[0].type.tensor_type.shape.dim[int(rng.integers(4))].dim_value = choose(
            rng, (0, -1, 7, 2**40)
        )
    elif way == 7:
        weight.raw_data = mutated_bytes(rng, weight.raw_data)[0]
    else:
        model.opset_import[0].version = choose(rng, (0, 1, 99, -1))
    made: bytes = model.SerializeToString()
    return made, f"graph way {way} {node.op_type} {weight.name[:30]}"


def _xml(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Attributes with other numbers, layers lost or doubled, entities that multiply."""
    text = data.decode()
    way = int(rng.integers(5))
    if way == 0:
        entities = "".join(
            f'<!ENTITY e{k} "{f"&e{k - 1};" * 10 if k else "x" * 10}">' for k in range(9)
        )
        return text.replace("<net", f"<!DOCTYPE x [{entities}]><net", 1).replace(
            'name="Model', 'name="&e8;', 1
        ).encode(), "entities"
    if way == 1:
        entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        return text.replace("<net", f"{entity}<net", 1).encode(), "outer entity"
    fields = [
        "offset",
        "size",
        "shape",
        "id",
        "port",
        "to-layer",
        "type",
        "element_type",
        "strides",
    ]
    field = choose(rng, fields)
    places = [k for k in range(len(text)) if text.startswith(f' {field}="', k)]
    if way == 2 or not places:
        lines = text.splitlines(keepends=True)
        start = int(rng.integers(len(lines)))
        count = int(2 ** rng.uniform(0, 5))
        changed = (
            lines[:start] + lines[start + count :]
            if rng.random() < 0.5
            else lines[: start + count] + lines[start:]
        )
        return "".join(changed).encode(), f"lines {start} {count}"
    start = choose(rng, places) + len(field) + 3
    end = text.index('"', start)
    value = choose(
        rng,
        (
            "-1",
            "0",
            "1",
            "99999999999",
            "18446744073709551615",
            "nan",
            "x",
            "1,1",
            "-1,-1,-1,-1",
            "?",
        ),
    )
    return (
        text[:start] + value + text[end:]
    ).encode(), f"{field} {text[start:end][:20]} -> {value}"
