"""The speeds that ``make gpu-report`` measures, each with its own beginning and end."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports.gpu.parts import (
    Setting,
    engine,
    frames_of,
    recorded,
    repeated,
    say,
    segmenter,
)
from sipvideo.results import Results
from sipvideo.sources import open_source
from sipvideo.stages import Behind

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Frame


def speed(model: str, setting: Setting) -> dict[str, Any]:
    """All speeds of one model in half precision (single on the CPU), on frames of the clip."""
    runtime = "torch-fp16" if setting.device != "cpu" else "torch"
    found = engine(model, setting.device, runtime)
    frames = frames_of(setting.clip, setting.frames)
    live, files = segmenter(found), segmenter(found.for_files())
    result: dict[str, Any] = {"runtime": found.about, "recorded": recorded(found, frames[0].size)}
    recorded(files.engine, frames[0].size)  # type: ignore[arg-type]
    for frame in frames[:20]:
        live.step(frame)
    times, objects = [], 0
    found.network.frames = found.network.bytes_to_host = 0
    for frame in repeated(frames, setting.frames):
        started = time.perf_counter()
        objects += len(live.step(frame).detections)
        times.append((time.perf_counter() - started) * 1000)
    result |= {"step_ms": float(np.median(times)), "step_p95_ms": float(np.percentile(times, 95))}
    result |= {"objects": objects / len(times)}
    result["bytes_to_host"] = found.network.bytes_to_host / found.network.frames
    say(result)
    result["detections_fps"] = _detections_per_second(files, frames, setting.frames)
    say(result)
    started = time.perf_counter()
    done = sum(1 for _ in files.run(repeated(frames, setting.frames), 3))
    result["video_fps"] = done / (time.perf_counter() - started)
    for name, kinds in (("json_csv", ("json", "csv")), ("annotated", ("video", "json", "csv"))):
        say(result)
        result[f"{name}_fps"] = _files_per_second(files, setting, kinds)
    say(result)
    result |= {
        "host_ways": found.network.host_ways,
        "first_result_s": _first_result(model, setting),
    }
    return result


def _detections_per_second(files: VideoSegmenter, frames: list[Frame], count: int) -> float:
    """Batches in as many threads as the engine profits from."""
    size = files.engine.largest_batch
    whole = list(repeated(frames, count))
    batches = [whole[start : start + size] for start in range(0, count, size)]
    started = time.perf_counter()
    with ThreadPoolExecutor(files.engine.callers) as pool:
        done = sum(len(found) for found in pool.map(files.engine.detect, batches))
    return done / (time.perf_counter() - started)


def _files_per_second(files: VideoSegmenter, setting: Setting, kinds: tuple[str, ...]) -> float:
    """From file to files as ``sipvideo video`` works, as often as the frames need."""
    done = 0
    started = time.perf_counter()
    while done < setting.frames:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_source(str(setting.clip)) as source,
            Results(source, files.class_names, Path(folder) / "results", kinds) as results,
            contextlib.closing(files.run(source, 3)) as found,
            Behind(results.write, 2) as written,
        ):
            for result in islice(found, setting.frames - done):
                written.put(result)
                done += 1
    return done / (time.perf_counter() - started)


def _first_result(model: str, setting: Setting) -> float:
    """Seconds from the start of a process to the first result of a video."""
    script = (
        "from itertools import islice\nfrom pathlib import Path\n"
        "from sipvideo.apps.reports.gpu import parts\nfrom sipvideo.sources import open_source\n"
        f"ready = parts.segmenter(parts.engine({model!r}, {setting.device!r}).for_files())\n"
        f"with open_source({str(setting.clip)!r}) as source:\n"
        "    print(len(next(iter(ready.run(source))).detections), flush=True)\n"
        "    import os\n    os._exit(0)\n"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=CHECKOUT)
    return time.perf_counter() - started


def peer(setting: Setting) -> dict[str, Any]:
    """YOLO11n-seg with its tracker, plot and video writer on the same clip, if it is there; random weights."""
    if importlib.util.find_spec("ultralytics") is None:
        return {"skipped": "ultralytics is not there"}
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    cv2: Any = importlib.import_module("cv2")
    yolo: Any = importlib.import_module("ultralytics").YOLO

    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        yolo("yolo11n-seg.yaml").save(f"{folder}/y.pt")
        for half in (False, True)[: 1 if setting.device == "cpu" else 2]:
            model = yolo(f"{folder}/y.pt", task="segment")
            device = 0 if setting.device != "cpu" else "cpu"
            flags = {"imgsz": (384, 640), "verbose": False, "half": half, "device": device}
            done, writer, started = 0, None, 0.0
            for found in model.track(str(setting.clip), stream=True, **flags):
                picture = found.plot()
                if writer is None:  # what comes before is its warm-up
                    code = cv2.VideoWriter_fourcc(*"mp4v")
                    writer = cv2.VideoWriter(f"{folder}/y.mp4", code, 24, picture.shape[1::-1])
                    started = time.perf_counter()
                    continue
                writer.write(picture)
                done += 1
                if done == setting.frames:
                    break
            result["half" if half else "single"] = done / (time.perf_counter() - started)
    return result
