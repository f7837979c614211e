"""What the tracker told, put into words: one frame, or the life of one identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

CLOSE = 0.15
"""Affinity by which a pair may stay behind the chosen one and still make the choice a close one."""
SUCCESSION = 2.0
"""Seconds within which an identity that begins may be what another one became."""
MOST_CLOSE = 3
"""Close choices that are told of an identity."""
MOST_PAIRS = 8
"""Pairs that are told of one detection or track."""


@dataclass(frozen=True)
class Moment:
    """A frame that says something about an identity.

    Attributes:
        record: the frame's explanation.
        title: what happened.
        pairs: candidate pairs of it that matter, best first.
        reunions: the same of those who came back or might have.
        boxes: of identities, as last detected before this frame.
    """

    record: Json
    title: str
    pairs: Sequence[Json] = ()
    reunions: Sequence[Json] = ()
    boxes: dict[int, list[float]] = field(default_factory=dict)

    @property
    def second(self) -> float:
        """On the source's clock."""
        return float(self.record["timestamp"])


class Life:
    """Follows one identity through the explanations of a run.

    Args:
        track_id: the identity.
    """

    def __init__(self, track_id: int) -> None:
        self.track_id = track_id
        self.frames = 0
        self.labels: Counter[int] = Counter()
        self.begins: list[Moment] = []
        self.close: list[tuple[float, Moment]] = []
        self.missed: Moment | None = None
        self.successors: list[Moment] = []
        self._last: Json | None = None
        self._boxes: dict[int, list[float]] = {}

    def follow(self, records: Iterable[Json]) -> list[Moment]:
        """The moments that matter, in order of time."""
        for record in records:
            self._step(record)
            pairs = zip(record["track_ids"], record["boxes"], strict=True)
            self._boxes.update({track_id: box for track_id, box in pairs if track_id >= 0})
        close = [moment for _, moment in sorted(self.close, key=lambda c: c[0])[:MOST_CLOSE]]
        end = [self.missed] if self.missed is not None else []
        moments = [*self.begins, *close, *end, *self.successors]
        return sorted(moments, key=lambda moment: moment.second)

    @property
    def last_second(self) -> float:
        """When it was last seen."""
        return float(self._last["timestamp"]) if self._last else 0.0

    def _step(self, record: Json) -> None:
        if self.track_id in record["track_ids"]:
            self._seen(record)
        elif self._last is not None:
            self._unseen(record)

    def _seen(self, record: Json) -> None:
        row = record["track_ids"].index(self.track_id)
        self.frames += 1
        self.labels[record["labels"][row]] += 1
        own = _best([p for p in record["pairs"] if p["detection"] == row])
        verdict = record["verdicts"][row]
        if verdict != "goes on":
            self.begins.append(self._moment(record, verdict, own, row))
        chosen = next((p for p in own if p["verdict"] == "chosen"), None)
        if chosen is not None:
            rivals = [
                p
                for p in record["pairs"]
                if (p["detection"] == row) != (p["track_id"] == self.track_id)
                and p["affinity"] is not None
                and p["affinity"] > p["needed"]
            ]
            best = max(rivals, key=lambda p: p["affinity"], default=None)
            if best is not None and chosen["affinity"] - best["affinity"] < CLOSE:
                title = f"goes on, a close choice: id {best['track_id']}"
                moment = self._moment(record, title, _best([chosen, *rivals]), row)
                self.close.append((chosen["affinity"] - best["affinity"], moment))
        self._last, self.missed, self.successors = record, None, []

    def _unseen(self, record: Json) -> None:
        pairs = _best([p for p in record["pairs"] if p["track_id"] == self.track_id])
        if self.missed is None:
            self.missed = self._moment(record, "is not seen any more", pairs, None)
        if record["timestamp"] - self.last_second > SUCCESSION:
            return
        for row, verdict in enumerate(record["verdicts"]):
            if verdict not in ("begins an identity", "comes back"):
                continue
            mine = [p for p in pairs if p["detection"] == row]
            overlap = _overlap(record["boxes"][row], self._boxes.get(self.track_id))
            if overlap > 0 or any(pair["overlap"] > 0 for pair in mine):
                what = f"id {record['track_ids'][row]} {verdict} near where id {self.track_id} was"
                title = f"{what} (box overlap {overlap:.2f})"
                self.successors.append(self._moment(record, title, mine, row))

    def _moment(self, record: Json, title: str, pairs: Sequence[Json], row: int | None) -> Moment:
        reunions = [
            r
            for r in record["reunions"]
            if r["detection"] == row or (row is None and r["track_id"] == self.track_id)
        ]
        return Moment(record, title, pairs, reunions, dict(self._boxes))


def life(
    track_id: int, records: Iterable[Json], names: Sequence[str]
) -> Iterator[tuple[str, Moment | None]]:
    """The story of an identity as lines, each with the moment that it begins to tell of, if it does."""
    story = Life(track_id)
    moments = story.follow(records)
    if not story.frames:
        return
    label = story.labels.most_common(1)[0][0]
    begin, end = moments[0].second, story.last_second
    yield (
        f"id {track_id}: {_name(label, names)}, {begin:.2f}-{end:.2f} s, {story.frames} frames",
        None,
    )
    for moment in moments:
        yield _title(moment), moment
        for line in _told(moment.pairs, moment.reunions, moment.record):
            yield f"  {line}", None
    for moment in story.successors:
        yield _conclusion(track_id, moment), None
    if story.missed is not None and not story.successors:
        yield f"id {track_id} became nobody: nothing began near it within {SUCCESSION:g} s", None


def frame(
    record: Json, names: Sequence[str], track_id: int | None = None
) -> Iterator[tuple[str, Moment | None]]:
    """One frame's decisions as lines; ``track_id``: only what has to do with that identity."""
    moment = Moment(record, "a scene cut before it" if record["cut"] else "", record["pairs"])
    weights = ", ".join(f"{name} {value:g}" for name, value in record["weights"].items())
    yield f"{_title(moment)}; weights: {weights}", moment
    for row, verdict in enumerate(record["verdicts"]):
        own = _best([p for p in record["pairs"] if p["detection"] == row])
        reunions = [r for r in record["reunions"] if r["detection"] == row]
        mine = record["track_ids"][row]
        if track_id is not None and track_id not in (
            mine,
            *(p["track_id"] for p in (*own, *reunions)),
        ):
            continue
        who = f"id {mine}" if mine >= 0 else "no identity"
        about = f"{_name(record['labels'][row], names)} {record['scores'][row]:.2f}"
        yield f"  detection {row} ({about}) {verdict}: {who}", None
        yield from ((f"    {line}", None) for line in _told(own, reunions, record))


def _told(pairs: Sequence[Json], reunions: Sequence[Json], record: Json) -> Iterator[str]:
    for pair in pairs[:MOST_PAIRS]:
        yield _pair(pair, record)
    if len(pairs) > MOST_PAIRS:
        yield f"and {len(pairs) - MOST_PAIRS} more pairs"
    for one in sorted(reunions, key=lambda r: -r["likeness"])[:MOST_PAIRS]:
        yield (
            f"detection {one['detection']} with absent id {one['track_id']}, away {one['away']:.1f} s: likeness"
            f" {one['likeness']:.2f} of {one['needed']:.2f}, best other {one['rival']:.2f}: {one['verdict']}"
        )


def _pair(pair: Json, record: Json) -> str:
    cues = [f"overlap {pair['overlap']:.2f} (counts {pair.get('certainty', 1.0):.0%})"]
    if pair["mask_overlap"] is not None:
        cues.append(f"masks {pair['mask_overlap']:.2f}")
    if pair["likeness"] is not None:
        cues.append(f"likeness {pair['likeness']:.2f}")
    if not pair["label_agrees"]:
        cues.append("another class")
    if pair["unseen"] > 0:
        cues.append(f"unseen {pair['unseen']:.2f} s, reach {pair['margin']:.0f} px more")
    sum_ = "-" if pair["affinity"] is None else f"{pair['affinity']:.2f}"
    score = record["scores"][pair["detection"]]
    return (
        f"detection {pair['detection']} ({score:.2f}) with id {pair['track_id']}: {', '.join(cues)}:"
        f" affinity {sum_} of {pair['needed']:.2f}: {pair['verdict']}"
    )


def _conclusion(track_id: int, moment: Moment) -> str:
    """Why an identity that begins is not the one that was there."""
    new = moment.title.split()[1]
    if moment.pairs:
        pair = moment.pairs[0]
        why = pair["verdict"]
        if pair["affinity"] is not None:
            why += f" (affinity {pair['affinity']:.2f}, needed {pair['needed']:.2f})"
    else:
        why = f"id {track_id} was not a candidate any more"
    return f"id {track_id} became {new} because: {why}"


def _title(moment: Moment) -> str:
    title = f"{moment.second:.2f} s, frame {moment.record['frame']}"
    return f"{title}: {moment.title}" if moment.title else title


def _best(pairs: Sequence[Json]) -> list[Json]:
    return sorted(pairs, key=lambda p: -1.0 if p["affinity"] is None else -p["affinity"])


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) else f"class {label}"


def _overlap(a: Sequence[float], b: Sequence[float] | None) -> float:
    """Of two boxes, 0..1."""
    if b is None:
        return 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
