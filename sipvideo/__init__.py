"""sipvideo: real-time video instance segmentation.

>>> import sipvideo
>>> segmenter = sipvideo.load()  # doctest: +SKIP
>>> for result in segmenter.run(sipvideo.open_source("clip.mp4")):  # doctest: +SKIP
...     print(result.track_ids, result.detections.labels)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipvideo.build import load
    from sipvideo.sources import open_source

# PyTorch's threads wait for each other hundreds of times per frame. GNU OpenMP lets them spin for milliseconds
# meanwhile, which on cores that others use too makes a frame take seconds instead of milliseconds; a short spin costs
# an idle machine nothing measurable. Must be set before PyTorch loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2500")

# NumPy's products in a step are small: shared among threads they take longer, and many times as long where the
# engine's threads or another program want the cores. Must be set before NumPy loads; a program that wants its own
# NumPy products on all cores sets the variable itself.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.2.0"
__all__ = ["__version__", "load", "open_source"]


def __getattr__(name: str) -> Any:
    """Imports engines and the video libraries only when they are used."""
    if name == "load":
        from sipvideo.build import load

        return load
    if name == "open_source":
        from sipvideo.sources import open_source

        return open_source
    raise AttributeError(f"module 'sipvideo' has no attribute {name!r}")
