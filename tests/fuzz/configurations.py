"""Configurations and recipes: odd values, damaged texts, and YAML that is hard to read."""

from __future__ import annotations

from pathlib import Path

import yaml

from sipvideo.build import packaged
from tests.fuzz import videos
from tests.fuzz.case import NOTHING, Case
from tests.fuzz.mutate import Rng, choose, mutated_bytes, mutated_tree


def configuration(rng: Rng, folder: Path) -> Case:
    """YAML: configurations and recipes, whole trees with odd values, and texts that are hard to read."""
    recipe = rng.random() < 0.3
    names = RECIPES if recipe else CONFIGS
    name = choose(rng, sorted(names))
    way = int(rng.integers(8))
    if way < 4:
        tree, how = mutated_tree(rng, yaml.safe_load(names[name]))
        data = yaml.safe_dump(tree, allow_unicode=bool(rng.integers(2))).encode(
            "utf-8", "surrogatepass"
        )
    elif way < 6:
        data, how = mutated_bytes(rng, names[name].encode())
    else:
        data, how = _hard_yaml(rng)
    (folder / "in.yaml").write_bytes(data)
    arguments = choose(rng, (["config", "in.yaml"], ["config", "in.yaml"], ["weights", "inspect"]))
    if recipe:
        arguments = ["train", "in.yaml", "-o", "out"]
    elif len(arguments) == 2 and arguments[0] == "weights":
        arguments = [*arguments, str(packaged("sipmask_nano.safetensors")), "--config", "in.yaml"]
    if rng.random() < 0.3:
        key = choose(
            rng, ("input.size", "head.alignment", "classes", "x", "a.b.c", "", "input", "tracker")
        )
        value = choose(
            rng, ("[1,2]", "nan", "{a: b}", "*x", "[[[[", "!!python/object:os.system x", "1e99", "")
        )
        arguments += ["--set", f"{key}={value}"]
        how += f" --set {key}={value}"
    return Case(f"{name}: {how}", arguments, NOTHING)


ZONES = {
    "zones": {
        "queue": {
            **{"polygon": [[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]], "classes": ["cat"]},
            **{"stay": 0.1, "more_than": 1, "when": "share", "lasting": 0.1},
        }
    },
    "lines": {"gate": {"from": [0.5, 0.2], "to": [0.5, 1], "directions": ["left", "right"]}},
    "settle": 0.0,
    "gone_after": 0.1,
}


def zones(rng: Rng, folder: Path) -> Case:
    """Zones and lines beside a whole video."""
    way = int(rng.integers(8))
    data, how = yaml.safe_dump(ZONES).encode(), ""
    if way < 5:
        tree, how = mutated_tree(rng, ZONES)
        data = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    elif way < 7:
        data, how = mutated_bytes(rng, data)
    else:
        data, how = _hard_yaml(rng)
    (folder / "zones.yaml").write_bytes(data)
    (folder / "in.gif").write_bytes(videos.base("gif"))
    arguments = ["video", "in.gif", "-o", "out", "-q", "--save", "lines", "--zones", "zones.yaml"]
    return Case(how, arguments)


SWITCHES = (
    *("--from", "--to", "--every", "--max-frames", "--classes", "--min-score", "--max-objects"),
    *(
        "--area",
        "--privacy",
        "--draw",
        "--show-classes",
        "--background",
        "--zones",
        "--fps",
        "--batch",
    ),
    *("--save", "--set", "--model", "--weights", "--config", "--device", "--runtime", "--resume"),
)
WORDS = (
    *(
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "1e400",
        "9" * 400,
        "",
        " ",
        "x",
        "1:30",
        "1:1:1:1",
        "-0:0",
        "0.5",
    ),
    *(
        "0,0,1,1",
        "1,1,0,0",
        "nan,0,1,1",
        "0,0,1e-9,1",
        "cat",
        "cat,dog",
        "cat:",
        ":",
        "blur:cat",
        "masks",
    ),
    *(
        "none",
        "cutout",
        "/dev/null",
        ".",
        "/",
        "a/../b",
        "in.gif",
        "é",
        "tracker.max_age=nan",
        "x" * 5000,
    ),
    *(
        "head.bases=1",
        "csv",
        "csv,csv",
        "all",
        "#fff",
        "#ggg",
        "blur",
        "cpu",
        "cuda:99",
        "torch",
        "auto",
    ),
)


def switches(rng: Rng, folder: Path) -> Case:
    """Values of switches that nobody would type, beside a whole video."""
    (folder / "in.gif").write_bytes(videos.base("gif"))
    arguments = ["video", "in.gif", "-o", "out", "-q"]
    for _ in range(choose(rng, (1, 1, 1, 2, 3))):
        name = choose(rng, SWITCHES)
        arguments += [f"{name}={choose(rng, WORDS)}"] if name != "--resume" else [name]
    return Case(" ".join(arguments[5:]), arguments)


def _hard_yaml(rng: Rng) -> tuple[bytes, str]:
    depth = int(10 ** rng.uniform(1, 5))
    laughs = "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9) if k else 'x'}]\n" for k in range(12)
    )
    texts = {
        "aliases": laughs,
        "aliases as classes": laughs + "classes: *a11\n",
        "itself": "&a [*a]\n",
        "itself as a value": "classes: &a [*a]\n",
        "itself as a key": "? &a [*a]\n: x\n",
        "nested": "[" * depth,
        "nested maps": "{a: " * min(depth, 3000),
        "indented": "".join(" " * k + "a:\n" for k in range(min(depth, 700))),
        "python": "classes: !!python/object/apply:os.system ['touch hacked']\n",
        "name": "!!python/name:os.system\n",
        "binary": "classes: !!binary 'x x'\n",
        "dates": "name: 2021-13-45\n",
        "documents": "a: 1\n---\nb: 2\n",
        "tabs": "\tname: x\n",
        "numbers": f"name: {'9' * min(depth, 20000)}\n",
        "sexagesimal": "input: {size: 190:20:30}\n",
        "merge": "a: &a {name: x}\n<<: [*a, *a]\n",
        "merge itself": "a: &a\n  <<: *a\n",
        "keys": "? [1, 2]\n: 3\n? {a: b}\n: c\n",
        "null bytes": "name: \0\n",
        "a list": "- a\n- b\n",
        "a text": "only words",
        "empty": "",
    }
    name = choose(rng, tuple(texts))
    return texts[name].encode(), name


def _texts(folder: str) -> dict[str, str]:
    place = Path(__file__).parents[2] / "configs" / folder
    return {p.stem: p.read_text(encoding="utf-8") for p in place.glob("*.yaml")}


CONFIGS, RECIPES = _texts(""), _texts("recipes")
