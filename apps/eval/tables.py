"""Figures as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sipvideo.evaluation.names import TITLES, TRACKING_TITLES, counted, number

if TYPE_CHECKING:
    from sipvideo.evaluation import PictureScores, Report
    from sipvideo.evaluation.confidence import Difference

FEW = 20
"""Classes that are listed without being asked for."""

Rows = list[Sequence[str]]


def of_report(report: Report, every_class: bool = False) -> str:
    """All figures of one run on videos."""
    objects = sum(c.objects for c in report.classes)
    found = sum(c.predictions for c in report.classes)
    what = "masks" if report.kind == "segm" else "boxes"
    size = (len(report.videos), "video"), (objects, "object"), (found, "prediction")
    head = f"{', '.join(counted(*one) for one in size)}; {what}, mode {report.mode}"
    blocks = [head, _figures(report), _tracking(report), _classes(report, every_class)]
    blocks += [_lengths(report), _mistakes(report)]
    return "\n\n".join(block for block in blocks if block)


def _figures(report: Report) -> str:
    rows: Rows = [("average precision and recall of tracks", "", "95 % of videos drawn again")]
    for name, value in report.figures.items():
        interval = report.intervals.get(name)
        span = f"{number(interval.low)} to {number(interval.high)}" if interval else ""
        rows.append((f"  {TITLES[name]}", number(value), span))
    return _table(rows, right=(1,))


def _tracking(report: Report) -> str:
    tracking = report.tracking
    title = f"tracking, tracks with score >= {tracking.score_threshold:g}"
    rows: Rows = [(title, "all", "class average", "95 %")]
    for name, text in TRACKING_TITLES.items():
        whole, mean = getattr(tracking.combined, name), getattr(tracking.class_average, name)
        interval = report.intervals.get(name)
        span = f"{number(interval.low)} to {number(interval.high)}" if interval else ""
        if isinstance(whole, int):
            rows.append((f"  {text}", str(whole), "", ""))
        else:
            rows.append((f"  {text}", f"{whole:.3f}", f"{mean:.3f}", span))
    return _table(rows, right=(1, 2))


def _classes(report: Report, every_class: bool) -> str:
    seen = [c for c in report.classes if c.objects or c.predictions]
    shown = seen if every_class else [c for c in seen if c.objects]
    if not every_class and len(shown) > FEW:
        return f"{len(shown)} classes with objects; --per-class lists them"
    rows: Rows = [("class", "AP", "AP50", "AR@100", "HOTA", "objects", "predictions")]
    for c in shown:
        tracking = report.tracking.classes.get(c.category_id)
        hota = number(tracking.hota) if tracking else "-"
        counts = str(c.objects), str(c.predictions)
        rows.append((f"  {c.name}", number(c.ap), number(c.ap50), number(c.ar_100), hota, *counts))
    rest = [c for c in seen if not c.objects] if not every_class else []
    lost = sum(c.predictions for c in rest)
    more = f"\n  predictions in classes without objects: {lost}" if rest else ""
    return _table(rows, right=range(1, 7)) + more


def _lengths(report: Report) -> str:
    rows: Rows = [("frames in which an object is seen", "AP", "objects")]
    for name, score in report.lengths.items():
        low, high = score.frames
        span = f"{low} to {high}" if high else f"{low} or more"
        rows.append((f"  {name}, {span}", number(score.ap), str(score.objects)))
    return _table(rows, right=(1, 2))


def _mistakes(report: Report) -> str:
    rows: Rows = [("mistakes (IoU 0.5)", "count", "AP50 if mended")]
    for kind, mistake in report.mistakes.kinds.items():
        rows.append((f"  {kind.replace('_', ' ')}", str(mistake.count), f"{mistake.gain:+.3f}"))
    return _table(rows, right=(1, 2))


def of_pictures(scores: Mapping[str, PictureScores], every_class: bool = False) -> str:
    """COCO's figures of masks and boxes side by side."""
    kinds = {"segm": "masks", "bbox": "boxes"}
    names = [name for name in TITLES if hasattr(next(iter(scores.values())), name)]
    rows: Rows = [("", *(kinds[kind] for kind in scores))]
    rows += [(TITLES[name], *(number(getattr(s, name)) for s in scores.values())) for name in names]
    blocks = [_table(rows, right=(1, 2))]
    listed = list(zip(*(s.classes for s in scores.values()), strict=True))
    known = [row for row in listed if every_class or row[0].ap >= 0]
    if len(known) > FEW and not every_class:
        return f"{blocks[0]}\n\n{len(known)} classes with objects; --per-class lists them"
    rows = [("class", *(f"{kinds[kind]} {f}" for kind in scores for f in ("AP", "AP50")))]
    for row in known:
        rows.append((f"  {row[0].name}", *(number(v) for c in row for v in (c.ap, c.ap50))))
    return "\n\n".join([*blocks, _table(rows, right=range(1, 5))])


def of_comparison(
    a: Report,
    b: Report,
    differences: Mapping[str, Difference],
    files: Sequence[str],
    titles: Mapping[Any, str],
) -> str:
    """Two runs side by side, which differences are significant, and where they come from.

    Args:
        a, b: the runs.
        differences: B minus A.
        files: their names.
        titles: of the videos, by id.
    """
    rows: Rows = [("", "A", "B", "B - A", "95 %", "p", "")]
    for name, value in differences.items():
        values = [r.tracking.combined.hota if name == "hota" else r.figures[name] for r in (a, b)]
        span = f"{value.low:+.3f} to {value.high:+.3f}"
        verdict = "significant" if value.p_value < 0.05 else "not significant"
        told = (f"{value.value:+.3f}", span, f"{value.p_value:.3f}", verdict)
        title = "HOTA (all)" if name == "hota" else TITLES[name]
        rows.append((title, number(values[0]), number(values[1]), *told))
    blocks = [f"A: {files[0]}\nB: {files[1]}", _table(rows, right=(1, 2, 3, 5))]
    rest: Rows = [("other figures", "A", "B", "B - A")]
    for name, value_a in a.figures.items():
        if name not in differences:
            value_b = b.figures[name]
            rest.append(
                (f"  {TITLES[name]}", number(value_a), number(value_b), _step(value_a, value_b))
            )
    blocks.append(_table(rest, right=(1, 2, 3)))
    classes = [(x.name, x.ap, y.ap) for x, y in zip(a.classes, b.classes, strict=True)]
    videos = [
        (titles.get(x.video_id, str(x.video_id)), x.ap, y.ap)
        for x, y in zip(a.videos, b.videos, strict=True)
    ]
    for title, several in (("AP of the classes", classes), ("AP of the videos", videos)):
        moved = sorted((s for s in several if s[1] != s[2]), key=lambda s: -abs(s[2] - s[1]))[:8]
        rows = [(f"{title} that changed most", "A", "B", "B - A")]
        rows += [(f"  {name}", number(x), number(y), _step(x, y)) for name, x, y in moved]
        blocks += [_table(rows, right=(1, 2, 3))] if moved else []
    significance = (
        "p: how often videos drawn by chance alone would differ this much; significant: below 0.05"
    )
    return "\n\n".join([*blocks, f"{significance}; {counted(len(a.videos), 'video')}"])


def _step(a: float, b: float) -> str:
    return f"{b - a:+.3f}" if min(a, b) >= 0 else "-"


def _table(rows: Rows, right: Sequence[int] | range) -> str:
    """Columns under each other, those in ``right`` flush right."""
    count = len(rows[0])
    widths = [max(len(row[column]) for row in rows) for column in range(count)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
