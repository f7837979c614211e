"""``sipvideo data check``: reads a data set as training and evaluation will, and explains what is wrong with it."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.apps import command, flags

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sipvideo.data.check import DatasetCheck, Summary
    from sipvideo.data.coco import CocoPictures
    from sipvideo.data.sample import Sample
    from sipvideo.data.youtube_vis import YouTubeVis

TILE = (240, 320)
"""Height and width of a picture on the sheet."""
COLUMNS, ROWS = 5, 5


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="sipvideo data check",
        description="Reads a data set, COCO's layout or that of YouTube-VIS and OVIS, as training and evaluation will. "
        "Tells what it holds, and everything that would make a training fail or a score 0 or -1: what it causes, "
        "where it is, how to mend it. Exit code 0: usable, with or without warnings; 2: not.",
    )
    parser.add_argument("file", metavar="FILE", help="annotation file (json)")
    flags.add_dataset_flags(parser)
    parser.add_argument(
        "--sheet", metavar="PNG", help="write samples with masks, names and ids as one picture"
    )
    parser.add_argument(
        "--decode",
        type=_number,
        metavar="N",
        help="decode at most N pictures, spread evenly; 0: none; default: all",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Checks, prints, draws; 2 if the data set is not usable."""
    command.require_opencv()
    from tqdm import tqdm

    from sipvideo.data.check import DatasetCheck

    def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
        # On a terminal only (None), and for what takes longer than a second.
        hidden = True if args.quiet else None
        bar: Iterable[Any] = tqdm(items, desc=what, disable=hidden, leave=False, delay=1)
        return bar

    upright = not args.ignore_orientation
    check = DatasetCheck(args.file, args.images, args.split, args.decode, progress, upright=upright)
    if args.json:
        print(json.dumps(as_json(check), indent=2))
    elif not args.quiet:
        print(report(check))
    if args.sheet and check.source is not None:
        _save(Path(args.sheet), sheet(check.source))
        if not args.quiet:
            print(f"saved {args.sheet}", file=sys.stderr)
    elif args.sheet:
        command.note("no sheet: the data set cannot be opened")
    return 0 if check.usable else command.FAILED


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def report(check: DatasetCheck) -> str:
    """What people read: contents, then errors, warnings and notes."""
    lines = [f"{check.file.path}", "", *_contents(check.summary)]
    for _, finding in check.findings:
        rule = finding.rule
        lines += ["", f"{rule.level.upper()}: {rule.what} ({finding.count})"]
        for title, text in (("causes", rule.causes), ("mend", rule.mend)):
            lines += textwrap.wrap(
                text, 110, initial_indent=f"  {title + ':':8}", subsequent_indent=" " * 10
            )
        lines += [f"  - {example}" for example in finding.examples]
        if finding.count > len(finding.examples):
            lines.append(f"  - ... {finding.count - len(finding.examples)} more")
    errors, warnings = check.findings.count("error"), check.findings.count("warning")
    state = "usable" if check.usable else "not usable"
    return "\n".join([*lines, "", f"{state}: {errors} kinds of errors, {warnings} of warnings"])


def _contents(summary: Summary) -> Iterator[str]:
    kind = "videos" if summary.videos else "pictures"
    splits = ", ".join(f"{name} {count}" for name, count in summary.splits.items())
    yield f"{kind:10}{summary.entries}" + (f" of {splits}" if splits else "")
    if summary.partly:
        yield f"{'':10}{summary.partly} of them annotated for some classes only"
    if summary.videos:
        yield f"{'frames':10}{summary.frames}"
        if summary.lengths:
            middle = statistics.median(summary.lengths)
            yield f"{'lengths':10}{min(summary.lengths)} to {max(summary.lengths)} frames, median {middle:g}"
    shapes = [f"{w} x {h} ({count})" for (h, w), count in summary.shapes.most_common(4)]
    more = f", {len(summary.shapes) - 4} others" if len(summary.shapes) > 4 else ""
    yield f"{'sizes':10}{', '.join(shapes)}{more}"
    total = sum(summary.objects.values())
    masks = f" with {sum(summary.masks.values())} masks" if summary.videos else ""
    yield f"{'objects':10}{total}{masks}, {summary.crowds} crowds or of unknown class beside them"
    small, medium, large = summary.sizes
    limits = "128 and 256" if summary.videos else "32 and 96"
    yield f"{'':10}{small} small, {medium} medium, {large} large (by {limits} pixels squared)"
    cells = [
        f"{name} {count}" + (f" ({summary.masks[name]})" if summary.videos else "")
        for name, count in summary.objects.most_common()
    ]
    if cells:
        width = max(map(len, cells)) + 2
        columns = max(1, 110 // width)
        yield ""
        for first in range(0, len(cells), columns):
            row = cells[first : first + columns]
            yield "  " + "".join(cell.ljust(width) for cell in row).rstrip()


def as_json(check: DatasetCheck) -> dict[str, Any]:
    """The same for programs."""
    summary = check.summary
    return {
        "file": str(check.file.path),
        "usable": check.usable,
        "videos" if summary.videos else "pictures": summary.entries,
        "frames": summary.frames,
        "lengths": summary.lengths,
        "objects": dict(summary.objects.most_common()),
        "masks": dict(summary.masks.most_common()),
        "crowds": summary.crowds,
        "partly_labelled": summary.partly,
        "sizes": dict(zip(("small", "medium", "large"), summary.sizes, strict=True)),
        "splits": dict(summary.splits),
        "findings": [
            {
                "key": key,
                "level": finding.rule.level,
                "what": finding.rule.what,
                "count": finding.count,
                "causes": finding.rule.causes,
                "mend": finding.rule.mend,
                "examples": finding.examples,
            }
            for key, finding in check.findings
        ],
    }


def sheet(source: CocoPictures | YouTubeVis) -> NDArray[np.uint8]:
    """Samples with masks, names and ids, uint8 [H, W, 3], RGB: pictures spread evenly, or a row of frames per video."""
    import numpy as np

    empty = np.full((*TILE, 3), 24, np.uint8)
    tiles = [empty if k is None else _tile(source, k) for k in _samples(source)]
    rows = max(1, -(-len(tiles) // COLUMNS))
    tiles += [empty] * (rows * COLUMNS - len(tiles))
    return np.vstack([np.hstack(tiles[r * COLUMNS : (r + 1) * COLUMNS]) for r in range(rows)])


def _samples(source: CocoPictures | YouTubeVis) -> Sequence[int | None]:
    """Which pictures the sheet shows, with objects as far as there are any; None leaves a place empty."""
    import numpy as np

    from sipvideo.data.youtube_vis import YouTubeVis

    if not isinstance(source, YouTubeVis):
        return _spread(
            [k for k in range(len(source)) if source.count(k)] or list(range(len(source))),
            COLUMNS * ROWS,
        )
    ends = np.cumsum([video.length for video in source.videos]).tolist()
    chosen: list[int | None] = []
    for k in _spread(range(len(ends)), ROWS):
        frames = range(ends[k] - source.videos[k].length, ends[k])
        shown = _spread([f for f in frames if source.count(f)] or frames, COLUMNS)
        chosen += shown + [None] * (COLUMNS - len(shown))
    return chosen


def _spread(items: Sequence[int], most: int) -> list[int]:
    count = min(len(items), most)
    return [items[k * len(items) // count] for k in range(count)]


def _tile(source: CocoPictures | YouTubeVis, index: int) -> NDArray[np.uint8]:
    """One sample with its name; what cannot be read stays dark."""
    import cv2
    import numpy as np

    from sipvideo.draw import FONT, STROKE
    from sipvideo.errors import DatasetError

    tile = np.full((*TILE, 3), 24, np.uint8)
    try:
        sample = source[index]
        height, width = sample.image.shape[:2]
        ratio = min(TILE[0] / height, TILE[1] / width)
        h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
        drawn = _drawn(sample, source.classes, ratio)
        tile[:h, :w] = cv2.resize(drawn, (w, h), interpolation=cv2.INTER_AREA)
        name = source.name(index)
    except DatasetError:
        name = f"cannot be read: {source.name(index)}"
    name = name.encode("ascii", "replace").decode("ascii")[-46:]
    for colour, stroke in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        stroke = max(stroke, stroke * STROKE // 13)
        cv2.putText(tile, name, (4, TILE[0] - 5), FONT, 0.35, colour, stroke, cv2.LINE_AA)
    return tile


def _drawn(sample: Sample, names: Sequence[str], ratio: float) -> NDArray[np.uint8]:
    """A sample as results are drawn; grey: crowds, objects of unknown class, and ids that come again."""
    import numpy as np

    from sipvideo.draw import Style, draw
    from sipvideo.structures import Detections, Frame, FrameResult

    n = len(sample)
    embeddings = np.zeros((n, 0), np.float32)
    scores = np.ones(n, np.float32)
    objects = Detections(sample.boxes, scores, sample.labels, sample.masks, embeddings)
    first = np.isin(np.arange(n), np.unique(sample.object_ids, return_index=True)[1])
    ids = np.where(sample.crowd | ~first, -1, sample.object_ids)
    result = FrameResult(Frame(sample.image, 0, 0.0), objects, ids, 0.0)
    return draw(result, names, Style(tags=("class", "id"), text_scale=1.0 / ratio))


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    import cv2

    from sipvideo.errors import SinkError

    try:
        good, data = cv2.imencode(path.suffix or ".png", picture[..., ::-1])
        if not good:
            raise SinkError(f"{path}: cannot write a picture of this kind; expected .png or .jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except cv2.error as error:
        raise SinkError(
            f"{path}: cannot write a picture of this kind; expected .png or .jpg"
        ) from error
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
