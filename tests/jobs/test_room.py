"""Whether the disk will hold the results is reckoned, told, and refused where it cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sipvideo import results
from sipvideo.errors import SinkError
from sipvideo.jobs import Job, Watch, room, run_job
from sipvideo.results import FILES
from sipvideo.sources import Source, VideoFile
from tests.apps.scripted import clip, segmenter


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("room") / "street.mp4", 0.4)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many bytes are free on every disk."""

    def set_free(count: int) -> None:
        usage = SimpleNamespace(total=count, used=0, free=count)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    return set_free


def test_every_kind_of_result_is_reckoned(street: Path) -> None:
    with VideoFile(street) as source:
        alone = {kind: room.needed(source, [kind]) for kind in FILES}
        for kind, figures in alone.items():
            assert figures is not None, kind
            assert 0 <= figures[0] <= figures[1]
        together = room.needed(source, list(FILES))
    assert together is not None
    assert together[0] >= max(figures[0] for figures in alone.values() if figures)


@pytest.mark.parametrize(
    "kinds", [("video",), ("video", "json", "lines", "csv"), ("pictures", "png")]
)
def test_what_a_run_takes_lies_between_the_figures(
    street: Path, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    summary = run_job(Job(str(street), tmp_path / "out", kinds), segmenter())
    with VideoFile(street) as source:
        figures = room.needed(source, kinds)
    assert figures is not None
    assert figures[0] <= sum(summary.files.values()) <= figures[1] * 1.5


def test_a_source_without_length_is_not_reckoned(street: Path, tmp_path: Path) -> None:
    with VideoFile(street) as source:
        source.frame_count = source.duration = None
        assert room.needed(source, ["video"]) is None
        assert room.check(source, tmp_path, ["video"]) == ""


def test_what_may_not_be_enough_is_told_and_what_cannot_be_is_refused(
    street: Path, tmp_path: Path, free: Callable[[int], None]
) -> None:
    with VideoFile(street) as source:
        figures = room.needed(source, ["video", "lines"])
        assert figures is not None
        free(figures[1] + 1)
        assert room.check(source, tmp_path / "new", ["video", "lines"]) == ""
        free(figures[1] - 1)
        line = room.check(source, tmp_path / "new", ["video", "lines"])
        assert "may not hold the results: about" in line
        free(figures[0] - 1)
        with pytest.raises(SinkError, match=r"will not hold the results: at least .* are needed"):
            room.check(source, tmp_path / "new", ["video", "lines"])


def test_a_warning_is_no_failure_and_a_run_ends_while_its_files_can_be_completed(
    street: Path,
    tmp_path: Path,
    free: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "LOOK_EVERY", 0.0)

    class Told(Watch):
        lines: list[str] = []  # noqa: RUF012

        def note(self, line: str) -> None:
            self.lines.append(line)

        def begin(self, source: Source) -> None:
            figures = room.needed(source, job.kinds)
            assert figures is not None
            free(figures[1] - 1)

    job = Job(str(street), tmp_path / "out", ("json", "lines", "video"))
    summary = run_job(job, segmenter(), Told())
    assert len(Told.lines) == 1
    assert summary.state == "failed"  # a few kilobytes are less than what is kept for the end
    assert "the disk is full but for" in summary.problem
    assert summary.files.keys() == {"results.json", "results.jsonl", "video.mp4"}
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == summary.frames
