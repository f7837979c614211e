"""The machine described, and memory given back to it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOLES = """
import threading
import numpy as np
from sipvideo import machine

machine._tidied -= 2 * machine.TIDY_EVERY
kept = []


def fill():
    # Pieces below the size from which each has a mapping of its own, so they lie in this thread's heap.
    pieces = [np.ones(100_000, np.uint8) for _ in range(1000)]
    kept.append(pieces[::50])


for _ in range(3):
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
before = machine.resident_memory()
machine.tidy_memory()
print(before - machine.resident_memory())
machine.tidy_memory()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_memory_that_nobody_holds_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert float(run.stdout) > 50
