"""``sipvideo tune``: finds settings of the tracker for videos like one's own.

Exit codes: 0 done; 2 wrong usage, or nothing to tune on; 130 stopped by Ctrl-C: the best so far is written, and the
same command goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sipvideo.apps import command, flags
from sipvideo.apps.eval.parts import video_title
from sipvideo.apps.progress import Progress
from sipvideo.errors import ConfigError, DatasetError, SinkError
from sipvideo.extras import absence

if TYPE_CHECKING:
    from optuna import Study

    from sipvideo.config import Config
    from sipvideo.data import Video, YouTubeVis
    from sipvideo.evaluation.replay import Replay
    from sipvideo.evaluation.tuning import Gain, Trial, Values
    from sipvideo.pipeline import VideoSegmenter

OUTPUT = "runs/tuning"
TRIALS, BEST, REPORT = "trials.log", "best.yaml", "tuning.json"
DIGITS = 4
ABOUT = """Finds settings of the tracker, and the score threshold, for annotated videos (YouTube-VIS json): one's own,
or rendered ones that are like them (sipvideo data synth). Detections are made once and kept; then many settings are
tried on them. What is gained over the default is measured on videos that had no say in the choice, with an interval.
DIR gets best.yaml, for --config."""
EXAMPLES = """examples:
  sipvideo tune valid.json --images JPEGImages --trials 100 -o runs/tuning
  sipvideo video street.mp4 --config runs/tuning/best.yaml -o out
  sipvideo data synth --kind scenes --videos 12 -o scenes && sipvideo tune scenes/instances.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo tune",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="ANNOTATED", help="annotation file of videos (json)")
    parser.add_argument("--images", metavar="DIR", help="folder, tar or zip file of the pictures")
    parser.add_argument("--split", metavar="NAME", help="only videos with this value of 'split'")
    parser.add_argument(
        "--trials",
        type=flags.count,
        default=100,
        metavar="N",
        help="settings to try; default: 100",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    flags.add_output_flag(parser, "folder for detections, trials and the result", OUTPUT)
    flags.add_model_flags(parser)
    flags.add_quiet_flag(parser)
    return parser.parse_args(argv)


def run(
    args: argparse.Namespace,
    load: Callable[[argparse.Namespace], VideoSegmenter] = command.segmenter,
) -> int:
    """Tunes; returns the exit code.

    Args:
        args: of :func:`parse`.
        load: makes the segmenter whose detections are tuned for.
    """
    _require_optuna()
    folder = Path(args.output)
    with command.Stop() as stop:
        config, videos = _videos(args, folder, load, stop)
        if stop.asked:
            command.note("the same command goes on with the detections")
            return stop.exit_code(command.INTERRUPTED)
        trials = _try_out(args, folder, (config, videos), stop)
        if len(trials) < 2:
            return stop.exit_code(command.INTERRUPTED)
        from sipvideo.evaluation.tuning import judged

        gain = judged(trials, args.seed)
        _save(folder, config, gain, trials, videos)
        if not args.quiet:
            print(_told(gain, trials, folder))
        return stop.exit_code(0)


def _require_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(absence("optuna")) from error
    optuna.logging.set_verbosity(logging.ERROR)


def _videos(
    args: argparse.Namespace,
    folder: Path,
    load: Callable[[argparse.Namespace], VideoSegmenter],
    stop: command.Stop,
) -> tuple[Config, list[Replay]]:
    """The videos with their detections, made now or by an earlier run, and the model's configuration."""
    from sipvideo.data import YouTubeVis, open_dataset
    from sipvideo.data.instances import AnnotationFile
    from sipvideo.evaluation.tuning import SCORE_THRESHOLD, SPACE

    data = open_dataset(AnnotationFile.load(args.dataset), args.images, args.split, cache_bytes=0)
    if not isinstance(data, YouTubeVis):
        raise DatasetError(f"{args.dataset}: holds pictures, expected annotated videos")
    usable = [video for video in data.videos if any(not track.crowd for track in video.tracks)]
    if not usable:
        raise DatasetError(f"{args.dataset}: no video of it has an annotated object")
    config = load(args).config
    if config is None or config.tracker.preset != "sipvideo":
        raise ConfigError("tracker.preset: only the tracker sipvideo can be tuned")
    least = min(SPACE[SCORE_THRESHOLD][0], config.postprocess.score_threshold)
    lower = [*args.overrides, f"{SCORE_THRESHOLD}={least}"]
    segmenter = load(argparse.Namespace(**{**vars(args), "overrides": lower}))
    cache = folder / "detections"
    _make(cache)
    frames = sum(video.length for video in usable)
    with Progress("detecting", frames, args.quiet) as progress:
        how = (segmenter, args)
        asked = stop.until(iter(usable))
        found = [_replay(data, video, how, cache, progress) for video in asked]
    return config, found


def _replay(
    data: YouTubeVis,
    video: Video,
    how: tuple[VideoSegmenter, argparse.Namespace],
    cache: Path,
    progress: Progress,
) -> Replay:
    from sipvideo.annotations import to_rle
    from sipvideo.evaluation.replay import Replay, load_reports, save_reports

    segmenter, args = how
    path = cache / f"{_key(video, args)}.npz"
    if not path.is_file():
        reports = []
        for frame in data.frames(video):
            reports.append(segmenter.segment(frame))
            progress.advance()
        save_reports(path, reports)
    truth = []
    for track in video.tracks:
        masks = [to_rle(mask, video.size) if mask else None for mask in track.segmentations]
        if any(masks) and not track.crowd:
            truth.append({"segmentations": masks, "category_id": track.label + 1, "id": track.id})
    name = video_title({"id": video.id, "file_names": list(video.file_names)})
    seconds = tuple(float(second) for second in video.seconds)
    return Replay(name, video.size, seconds, load_reports(path, video.size), (), tuple(truth))


def _key(video: Video, args: argparse.Namespace) -> str:
    """Of a video's detections: what they depend on."""
    import hashlib

    from sipvideo.apps.eval.run import stamp
    from sipvideo.build import packaged_weights

    parts = [
        stamp(args.dataset),
        args.images,
        video.id,
        list(video.file_names),
        stamp(args.weights or packaged_weights(args.model)),
        stamp(args.config) if args.config else None,
        [text for text in args.overrides if not text.startswith("tracker.")],
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def _try_out(
    args: argparse.Namespace,
    folder: Path,
    what: tuple[Config, Sequence[Replay]],
    stop: command.Stop,
) -> list[Trial]:
    """All trials so far, the default first; those of an earlier run count."""
    import optuna

    from sipvideo.evaluation.tuning import SPACE, starting_point, suggested, tried

    config, videos = what
    study = _study(args, folder, config, videos)
    start = starting_point(config.postprocess.score_threshold, config.tracker)
    if not study.trials:
        inside = {name: min(max(v, SPACE[name][0]), SPACE[name][1]) for name, v in start.items()}
        study.enqueue_trial(inside)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    trials = [tried(start, videos, config.tracker), *map(_read, done)]

    def coming() -> Iterator[Trial]:
        for _ in range(args.trials - len(done)):
            asked = study.ask()
            values = suggested(partial(_suggest, asked))
            trial = tried(values, videos, config.tracker)
            asked.set_user_attr("values", trial.values)
            flat = [[*c.hota.ravel().tolist(), *c.clear.tolist()] for c in trial.counts]
            asked.set_user_attr("counts", flat)
            study.tell(asked, trial.hota(range(len(videos))))
            yield trial

    with _Bar(len(done), args) as bar:
        for trial in stop.until(coming()):
            trials.append(trial)
            bar.advance()
    return trials


def _suggest(asked: Any, name: str, low: float, high: float, log: bool) -> float:
    return float(asked.suggest_float(name, low, high, log=log))


class _Bar(Progress):
    """Trials instead of frames."""

    def __init__(self, done: int, args: argparse.Namespace) -> None:
        super().__init__("trials", args.trials, args.quiet)
        self.frames = done
        self.bar.update(done)

    def line(self, seconds: float) -> str:
        """For instance ``trials: 20 of 100``."""
        return f"{self.name}: {self.frames} of {self.total}"


def _study(
    args: argparse.Namespace, folder: Path, config: Config, videos: Sequence[Replay]
) -> Study:
    """The trials on disk. Raises ConfigError where they are of something else."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    sampler = optuna.samplers.TPESampler(seed=args.seed)
    storage = JournalStorage(JournalFileBackend(str(folder / TRIALS)))
    study = optuna.create_study(
        study_name="tracker",
        storage=storage,
        sampler=sampler,
        direction="maximize",
        load_if_exists=True,
    )
    same = {
        "videos": [[video.name, len(video), len(video.truth)] for video in videos],
        "tracker": config.tracker.model_dump(),
        "detections": sorted(path.name for path in (folder / "detections").glob("*.npz")),
    }
    if study.user_attrs.get("of", same) != same:
        raise ConfigError(
            f"{folder}: holds trials of other videos, settings or a version; choose another --output"
        )
    study.set_user_attr("of", same)
    return study


def _read(trial: Any) -> Trial:
    import numpy as np

    from sipvideo.evaluation.tracking import ALPHAS, TrackingCounts
    from sipvideo.evaluation.tuning import Trial

    flat = [np.array(row, np.float64) for row in trial.user_attrs["counts"]]
    size = 5 * len(ALPHAS)
    counts = tuple(TrackingCounts(row[:size].reshape(5, -1), row[size:]) for row in flat)
    return Trial(trial.user_attrs["values"], counts)


def _save(
    folder: Path,
    config: Config,
    gain: Gain,
    trials: Sequence[Trial],
    videos: Sequence[Replay],
) -> None:
    """The best settings as YAML, and what they are worth as JSON."""
    best = {name: round(value, DIGITS) for name, value in gain.best.items()}
    overrides = [f"{name}={value}" for name, value in best.items()]
    values = config.with_overrides(overrides).model_dump(mode="json", exclude_unset=True)
    text = f"# Tuned on {len(videos)} videos, {len(trials) - 1} trials: {_worth(gain)}\n"
    text += yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    report = {
        "videos": [video.name for video in videos],
        "trials": len(trials) - 1,
        "hota_default": gain.default,
        "hota_tuned": gain.tuned,
        "gain_interval": None if gain.low is None else [gain.low, gain.high],
        "best": best,
    }
    try:
        (folder / BEST).write_text(text, encoding="utf-8")
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error


def _worth(gain: Gain) -> str:
    if gain.low is None or gain.high is None:
        return f"HOTA {gain.default:.3f} -> {gain.tuned:.3f}, on the video that it was tuned on: it promises nothing"
    difference = gain.tuned - gain.default
    return (
        f"HOTA {gain.default:.3f} -> {gain.tuned:.3f} on videos left out, gain {difference:+.3f}"
        f" (95 % interval {gain.low:+.3f} to {gain.high:+.3f})"
    )


def _told(gain: Gain, trials: Sequence[Trial], folder: Path) -> str:
    lines = [f"{len(trials) - 1} trials: {_worth(gain)}"]
    if gain.best == trials[0].values:
        lines.append("nothing was better than the default: keep it")
    elif not gain.sure:
        lines.append("not shown to be better than the default: more videos would tell")
    lines += _changes(gain.best, trials[0].values)
    return "\n".join([*lines, str(folder / BEST)])


def _changes(best: Values, default: Values) -> Iterator[str]:
    for name, value in best.items():
        if abs(value - default[name]) > 10**-DIGITS:
            yield f"  {name:28} {default[name]:8.4g} -> {value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
