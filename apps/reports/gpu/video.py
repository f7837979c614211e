"""Video by hardware, for ``make gpu-report``: is it the same, how fast is it, and what goes over to the host?"""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from sipvideo.apps.reports.gpu.parts import Setting, engine, frames_of, recorded, say, segmenter
from sipvideo.engine.tensors.pictures import CardPicture
from sipvideo.jobs import Job, run_job
from sipvideo.sources import Decoding, VideoFile

COMPARED = 60
"""Frames whose pixels are compared."""
SIZE = {"cuda": (1080, 1920), "cpu": (180, 320)}
CLIP_FRAMES = 300


def decoding(setting: Setting) -> Decoding:
    """By hardware; on the CPU by software, with pictures kept as a card would keep them."""
    on_card = setting.device != "cpu"
    return Decoding("cuda" if on_card else "software", keep=CardPicture.of)


def video(setting: Setting) -> dict[str, Any]:
    """Frames, times and pixels beside software, and frames a second of decoding and from file to JSON and CSV."""
    with tempfile.TemporaryDirectory() as folder:
        count = min(setting.frames, CLIP_FRAMES)
        path = enlarged(setting, count, Path(folder) / "clip.mp4")
        result = _compared(path, decoding(setting))
        say(result)
        for name, way in (("software", Decoding()), ("hardware", decoding(setting))):
            result[f"{name}_decoded_fps"] = _decoded_per_second(path, way)
        say(result)
        for model in ("nano", "r50"):
            result |= _to_files(model, setting, path, Path(folder))
            say(result)
    result["most_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def enlarged(setting: Setting, count: int, path: Path) -> Path:
    """The clip at the size that is asked for, H.264 with B frames."""
    height, width = SIZE["cpu" if setting.device == "cpu" else "cuda"]
    pictures = frames_of(setting.clip, count)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", 25, {"preset": "veryfast", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(count):
            image = cv2.resize(pictures[number % len(pictures)].image, (width, height))
            frame = av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _compared(path: Path, way: Decoding) -> dict[str, Any]:
    """Whether both ways give the same frames; levels by which pixels differ."""
    most = mean = 0.0
    count = kept = others = 0
    with VideoFile(path) as software, VideoFile(path, decoding=way) as hardware:
        for one, other in zip_longest(software, hardware):
            if one is None or other is None or one.timestamp != other.timestamp:
                others += 1
                continue
            count, kept = count + 1, kept + (other.on_device is not None)
            if count <= COMPARED:
                off = np.abs(one.image.astype(np.int16) - other.image)
                most, mean = max(most, float(off.max())), mean + float(off.mean())
        about = {"hardware": hardware.hardware, "notes": list(hardware.notes)}
    return {
        **about,
        "frames": count,
        "frames_of_other_times": others,
        "kept_on_device": kept,
        "levels_off": most,
        "levels_off_mean": round(mean / max(min(count, COMPARED), 1), 3),
        "right": others == 0 and most <= 2,
    }


def _decoded_per_second(path: Path, way: Decoding) -> float:
    with VideoFile(path, decoding=way) as source:
        frames = iter(source)
        next(frames)
        started = time.perf_counter()
        done = sum(1 for _ in frames)
    return done / (time.perf_counter() - started)


def _to_files(model: str, setting: Setting, path: Path, folder: Path) -> dict[str, Any]:
    """From file to JSON and CSV as ``sipvideo video`` does it; after one run that warms up."""
    runtime = "torch-fp16" if setting.device != "cpu" else "torch"
    found = engine(model, setting.device, runtime).for_files()
    found.decoding = decoding(setting)
    recorded(found, SIZE["cpu" if setting.device == "cpu" else "cuda"])
    ready = segmenter(found)
    job = Job(str(path), folder / model, ("json", "csv"), ahead=3)
    run_job(replace(job, folder=folder / f"{model}-first", most=32), ready)
    network = found.network
    network.frames = network.bytes_to_host = network.bytes_to_device = 0
    summary = run_job(job, ready)
    frames = max(network.frames, 1)
    return {
        f"{model}_file_fps": summary.frames / max(summary.seconds, 1e-9),
        f"{model}_state": summary.state,
        f"{model}_bytes_to_host": network.bytes_to_host / frames,
        f"{model}_bytes_to_device": network.bytes_to_device / frames,
    }
