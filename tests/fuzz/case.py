"""What a case is: an input made of a kind and a number, and the command that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

FUNCTION, NETWORK, NOTHING = "function", "network", "nothing"
"""What takes the place of the engine: a function that finds something anywhere, one packaged network that stays
loaded, or nothing: the command loads what it is told to."""


@dataclass
class Case:
    """One input and what is done with it.

    Attributes:
        about: the recipe in words: base file and changes.
        arguments: of ``sipvideo``; the current folder is the case's own.
        engine: FUNCTION, NETWORK or NOTHING.
        lines: errors that may be told: one for each input, and one for the whole.
        work: in place of a command, what returns an exit code (messages to a server).
    """

    about: str
    arguments: list[str] = field(default_factory=list)
    engine: str = FUNCTION
    lines: int = 1
    work: Callable[[], int] | None = None


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """The same for the same seed, kind and number, on every machine."""
    return np.random.default_rng([seed, *kind.encode(), number])
