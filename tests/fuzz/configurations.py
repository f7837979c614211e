"""Configurations and recipes: odd values, damaged texts, and YAML that is hard to read."""

from __future__ import annotations

from pathlib import Path

import yaml

from sipvideo.build import packaged
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
