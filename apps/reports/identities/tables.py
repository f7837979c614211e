"""The page of ``make identity-report``, in users' words."""

from __future__ import annotations

from statistics import mean
from typing import Any

from sipvideo.apps.reports.identities.aims import aims
from sipvideo.apps.reports.identities.sets import MOVING, REPORTS, SETS

Json = dict[str, Any]
HEAD = """# Identities: who stays who

How well identities hold, for `sipvideo`'s tracker and others, on the same reports of the same films. `make
identity-report` renders the films, finds their objects once, runs everybody and writes this page and
`identities.json` beside it.

"""
AIMED = """## Aims

"""
WORDS = """## How to read it

- **Films**: rendered, with exact masks and exact identities (`sipvideo data synth --kind scenes`). Nothing was
  trained on them; settings were chosen on films of other seeds, those for reports without embeddings in two rounds with
  one look at these films between them. Rendered objects have colours of their own under a light that changes little,
  and colours count half in the embeddings of our models: expect less of them where all wear the same or the light is
  bad. Where brightness was made to swing by a quarter and each colour by 8 % (choice films), they still brought 21 of
  32 objects their identities again instead of 17 without colours, and 26 in steady light, with 3 false ones each.
- **Reports**: what a detector says of a frame, without identities. *Network*: {network}. *True boxes*: {truth}.
  Everybody gets the same ones. The default model is small; before commit 5164706 it was nano.
- **AssA** (0..1): of two moments at which an object was found, how often it is the same identity, weighed against
  identities that were also given to something else. The figure for identities alone. **HOTA** takes into account
  whether objects were found at all, and is bounded by the detector. **IDF1**: share of all sightings with the
  identity that fits the object best. **Switches**: how often an object went on with another identity. All of masks,
  all classes as one, over IoU thresholds as published.
- **Perfect identities**: the same reports with the true identities, reports of nothing left out. No tracker can do
  better with these reports, so the *share* of their AssA says what is left to gain by identities alone.
- **Identities**: how many were given out, and how many objects there were.
- **Half**: IDF1 between a run on all frames and one on every second frame, on the frames that both saw. 1: the frame
  rate does not matter.
- **Returns**: of the objects that came back after 3 seconds or more (or after a cut), how many got their identity
  again within two seconds (*right*), one that had been another object's, for however short a time (*false*), or a new
  one or none (*new*). Those that the detector did not find before or after are not counted. *Newcomers mistaken*:
  objects seen for the first time that got somebody else's identity.
- **Looking 2 s ahead** is `sipvideo video --lookahead 2s`, **repaired** what `sipvideo repair` makes of the run:
  identities joined, ghosts dropped, short gaps filled. They may find what the reports lack, so that their HOTA may
  exceed that of the perfect identities.
- **Peers** are ByteTrack, BoT-SORT and OC-SORT from the library `trackers` 2.6.1 (Apache-2.0), with times of the
  frames and thresholds fitted to our detector's scores on films of other seeds. They know boxes and scores only;
  their rows do not depend on the commit that is told and may be older.

"""
REPEAT = """## How to repeat it

```
make identity-report                                     # everything, into docs/identities.md and .json
python apps/reports/identities/report.py --sets hard,returns       # some sets, only shown
python apps/reports/identities/report.py --sets hard --no-peers --no-cost
```

It needs `pip install '.[synth]'` and `apt-get install sweethome3d-furniture`; the peers get an environment of their
own, `benchmarks/.trackers`. Films, reports and figures are kept in `build/identities`, so that a run that was stopped
goes on, and after a change of the tracker only its own rows are computed. Rendering takes about a tenth of a second a
frame and core.
"""


def page(content: Json) -> str:
    """The whole page, in Markdown.

    Args:
        content: ``titles`` by contender, ``sets``: figures by set, reports and contender, ``commits``: with which they
            were measured, by set and reports; ``cost`` if measured.
    """
    sets, titles = content["sets"], content["titles"]
    sets = {name: sets[name] for name in SETS if name in sets}
    parts = [HEAD]
    if reached := aims(sets):
        parts += [AIMED, _markdown(["", "aim", "reached", "missed by"], reached)]
    parts.append(WORDS.format(**REPORTS))
    for name, kinds in sets.items():
        parts.append(f"## {name}: {SETS[name].about}\n\n`{SETS[name].options}`\n\n")
        for kind, figures in kinds.items():
            commit = content["commits"].get(name, {}).get(kind)
            by = f" (measured with commit {commit})" if commit else ""
            parts += [
                f"{REPORTS[kind][0].upper()}{REPORTS[kind][1:]}{by}:\n\n",
                _table(figures, titles),
            ]
    if missing := [f"*{name}* ({SETS[name].about})" for name in SETS if name not in sets]:
        parts.append(f"Not measured for this page: {'; '.join(missing)}.\n\n")
    if "still" in sets:
        parts.append(_moving(sets, titles))
    if "cost" in content:
        parts.append(_cost(content["cost"]))
    return "".join([*parts, REPEAT])


def _table(figures: Json, titles: Json) -> str:
    comes_back = any(one["right"] + one["false"] + one["new"] for one in figures.values())
    heads = ["", "HOTA", "AssA", "share", "IDF1", "switches", "identities", "half"]
    if comes_back:
        heads += ["right", "false", "new", "newcomers mistaken"]
    rows = [
        _row(titles[name], one, figures["perfect"], comes_back) for name, one in figures.items()
    ]
    return _markdown(heads, rows)


def _row(title: str, one: Json, perfect: Json, comes_back: bool) -> list[str]:
    share = one["ass_a"] / perfect["ass_a"] if perfect["ass_a"] else 0.0
    row = [
        title,
        f"{one['hota']:.3f}",
        f"{one['ass_a']:.3f}",
        f"{share:.0%}",
        f"{one['idf1']:.3f}",
        str(one["switches"]),
        f"{sum(one['identities'])} for {sum(one['objects'])}",
        f"{one['half']:.3f}" if "half" in one else "",
    ]
    if comes_back:
        returns = one["right"] + one["false"] + one["new"]
        row += [f"{one[k]} ({one[k] / max(returns, 1):.0%})" for k in ("right", "false", "new")]
        row.append(f"{one['mistaken']} of {one['newcomers']}")
    return row


def _moving(sets: Json, titles: Json) -> str:
    """AssA before a moving camera as a share of that before a standing one."""
    moving = [name for name in MOVING if sets["still"].keys() <= sets.get(name, {}).keys()]
    text = (
        "## A camera that moves against one that stands\n\n"
        "AssA as a share of that of the same scenes before a camera that stands.\n\n"
    )
    for kind in sets["still"]:
        rows = []
        for name in (name for name in titles if name in sets["still"][kind]):
            base = sets["still"][kind][name]["ass_a"]
            known = [sets[other][kind].get(name) for other in moving]
            shares = [one["ass_a"] / max(base, 1e-9) if one else None for one in known]
            cells = ["" if share is None else f"{share:.3f}" for share in shares]
            measured = [share for share in shares if share is not None]
            complete = bool(shares) and len(measured) == len(shares)
            whole = f"{mean(measured):.3f}" if complete else ""
            rows.append([titles[name], f"{base:.3f}", *cells, whole])
        text += f"{REPORTS[kind][0].upper()}{REPORTS[kind][1:]}:\n\n"
        text += _markdown(["", "AssA, standing", *moving, "mean"], rows)
    return text


def _cost(rows: list[Json]) -> str:
    heads = ["", *(f"{row['objects']} objects, {row['height']}p" for row in rows)]
    lines = []
    for name in rows[0]["milliseconds"]:
        cells = []
        for row in rows:
            mine, ours = row["milliseconds"][name], row["milliseconds"]["ours"]
            cells.append(f"{mine:.2f} ({mine / ours:.2f})")
        lines.append([name, *cells])
    return (
        "## What it costs\n\nMilliseconds of processor time a frame, and in brackets how many times ours; medians, all "
        "in alternation. Made-up objects with masks and embeddings that wander before a moving camera.\n\n"
        + _markdown(heads, lines)
    )


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"
