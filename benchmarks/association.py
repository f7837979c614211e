"""Times the association of this checkout against another one's, frame by frame in alternation, and compares results.

    git worktree add ../before REVISION
    python benchmarks/association.py ../before [CLIP ...]

Made-up objects, 1 to 100 of them on frames of 360 to 2160 rows, then the default model's detections on the clips.
Identities and labels must be equal, unless ``--differ``. Ratios hardly depend on the machine, milliseconds (of
processor time) do.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np

SIZES = ((360, 640), (720, 1280), (1080, 1920), (2160, 3840))
COUNTS = (1, 10, 30, 100)
HERE = Path(__file__).resolve().parents[1]
PARTS = ("config", "masks", "pipeline", "structures", "tracker")


def package(folder: Path) -> dict[str, ModuleType]:
    """The modules that associate, from the checkout in ``folder``, whatever was imported before."""
    for name in [name for name in sys.modules if name.split(".")[0] == "sipvideo"]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        return {part: importlib.import_module(f"sipvideo.{part}") for part in PARTS}
    finally:
        sys.path.pop(0)


def scenes(clips: Sequence[str], frames: int) -> Iterator[tuple[str, list]]:
    """Names, and frames with their detections as this checkout makes them."""
    import sipvideo
    from sipvideo.bench.scaling import ScriptedNetwork
    from sipvideo.bench.stages import noise
    from sipvideo.engine import HostEngine

    engine = sipvideo.load(device="cpu").engine
    assert isinstance(engine, HostEngine)
    config = engine.config.with_overrides([f"postprocess.max_detections={max(COUNTS)}"])
    for size in SIZES:
        picture = noise(size, 1)[0].image
        for count in COUNTS:
            network = ScriptedNetwork(config, engine.objects, count)
            scripted = HostEngine(network, engine.objects, config)
            shown = [sipvideo.structures.Frame(picture, k, k / 25) for k in range(frames)]
            found = [(frame, scripted.detect([frame])[0]) for frame in shown]
            yield f"{size[0]}p, {count} objects", found
    for clip in clips:
        with sipvideo.open_source(clip) as source:
            yield Path(clip).name, [(f, engine.detect([f])[0]) for f in islice(source, 300)]


def associated(
    parts: dict[str, ModuleType], video: list
) -> Iterator[tuple[list[int], list[int], float]]:
    """Identities, labels and milliseconds of processor time of each frame."""
    tracker = parts["tracker"].build_tracker(parts["config"].TrackerConfig())
    line = parts["pipeline"].VideoSegmenter(lambda frame: None, tracker, ())
    for frame, found in video:
        masks = found.masks
        again = parts["structures"].Detections(
            boxes=found.boxes,
            scores=found.scores,
            labels=found.labels,
            masks=parts["masks"].CompactMasks(masks.windows, masks.bits, masks.frame_size),
            embeddings=found.embeddings,
            grey=found.grey,
        )
        own = parts["structures"].Frame(frame.image, frame.index, frame.timestamp)
        started = time.thread_time()  # others on the machine do not count
        result = line.associate(own, again, 0.0)
        milliseconds = (time.thread_time() - started) * 1000
        yield result.track_ids.tolist(), result.detections.labels.tolist(), milliseconds


def main() -> None:
    """Prints the table; ends with an error where results differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("before", type=Path, help="folder of the other checkout")
    parser.add_argument("clips", nargs="*")
    parser.add_argument(
        "--differ", action="store_true", help="identities and labels may differ: only time is asked"
    )
    parser.add_argument("--frames", type=int, default=60, help="of made-up objects; default: 60")
    args = parser.parse_args()
    before, after = package(args.before.resolve()), package(HERE)
    print(f"{'milliseconds (medians)':32}{'objects':>8}{'before':>9}{'now':>9}{'ratio':>8}")
    for name, video in scenes(args.clips, args.frames):
        rows = zip(associated(before, video), associated(after, video), strict=True)
        times = []
        for number, ((*old, theirs), (*new, ours)) in enumerate(rows):
            if old != new and not args.differ:
                sys.exit(f"{name}: frame {number}: {new} instead of {old}")
            times.append((theirs, ours))
        theirs, ours = (median(column) for column in zip(*times[2:], strict=True))
        ratio = median(b / a for a, b in times[2:])
        objects = np.mean([len(found) for _, found in video])
        print(f"{name:32}{objects:8.1f}{theirs:9.3f}{ours:9.3f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
