"""Many live sources on one card, for ``make gpu-report``: network cameras on loopback, batched."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sipvideo.apps.reports import many
from sipvideo.apps.reports.gpu.parts import Setting, engine, recorded, say, segmenter

FILM = "h264-50"
RATE = 25.0
"""Pictures a second of each camera."""


def cameras(setting: Setting) -> dict[str, Any]:
    """Share of the pictures that are shown, and how old they are then, with 16 and 32 cameras."""
    small = setting.device == "cpu"
    runtime = "torch" if small else "torch-fp16"
    found = engine("nano", setting.device, runtime)
    result: dict[str, Any] = {"runtime": found.about, "recorded": recorded(found, (720, 1280))}
    with tempfile.TemporaryDirectory() as folder:
        film = many.FILMS[FILM]
        path = Path(folder) / "film.ts"
        film[1].write(many.CLIP, path)
        for count in (2,) if small else (16, 32):
            row = many.measure(segmenter(found), film, path, count, 2 if small else 8)
            shown = row["results_per_second"] / (count * RATE)
            result[f"cameras_{count}"] = row
            result[f"shown_{count}"] = round(shown, 3)
            result[f"age_p95_ms_{count}"] = (row["age_ms"] or [None, None])[1]
            say(result)
    return result
