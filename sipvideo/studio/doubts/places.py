"""Suspicions about where identities are from one sighting to the next: gaps, returns, jumps, changes of number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sipvideo.studio.doubts.links import Links
from sipvideo.studio.doubts.meetings import Meetings
from sipvideo.studio.doubts.sightings import Sightings
from sipvideo.studio.doubts.suspicion import Suspicion, logistic

AWAY = 1.2
"""Seconds from which an absence is no gap, but a return."""
GOES_ON = 3.0
"""Longest absence, seconds, after which an object may go on under another number."""
SUDDEN = 0.6
"""Distance, in what is usual, and logarithm of a ratio of sizes, from which a step is looked at."""


def absences(seen: Sightings, links: Links, meetings: Meetings) -> Iterator[Suspicion]:
    """Gaps, and returns of what may be another object."""
    missing = links[seen.frames[links.after] - seen.frames[links.before] > 1]
    frames = seen.frames[missing.after] - seen.frames[missing.before] - 1
    covered = meetings.most_covered(len(seen))
    hidden = np.maximum(covered[missing.before], covered[missing.after])
    other = logistic(-3.2 + missing.misfit + 0.6 * np.minimum(missing.seconds, 3))
    missed = logistic(
        0.2
        + 0.25 * np.minimum(frames, 12)
        - 1.5 * missing.distance
        - 1.0 * missing.size
        - 2.0 * hidden
        - 1.5 * (frames < 3)
    )
    rows = zip(missing.before.tolist(), missing.after.tolist(), strict=True)
    for k, (row, then) in enumerate(rows):
        track_id, begin, end = int(seen.ids[row]), int(seen.frames[row]), int(seen.frames[then])
        away = float(missing.seconds[k])
        why = (
            f"{track_id} comes back after {away:.1f} s{missing.unlike_in_words(k)}: another object?"
        )
        cut = {"op": "cut", "id": track_id, "frame": end}
        kind = "return" if away >= AWAY else "jump"
        yield Suspicion(kind, (track_id,), begin, end, float(other[k]), why, cut)
        if away < AWAY:
            fill = {"op": "propagate", "id": track_id, "frame": begin, "direction": 1, "until": end}
            why = f"{track_id} is missed for {int(frames[k])} frames and goes on where it was"
            yield Suspicion("gap", (track_id,), begin + 1, end - 1, float(missed[k]), why, fill)


def jumps(seen: Sightings, links: Links) -> Iterator[Suspicion]:
    """Identities that are suddenly elsewhere, from one frame to the next."""
    follows = seen.frames[links.after] - seen.frames[links.before] == 1
    odd = links[follows & ((links.distance > SUDDEN) | (links.size > SUDDEN))]
    worth = logistic(-3.6 + 1.6 * np.minimum(odd.distance, 5) + 0.8 * odd.size + 1.5 * odd.label)
    for k, row in enumerate(odd.after.tolist()):
        track_id, frame = int(seen.ids[row]), int(seen.frames[row])
        why = f"{track_id} is suddenly elsewhere{odd.unlike_in_words(k)}"
        cut = {"op": "cut", "id": track_id, "frame": frame}
        yield Suspicion("jump", (track_id,), frame, frame, float(worth[k]), why, cut)


def changes(seen: Sightings) -> Iterator[Suspicion]:
    """Objects that go on under another number."""
    ends, begins = seen.lasts, seen.firsts
    order = np.argsort(seen.seconds[begins], kind="stable")
    starts = seen.seconds[begins][order]
    low = np.searchsorted(starts, seen.seconds[ends], "right")
    high = np.searchsorted(starts, seen.seconds[ends] + GOES_ON, "right")
    counts = high - low
    before = np.repeat(ends, counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    after = begins[order][np.repeat(low, counts) + place]
    pairs = Links.of(seen, before, after)
    worth = logistic(3.0 - pairs.misfit - 0.7 * pairs.seconds)
    best: set[int] = set()
    for k in np.argsort(-worth, kind="stable").tolist():
        row, then = int(pairs.before[k]), int(pairs.after[k])
        if worth[k] < 0.01 or row in best or then in best:
            continue
        best.update((row, then))
        a, b = int(seen.ids[row]), int(seen.ids[then])
        first, last = int(seen.frames[row]), int(seen.frames[then])
        why = (
            f"{a} ends and {b} begins {pairs.seconds[k]:.1f} s later where it would be: one object?"
        )
        join = {"op": "join", "into": a, "from": b}
        yield Suspicion("change", (a, b), first, last, float(worth[k]), why, join)
