"""Changes to bytes and to trees of JSON: what every kind of input has in common."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Rng = np.random.Generator

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where signs change and sizes overflow."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-300, 1e9, -1e9, 1e308, 2**31, 2**53 + 1, 2**63),
    *(float("nan"), float("inf"), float("-inf"), 10**400, "", "0", "1", "text", "NaN", "é\u202e"),
    *(
        "\ud800",
        "a/../../b",
        "/etc/passwd",
        "C:\\x\\y.png",
        "\x00",
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
    ),
    *([1, 2], {"size": [1, 1], "counts": "0"}, {"a": {"b": []}}, [[[0]]], [float("nan")] * 6),
)
"""What stands in files where something else was expected."""


def choose(rng: Rng, items: Any) -> Any:
    """One of a sequence, of any types."""
    return items[int(rng.integers(len(items)))]


def mutated_bytes(rng: Rng, data: bytes, other: bytes = b"") -> tuple[bytes, str]:
    """Bytes with one to three changes, and their names; ``other`` is a second file, for joins."""
    names = []
    for _ in range(1 + int(rng.integers(3))):
        change = choose(rng, BYTE_CHANGES)
        data = change(rng, data, other)
        names.append(change.__name__.strip("_"))
    return data, "+".join(names)


def _flip(rng: Rng, data: bytes, other: bytes) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    if len(changed):
        many = int(2 ** rng.integers(0, 8))
        np.bitwise_xor.at(
            changed,
            rng.integers(0, len(changed), many),
            (1 << rng.integers(0, 8, many)).astype(np.uint8),
        )
    return changed.tobytes()


def _head_flip(rng: Rng, data: bytes, other: bytes) -> bytes:
    """As headers are where files differ most in what they ask for."""
    size = min(len(data), 600)
    return _flip(rng, data[:size], other) + data[size:]


def _tail_flip(rng: Rng, data: bytes, other: bytes) -> bytes:
    size = min(len(data), 900)
    return data[: len(data) - size] + _flip(rng, data[len(data) - size :], other)


def _number(rng: Rng, data: bytes, other: bytes) -> bytes:
    """An odd number of some width and byte order somewhere, mostly near the ends."""
    width, order = choose(rng, ("B", "H", "I", "Q")), choose(rng, "<>")
    field = struct.pack(order + width, choose(rng, NUMBERS) & (256 ** struct.calcsize(width) - 1))
    span = max(1, len(data) - len(field))
    near = min(span, 800)
    place = int(
        choose(rng, (rng.integers(span), rng.integers(near), span - 1 - rng.integers(near)))
    )
    return data[:place] + field + data[place + len(field) :]


def _cut(rng: Rng, data: bytes, other: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _headless(rng: Rng, data: bytes, other: bytes) -> bytes:
    return data[int(rng.integers(len(data) + 1)) :]


def _span(rng: Rng, data: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 12)))


def _drop(rng: Rng, data: bytes, other: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Rng, data: bytes, other: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:]


def _swap(rng: Rng, data: bytes, other: bytes) -> bytes:
    a, b, c = sorted(rng.integers(0, len(data) + 1, 3).tolist())
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _fill(rng: Rng, data: bytes, other: bytes) -> bytes:
    start, end = _span(rng, data)
    filling = choose(rng, (b"\0", b"\xff", None))
    size = end - start
    return data[:start] + (filling * size if filling else rng.bytes(size)) + data[end:]


def _join(rng: Rng, data: bytes, other: bytes) -> bytes:
    return data + (other or data)


def _graft(rng: Rng, data: bytes, other: bytes) -> bytes:
    """The beginning of one file, the end of another."""
    other = other or data
    return data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]


def _before(rng: Rng, data: bytes, other: bytes) -> bytes:
    return rng.bytes(int(2 ** rng.uniform(0, 10))) + data


BYTE_CHANGES: tuple[Callable[[Rng, bytes, bytes], bytes], ...] = (
    *(_flip, _flip, _head_flip, _head_flip, _tail_flip, _number, _number, _cut, _headless),
    *(_drop, _repeat, _swap, _fill, _join, _graft, _before),
)


def paths(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every node of a tree of dictionaries and lists, the root left out."""
    inner: Any = ()
    if isinstance(tree, dict):
        inner = tree.items()
    elif isinstance(tree, list):
        inner = enumerate(tree)
    for key, value in inner:
        yield (*before, key)
        yield from paths(value, (*before, key))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """The node at the end of a path."""
    for key in path:
        tree = tree[key]
    return tree


def mutated_tree(rng: Rng, tree: Any) -> tuple[Any, str]:
    """A copy with one to three changed nodes, and what was done: value, key or element."""
    tree, names = copy.deepcopy(tree), []
    for _ in range(choose(rng, (1, 1, 1, 1, 2, 3))):
        every = list(paths(tree))
        if not every:
            break
        # First a depth: numbers in run lengths and polygons are many, fields are few.
        depth = int(choose(rng, sorted({len(p) for p in every})))
        path = choose(rng, [p for p in every if len(p) == depth])
        change = choose(rng, TREE_CHANGES)
        change(rng, tree, path, every)
        shown = ".".join("*" if isinstance(key, int) else str(key)[:20] for key in path)
        names.append(f"{change.__name__.strip('_')} {shown}")
    return tree, "; ".join(names)


def _value(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    at(tree, path[:-1])[path[-1]] = copy.deepcopy(choose(rng, VALUES))


def _scaled(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    """A number of the same type but another size, or a text with another text around it."""
    old = at(tree, path)
    if isinstance(old, bool) or not isinstance(old, (int, float)):
        new: Any = (
            f"{old}" if not isinstance(old, str) else old + choose(rng, ("0", "\n", " ", "é"))
        )
    else:
        other = float(old) if abs(old) < 1e300 else 0.0
        new = choose(rng, (-old, old + 1, old - 1, old * 1000, old * 10**12, other, f"{old}"))
    at(tree, path[:-1])[path[-1]] = new


def _gone(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    del at(tree, path[:-1])[path[-1]]


def _twice(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    parent = at(tree, path[:-1])
    if isinstance(parent, list):
        parent.insert(int(rng.integers(len(parent) + 1)), copy.deepcopy(parent[path[-1]]))
    else:
        parent[f"{path[-1]}2"] = copy.deepcopy(parent[path[-1]])


def _exchanged(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    """Another node's value: ids that clash, lists where numbers stood."""
    at(tree, path[:-1])[path[-1]] = copy.deepcopy(at(tree, choose(rng, every)))


def _wrapped(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    parent = at(tree, path[:-1])
    old = parent[path[-1]]
    parent[path[-1]] = choose(rng, ([old], {"value": old}, [[old]], str(old)[:200]))


def _renamed(rng: Rng, tree: Any, path: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    parent = at(tree, path[:-1])
    if isinstance(parent, dict):
        parent[choose(rng, (path[-1].upper() if isinstance(path[-1], str) else "x", "", "id"))] = (
            parent.pop(path[-1])
        )
    elif len(parent) > 1:
        parent.reverse()


TREE_CHANGES: tuple[Callable[[Rng, Any, tuple[Any, ...], list[tuple[Any, ...]]], None], ...] = (
    *(_value, _value, _value, _scaled, _scaled, _gone, _twice, _exchanged, _wrapped, _renamed),
)


def json_bytes(rng: Rng, tree: Any) -> tuple[bytes, str]:
    """A tree as a file: mostly whole JSON, sometimes damaged as text."""
    text = json.dumps(tree, ensure_ascii=bool(rng.integers(2)))
    data = text.encode("utf-8", "surrogatepass")
    kind = int(rng.integers(24))
    if kind == 0:
        return mutated_bytes(rng, data)
    if kind == 1:
        return b"\xef\xbb\xbf" + data, "byte order mark"
    if kind == 2:
        return text.encode("utf-16", "surrogatepass"), "UTF-16"
    if kind == 3:
        depth = int(10 ** rng.uniform(1, 5.5))
        return b"[" * depth + data + b"]" * depth, f"nested {depth}"
    if kind == 4:
        return data.replace(b"0", b"9" * int(10 ** rng.uniform(1, 4)), 1), "a long number"
    if kind == 5:
        return data[:-1] + b"," + data[1:] if data[:1] == b"{" else data * 2, "keys twice"
    return data, ""
