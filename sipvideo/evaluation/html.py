"""The figures of a run as one page: no network, no scripts, readable on a phone, by day and by night."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from sipvideo.evaluation import charts
from sipvideo.evaluation.confidence import Interval
from sipvideo.evaluation.mistakes import KINDS
from sipvideo.evaluation.names import TITLES, TRACKING_TITLES, counted, number
from sipvideo.evaluation.pictures import PictureScores
from sipvideo.evaluation.report import Report
from sipvideo.evaluation.style import STYLE

OPEN = 12
"""Classes whose curves are shown without being asked for."""

WHAT = {"segm": "masks", "bbox": "boxes"}


@dataclass(frozen=True)
class About:
    """What a page says of itself: title, facts by name, and lines that a reader should know."""

    title: str
    facts: Mapping[str, str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Strip:
    """Some frames of a video.

    Attributes:
        title: the video's name.
        caption: what is to be seen.
        frames: a caption, and two pictures (JPEG): the ground truth and the prediction.
    """

    title: str
    caption: str
    frames: Sequence[tuple[str, bytes, bytes]]


def video_page(
    report: Report, about: About, strips: Sequence[Strip] = (), titles: Mapping[object, str] = {}
) -> str:
    """The report of a run on videos.

    Args:
        report: the figures.
        about: title and facts.
        strips: videos to be shown.
        titles: of the videos, by id.

    Returns:
        HTML, complete in itself. All text from files is escaped.
    """
    objects = sum(c.objects for c in report.classes)
    found = sum(c.predictions for c in report.classes)
    size = (len(report.videos), "video"), (objects, "object"), (found, "prediction")
    facts = {
        **about.facts,
        "scored": ", ".join(counted(*one) for one in size),
        "mode": f"{report.mode}, {WHAT[report.kind]}",
    }
    sections = [
        _header(about, facts),
        _headline(report),
        _section("Precision and recall", _mean_curves(report), _CURVES),
        _section("What goes wrong", _mistakes(report), _MISTAKES),
        _section("Classes", _classes(report), "Classes without objects have no AP."),
        _details(
            "Curves of each class", _class_curves(report), opened=_with_objects(report) <= OPEN
        ),
        _section("Tracking", _tracking(report), _tracking_note(report)),
        _section("All figures", _figures(report.figures, report.intervals) + _lengths(report)),
        _section("The worst videos", "".join(map(_strip, strips)), _STRIPS) if strips else "",
        _details("All videos", _videos(report, titles)),
    ]
    return _page(about.title, sections)


def picture_page(scores: Mapping[str, PictureScores], about: About) -> str:
    """The report of a run on still pictures.

    Args:
        scores: by kind: segm, bbox.
        about: title and facts.
    """
    names = [name for name in TITLES if hasattr(next(iter(scores.values())), name)]
    tiles = "".join(
        _tile(f"{'Mask' if kind == 'segm' else 'Box'} {title}", getattr(value, name), None)
        for kind, value in scores.items()
        for name, title in (("ap", "AP"), ("ap50", "AP50"))
    )
    head = ["", *(WHAT[kind] for kind in scores)]
    rows = [[TITLES[n], *(number(getattr(s, n)) for s in scores.values())] for n in names]
    bars = [
        [escape(c[0].name), charts.bar(c[0].ap), *(number(part.ap) for part in c)]
        for c in zip(*(s.classes for s in scores.values()), strict=True)
        if c[0].ap >= 0
    ]
    classes = _table(["class", "", *(f"AP, {WHAT[k]}" for k in scores)], bars)
    sections = [
        _header(about, about.facts),
        f'<div class="tiles">{tiles}</div>',
        _section("All figures", _table(head, rows)),
        _section("Classes", classes),
    ]
    return _page(about.title, sections)


_CURVES = (
    "Mean over the classes that have objects. IoU is that of whole tracks: all pixels of all frames. "
    "Where a curve falls to 0, no prediction reaches that recall."
)
_MISTAKES = (
    "Every false positive and every miss at an IoU of 0.5 has one kind. The last column is what AP50 would gain if "
    "that kind alone were mended."
)
_STRIPS = (
    "Above the ground truth, below the predictions with the highest scores. A prediction that found its object "
    "(IoU of the track at least 0.5) has its number and colour; the others have numbers of their own."
)


def _page(title: str, sections: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def _header(about: About, facts: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in about.notes)
    listed = f'<ul class="notes">{notes}</ul>' if notes else ""
    return f"<h1>{escape(about.title)}</h1><dl>{rows}</dl>{listed}"


def _section(title: str, content: str, note: str = "") -> str:
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>"


def _details(title: str, content: str, opened: bool = False) -> str:
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(title)}</summary>{content}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML, the first of a row names it."""
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _tile(title: str, value: float, interval: Interval | None) -> str:
    if interval is None:
        more = charts.bar(value)
    else:
        low, high = number(interval.low), number(interval.high)
        more = charts.interval(value, interval.low, interval.high)
        more += f"<small>95 %: {low} to {high}</small>"
    return f'<div class="tile"><b>{escape(title)}</b><strong>{number(value)}</strong>{more}</div>'


def _headline(report: Report) -> str:
    figures = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
    tiles = [
        _tile(title, report.figures[name], report.intervals.get(name))
        for name, title in figures.items()
    ]
    hota = report.tracking.combined.hota
    tiles.append(_tile("HOTA", hota, report.intervals.get("hota")))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _figures(figures: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    rows = []
    for name, value in figures.items():
        i = intervals.get(name)
        span = f"{number(i.low)} to {number(i.high)}" if i else ""
        rows.append([escape(TITLES[name]), charts.bar(value), number(value), span])
    return _table(["figure", "", "value", "95 % interval"], rows)


def _lengths(report: Report) -> str:
    rows = []
    for name, score in report.lengths.items():
        low, high = score.frames
        span = f"{low} to {high} frames" if high else f"{low} frames or more"
        rows.append([f"{name}, {span}", charts.bar(score.ap), number(score.ap), str(score.objects)])
    return _table(["length of the track", "", "AP", "objects"], rows)


def _tracking(report: Report) -> str:
    rows = []
    for name, title in TRACKING_TITLES.items():
        whole = getattr(report.tracking.combined, name)
        mean = getattr(report.tracking.class_average, name)
        if isinstance(whole, int):
            rows.append([escape(title), "", str(whole), ""])
        else:
            rows.append([escape(title), charts.bar(whole), f"{whole:.3f}", f"{mean:.3f}"])
    return _table(["figure", "", "all objects", "mean of classes"], rows)


def _tracking_note(report: Report) -> str:
    threshold = report.tracking.score_threshold
    return (
        f"Tracks with a score of at least {threshold:g}, frame by frame. The figures depend strongly on"
        " that threshold."
    )


def _mistakes(report: Report) -> str:
    kinds = report.mistakes.kinds
    most = max((mistake.count for mistake in kinds.values()), default=0)
    rows = [
        [
            f"{escape(kind.replace('_', ' '))}<small>{escape(KINDS[kind])}</small>",
            charts.bar(mistake.count, most, "c1"),
            str(mistake.count),
            f"{mistake.gain:+.3f}",
        ]
        for kind, mistake in kinds.items()
    ]
    return _table(["mistake", "", "count", "AP50 if mended"], rows)


def _with_objects(report: Report) -> int:
    return sum(c.objects > 0 for c in report.classes)


def _classes(report: Report) -> str:
    rows = []
    for c in sorted(report.classes, key=lambda c: (-c.ap, c.name)):
        if c.objects or c.predictions:
            tracking = report.tracking.classes.get(c.category_id)
            hota = number(tracking.hota) if tracking else "-"
            counts = str(c.objects), str(c.predictions)
            rows.append(
                [escape(c.name), charts.bar(c.ap), number(c.ap), number(c.ap50), hota, *counts]
            )
    return _table(["class", "", "AP", "AP50", "HOTA", "objects", "predictions"], rows)


def _videos(report: Report, titles: Mapping[object, str]) -> str:
    rows = []
    for v in sorted(report.videos, key=lambda v: (v.objects == 0, v.ap)):
        name = escape(titles.get(v.video_id, str(v.video_id)))
        counts = str(v.objects), str(v.predictions)
        rows.append([name, charts.bar(v.ap), number(v.ap), number(v.ap50), *counts])
    return _table(["video", "", "AP", "AP50", "objects", "predictions"], rows)


def _precision(report: Report) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Precision [T, R, K] of all areas, recall points [R], and the places of IoU 0.5 and 0.75."""
    evaluation = report.evaluation
    values: NDArray[np.float64] = evaluation.eval["precision"]
    values = values[:, :, :, 0, ..., -1]
    values = values[..., 0] if values.ndim > 3 else values  # OVIS: all degrees of occlusion
    thresholds = np.asarray(evaluation.params.iouThrs, float)
    places = [int(np.argmin(np.abs(thresholds - t))) for t in (0.5, 0.75)]
    return values, np.asarray(evaluation.params.recThrs, float), places


def _mean_curves(report: Report) -> str:
    values, points, (half, strict) = _precision(report)
    values = values[:, :, (values >= 0).all((0, 1))]
    if not values.shape[2]:
        return "<p>Nothing is annotated.</p>"
    mean = values.mean(2)
    lines = [
        ("IoU 0.5", mean[half]),
        ("IoU 0.75", mean[strict]),
        ("mean of 0.5 to 0.95", mean.mean(0)),
    ]
    plot = charts.curves(lines, points, "Precision over recall, mean of classes")
    return charts.legend([name for name, _ in lines]) + f'<div class="main-plot">{plot}</div>'


def _class_curves(report: Report) -> str:
    values, points, (half, strict) = _precision(report)
    figures = []
    for k, c in enumerate(report.classes):
        if c.objects and (values[:, :, k] >= 0).all():
            lines = [("IoU 0.5", values[half, :, k]), ("IoU 0.75", values[strict, :, k])]
            plot = charts.curves(lines, points, f"Precision over recall, {c.name}")
            told = f"<b>{escape(c.name)}</b> AP {number(c.ap)}, {counted(c.objects, 'object')}"
            figures.append(f"<figure><figcaption>{told}</figcaption>{plot}</figure>")
    key = charts.legend(["IoU 0.5", "IoU 0.75"])
    return f'{key}<div class="plots">{"".join(figures)}</div>'


def _strip(strip: Strip) -> str:
    frames = "".join(
        f"<figure>{_picture(truth, f'{strip.title}, {caption}: ground truth')}"
        f"{_picture(found, f'{strip.title}, {caption}: prediction')}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, truth, found in strip.frames
    )
    title = f"<h3>{escape(strip.title)}</h3><p>{escape(strip.caption)}</p>"
    return f'{title}<div class="strip">{frames}</div>'


def _picture(data: bytes, alt: str) -> str:
    text = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(alt)}" loading="lazy" src="data:image/jpeg;base64,{text}">'
