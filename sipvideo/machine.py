"""The machine that figures are measured on: processor, cores, versions, memory of this process."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

TIDY_EVERY = 60.0
"""Seconds."""
_tidied = time.monotonic()


def known() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, versions of what was loaded."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "openvino", "onnxruntime", "numpy", "cv2", "av"):
        if name in sys.modules:
            versions[name] = str(getattr(sys.modules[name], "__version__", "?")).split("-")[0]
    return {"processor": _processor(), "cores": usable_cores(), "versions": versions}


def line() -> str:
    """:func:`known` for people."""
    found = known()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['processor']}, {found['cores']} cores; {versions}"


def ffmpeg_version() -> str:
    """Of the libraries that read and write videos."""
    return str(importlib.import_module("av").ffmpeg_version_info)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def resident_memory() -> float | None:
    """Megabytes of this process in memory now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_memory() -> float | None:
    """The most megabytes that this process ever had in memory; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def tidy_memory() -> None:
    """Gives freed memory back to the system, once a minute at most: for programs that run for weeks.

    glibc keeps what threads have freed in as many heaps as there were threads, and pictures of changing sizes leave
    holes in them that nothing fits again: a server's memory rises for hours though nobody holds anything. Other
    systems' allocators see to it themselves. Takes milliseconds.
    """
    global _tidied
    now = time.monotonic()
    if now - _tidied < TIDY_EVERY or not sys.platform.startswith("linux"):
        return
    _tidied = now
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)
