"""Frame to objects in PyTorch with static shapes, on any device: what can be recorded as one CUDA graph.

Every step mirrors one of :mod:`sipvideo.transforms` and :mod:`sipvideo.postprocess`, for whole batches: the same
rules in the same order of arithmetic. No step waits for the device or has a shape that depends on values.
"""

from __future__ import annotations
