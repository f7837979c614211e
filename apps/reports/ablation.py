"""``python apps/reports/ablation.py``: the paper's claims in small, variants trained on the same data.

Every run is an ordinary ``sipvideo train``, so what is interrupted goes on, and what is finished is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sipvideo.apps import command, flags
from sipvideo.errors import SinkError

VARIANTS = {
    "2x2 sub-regions": (),
    "1x1 sub-region": ("config.head.sub_regions=1",),
    "3x3 sub-regions": ("config.head.sub_regions=3",),
    "2x2, no feature alignment": (
        "config.head.alignment=none",
        "freeze.trained=[head.mask_tower, head.coefficients, head.basis, head.track_tower, head.embedding]",
    ),
    "2x2, all masks weigh the same": ("masks.mask_alignment=false",),
}
"""Name to overrides of the recipe "ablation"; the first is what the others are compared with."""

ASSOCIATION = ("hota", "ass_a", "idf1", "id_switches")
DETECTOR = ("backbone.", "neck.", "head.class", "head.box")

Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/ablation.py",
        description="Trains the variants of the recipe 'ablation' with several seeds, scores each on the same "
        "pictures, and prints mean and spread. With --videos also what embeddings are worth to the association.",
    )
    parser.add_argument("data", metavar="JSON", help="pictures with masks, COCO format")
    parser.add_argument("--split", metavar="NAME", help="what is trained on")
    parser.add_argument("--val-split", metavar="NAME", help="what is scored on")
    parser.add_argument("--videos", metavar="JSON", help="annotated videos, YouTube-VIS format")
    parser.add_argument("--seeds", type=flags.count, default=3, metavar="N", help="default: 3")
    parser.add_argument("--steps", type=flags.count, metavar="N", help="default: the recipe's")
    parser.add_argument("--threads", type=flags.count, metavar="N", help="of PyTorch")
    flags.add_output_flag(parser, "folder of the runs", "runs/ablation")
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Trains, scores, and writes ablation.json; all seeds of the main pair come first."""
    folder = Path(args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        detector = _detector(folder)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error
    runs: dict[str, list[Json]] = {name: [] for name in VARIANTS}
    for number, (name, overrides) in enumerate(VARIANTS.items()):
        for seed in range(args.seeds):
            place = folder / f"variant{number}-seed{seed}"
            code = _train(args, detector, place, seed, overrides)
            if code:
                return code
            runs[name].append(_score(args, place, name))
    summary: Json = {"variants": runs}
    if args.videos:
        summary["association"] = _association(args.videos)
    (folder / "ablation.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    _print(summary)
    return 0


def _detector(folder: Path) -> Path:
    """The packaged model's detector alone: every variant learns its masks from nothing."""
    import safetensors.torch

    from sipvideo.build import packaged_weights
    from sipvideo.config import load_config
    from sipvideo.model import checkpoint

    path = folder / "detector.safetensors"
    tensors = checkpoint.read(packaged_weights()).tensors
    kept = {name: t.contiguous() for name, t in tensors.items() if name.startswith(DETECTOR)}
    config = load_config("sipmask_nano").model_dump_json(exclude_unset=True)
    path.write_bytes(safetensors.torch.save(kept, {"format": "sipvideo", "config": config}))
    return path


def _train(
    args: argparse.Namespace, detector: Path, place: Path, seed: int, overrides: Sequence[str]
) -> int:
    from sipvideo.apps.train import command as train

    arguments = ["ablation", args.data, "--weights", str(detector), "--seed", str(seed)]
    arguments += ["-o", str(place), "--device", "cpu"]
    arguments += ["--split", args.split] if args.split else []
    arguments += ["--steps", str(args.steps)] if args.steps else []
    arguments += ["--threads", str(args.threads)] if args.threads else []
    for override in overrides:
        arguments += ["--set", override]
    print(f"--- {place.name}: {', '.join(overrides) or 'as the paper has it'}", flush=True)
    return train.main(arguments)


def _score(args: argparse.Namespace, place: Path, name: str) -> Json:
    """Figures of one run, kept beside it."""
    import torch

    from sipvideo.apps.train.validation import Validation
    from sipvideo.build import load_model
    from sipvideo.data import open_dataset

    path = place / "figures.json"
    if not path.exists():
        config, model = load_model(weights=place / "model.safetensors")
        data = open_dataset(args.data, None, args.val_split, config.class_names)
        figures = Validation(data, config, torch.device("cpu"), 0.05)(model)
        assert figures is not None
        path.write_text(json.dumps(figures), encoding="utf-8")
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    print(f"{name}: mask AP {found['mask_ap']:.4f}, AP50 {found['mask_ap50']:.4f}", flush=True)
    return found


def _association(videos: str) -> Json:
    """Both association rules with and without embeddings, on the same detections' masks and boxes."""
    import dataclasses

    import numpy as np

    import sipvideo
    from sipvideo.data import YouTubeVis
    from sipvideo.engine import FunctionEngine
    from sipvideo.evaluation import YTVOS
    from sipvideo.evaluation.tracking import evaluate_tracking
    from sipvideo.structures import Detections, Frame

    truth = YTVOS(videos)
    found: Json = {}
    for preset in ("sipvideo", "paper"):
        for with_embeddings in (True, False):
            segmenter = sipvideo.load(overrides=[f"tracker.preset={preset}"])
            segment = segmenter.segment

            def without(frame: Frame, segment: Any = segment) -> Detections:
                detections: Detections = segment(frame)
                return dataclasses.replace(
                    detections, embeddings=np.zeros((len(detections), 0), np.float32)
                )

            if not with_embeddings:
                segmenter.engine = FunctionEngine(without)
            data = YouTubeVis(videos, classes=segmenter.class_names)
            results = _tracks(segmenter, data)
            scores = evaluate_tracking(truth, truth.loadRes(results), 0.3).combined
            name = f"{preset}, {'with' if with_embeddings else 'without'} embeddings"
            found[name] = {key: getattr(scores, key) for key in ASSOCIATION}
    return found


def _tracks(segmenter: Any, data: Any) -> list[Json]:
    """All videos as YouTube-VIS results, through the application's own sink."""
    from tempfile import TemporaryDirectory

    from sipvideo.sinks import YouTubeVISResults
    from sipvideo.structures import FrameResult

    categories = [-1 if key is None else key for key in data.category_ids]
    first = data.videos[0]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        with YouTubeVISResults(path, first.id, categories, first.length) as sink:
            for video in data.videos:
                if video is not first:
                    sink.start_video(video.id, video.length)
                for result in segmenter.run(data.frames(video)):
                    known = [categories[k] >= 0 for k in result.detections.labels]
                    sink.write(
                        FrameResult(
                            result.frame,
                            result.detections[known],
                            result.track_ids[known],
                            result.latency_ms,
                        )
                    )
        found: list[Json] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _print(summary: Json) -> None:
    """Markdown tables: mean and standard deviation, and the differences seed by seed."""
    runs = summary["variants"]
    base = [one["mask_ap"] for one in next(iter(runs.values()))]
    print("\n| variant | mask AP | AP50 | minus the first, seed by seed |\n|---|---|---|---|")
    for name, figures in runs.items():
        values = [one["mask_ap"] for one in figures]
        differences = ", ".join(f"{a - b:+.4f}" for a, b in zip(values, base, strict=True))
        print(
            f"| {name} | {_spread(values)} | {_spread(f['mask_ap50'] for f in figures)} | {differences} |"
        )
    if "association" in summary:
        print(f"\n| association | {' | '.join(ASSOCIATION)} |\n|---|{'---|' * len(ASSOCIATION)}")
        for name, scores in summary["association"].items():
            print(f"| {name} | {' | '.join(f'{scores[key]:.4g}' for key in ASSOCIATION)} |")


def _spread(values: Any) -> str:
    values = list(values)
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
