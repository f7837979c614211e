"""The machine that figures are measured on: processor, cores, versions, memory of this process."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any


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
