"""Tables of tracks as CSV and Parquet."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from sipvideo import sinks
from sipvideo.errors import SinkError
from sipvideo.sinks import (
    TrackTable,
)
from tests.sinks.runs import (
    NAMES,
    SIZE,
    one_result,
    random_run,
    write_all,
)


def test_the_table_reads_back_to_the_same_numbers(tmp_path: Path) -> None:
    run = random_run(3)
    write_all(TrackTable(tmp_path / "a.csv", NAMES), run)
    write_all(TrackTable(tmp_path / "a.parquet", NAMES), run)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert list(rows[0]) == table.column_names
    wanted = [(r, k) for r in run for k in range(len(r.track_ids)) if r.track_ids[k] >= 0]
    assert len(rows) == table.num_rows == len(wanted)
    for row, stored, (result, k) in zip(rows, table.to_pylist(), wanted, strict=True):
        detections = result.detections
        assert int(row["label"]) == stored["label"] == detections.labels[k]
        assert row["class_name"] == stored["class_name"] == NAMES[detections.labels[k]]
        assert np.float32(row["score"]) == np.float32(stored["score"]) == detections.scores[k]
        box = [np.float32(row[name]) for name in ("x0", "y0", "x1", "y1")]
        assert box == [stored[name] for name in ("x0", "y0", "x1", "y1")]
        assert np.array_equal(box, detections.boxes[k])


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks.table, "ROW_GROUP", 5)
    run = [one_result([1, 2], [np.ones(SIZE, bool)] * 2, k) for k in range(6)]
    write_all(TrackTable(tmp_path / "a.parquet"), run)
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sum(sizes) == 12
    assert len(sizes) >= 2
    assert max(sizes) <= 6


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SinkError, match=r"a\.parquet: pyarrow is not installed: pip install"):
        TrackTable(tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
