"""Results scored, compared, printed and saved."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo import __version__
from sipvideo.apps import command
from sipvideo.apps.eval import tables as eval_tables
from sipvideo.apps.eval.parts import Dataset, Json
from sipvideo.apps.eval.run import (
    COMPARISON,
    PAGE,
    RESULTS,
    SCORES,
    ZIP,
    write_json,
    write_text,
    writing,
)
from sipvideo.errors import ConfigError, DatasetError, SipVideoError

if TYPE_CHECKING:
    from sipvideo.evaluation import PictureScores, Report
    from sipvideo.evaluation.html import About, Strip


@dataclass(frozen=True)
class Scored:
    """What is said of one file of results: for programs, for a terminal, as a page, and what to be aware of."""

    figures: Json
    text: str
    page: Callable[[About], str]
    warnings: Sequence[str] = ()


def score(data: Dataset, results: Path, run: Json | None = None) -> int:
    """Scores a file of results as far as there are annotations, prints and saves the figures.

    Args:
        data: the dataset.
        results: the file.
        run: figures of the run that made them.

    Returns:
        The exit code.

    Raises:
        DatasetError: the results are damaged, or (strict) would be scored silently wrong.
    """
    args = data.args
    folder = Path(args.output) if args.output else None
    scored = _score_videos(data, results) if data.file.of_videos else _score_pictures(data, results)
    if args.zip and folder:
        _zip(results, folder / ZIP)
    if scored is None:
        command.note(f"{args.dataset}: nothing is annotated, so nothing is scored; see {results}")
        return 0
    for warning in scored.warnings:
        command.note(warning)
    if folder:
        about = {"dataset": str(args.dataset), "split": args.split, "results": str(results)}
        about |= {"version": __version__, "run": run}
        write_json(folder / SCORES, about | scored.figures, indent=1)
    if not args.quiet:
        print(scored.text, flush=True)
    if folder:
        # The page needs the pictures, the only thing that can still fail.
        if args.html:
            write_text(folder / PAGE, scored.page(_about(data, results, run, scored.warnings)))
        if not args.quiet:
            print(f"\nsaved: {', '.join(str(folder / name) for name in _saved(data))}", flush=True)
    return 0


def _saved(data: Dataset) -> list[str]:
    args = data.args
    own = [] if args.results else [RESULTS]
    return [*own, *([ZIP] if args.zip else []), SCORES, *([PAGE] if args.html else [])]


def _report(data: Dataset, results: Path) -> Report:
    from sipvideo import evaluation

    args = data.args
    return evaluation.score(
        data.truth(), results, args.mode, args.kind, args.score_threshold, args.resamples
    )


def _score_videos(data: Dataset, results: Path) -> Scored | None:
    from sipvideo.evaluation import html
    from sipvideo.evaluation.strict import check_strictly

    args = data.args
    if not data.annotated:
        truth = data.truth()
        found = truth.loadRes(results)
        if args.mode == "strict":
            check_strictly(truth, found, args.kind)
        return None
    report = _report(data, results)

    def page(about: About) -> str:
        return html.video_page(report, about, _strips(data, report), data.titles())

    text = eval_tables.of_report(report, every_class=args.per_class)
    return Scored(report.to_json(), text, page, report.warnings)


def _strips(data: Dataset, report: Report) -> list[Strip]:
    """The worst videos as pictures, as far as the pictures are there."""
    args = data.args
    if not args.worst:
        return []
    command.require_opencv()
    from sipvideo.apps.eval.strips import worst_videos
    from sipvideo.data import YouTubeVis

    try:
        pictures = data.pictures()
        assert isinstance(pictures, YouTubeVis)
        return worst_videos(report, pictures, args.worst)
    except SipVideoError as error:
        if args.images:
            raise
        command.note(f"the report shows no pictures: {error}")
        return []


def _score_pictures(data: Dataset, results: Path) -> Scored | None:
    from sipvideo.evaluation import evaluate_pictures, html
    from sipvideo.evaluation.files import read_results

    found, name = read_results(results)
    if not data.annotated:
        return None
    names = str(data.file.path), name
    objects = data.content["annotations"]
    scores: dict[str, PictureScores] = {}
    # What was not annotated, or not predicted, is not scored.
    if _have("segmentation", objects) and _have("segmentation", found[:1]):
        scores["segm"] = evaluate_pictures(data.content, found, "segm", names=names)
    if _have("bbox", found[:1]):
        scores["bbox"] = evaluate_pictures(data.content, found, "bbox", names=names)
    if not scores:
        raise DatasetError(f"{results}: result 1: expected a segmentation or a bbox")
    figures = {kind: value.to_json() for kind, value in scores.items()}
    text = eval_tables.of_pictures(scores, every_class=data.args.per_class)
    return Scored(figures, text, lambda about: html.picture_page(scores, about))


def _have(key: str, entries: Sequence[Json]) -> bool:
    """Whether some of them have it, or there are none."""
    return not entries or any(key in entry for entry in entries)


def _about(data: Dataset, results: Path, run: Json | None, warnings: Sequence[str]) -> About:
    from sipvideo.evaluation.html import About

    args = data.args
    facts = {"results": str(results), "sipvideo": __version__}
    if args.split:
        facts["split"] = args.split
    if run:
        facts["model"] = str(args.weights or "default weights")
        facts["run"] = f"{run['frames']} frames, {run['fps']:.1f} per second"
    notes = list(warnings)
    if run and run["unknown_classes"]:
        notes.append(f"The model does not know these classes: {', '.join(run['unknown_classes'])}.")
    if run and run["left_out"]:
        several = ", ".join(f"{name} {count}" for name, count in run["left_out"].items())
        notes.append(f"Results in classes that the dataset lacks were left out: {several}.")
    return About("/".join(data.file.path.resolve().parts[-2:]), facts, notes)


def _zip(results: Path, path: Path) -> None:
    """The archive that evaluation servers take: results.json at its top."""
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(results, RESULTS)
        partial.replace(path)


def compare(data: Dataset) -> int:
    """Scores two files of results of one dataset, prints and saves how they differ.

    Raises:
        ConfigError: the dataset is none of videos.
        DatasetError: nothing is annotated, or as :func:`score`.
    """
    from sipvideo import evaluation

    args = data.args
    if not data.file.of_videos:
        raise ConfigError(f"{args.dataset}: --compare needs a dataset of videos")
    if not data.annotated:
        raise DatasetError(f"{args.dataset}: nothing is annotated: there is nothing to compare")
    a, b = (_report(data, Path(path)) for path in args.compare)
    differences = evaluation.compare(a, b, args.resamples)
    for name, report in zip("AB", (a, b), strict=True):
        for warning in report.warnings:
            command.note(f"{name}: {warning}")
    if not args.quiet:
        titles = data.titles()
        print(eval_tables.of_comparison(a, b, differences, args.compare, titles))
    if args.output:
        content = {"dataset": str(args.dataset), "split": args.split, "version": __version__}
        runs = {
            name: {"results": path, **report.to_json()}
            for name, path, report in zip("ab", args.compare, (a, b), strict=True)
        }
        b_minus_a = {name: asdict(value) for name, value in differences.items()}
        path = Path(args.output) / COMPARISON
        write_json(path, {**content, "b_minus_a": b_minus_a, **runs}, indent=1)
        if not args.quiet:
            print(f"\nsaved: {path}", flush=True)
    return 0
