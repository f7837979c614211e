"""One row per tracked object and frame, as CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from sipvideo.errors import SinkError
from sipvideo.sinks.results import class_name
from sipvideo.sinks.sink import Sink
from sipvideo.structures import FrameResult

COLUMNS = {
    "frame": "int64",
    "timestamp": "float64",
    "track_id": "int64",
    "label": "int64",
    "class_name": "string",
    "score": "float32",
    "x0": "float32",
    "y0": "float32",
    "x1": "float32",
    "y1": "float32",
    "mask_area": "int64",
    "filled": "int8",
}
ROW_GROUP = 50_000


class TrackTable(Sink):
    """A table of tracks; the ending of the name chooses the format.

    Columns: frame, timestamp (seconds), track_id, label, class_name, score, x0, y0, x1, y1 (frame pixels, x1 and y1
    exclusive), mask_area (pixels), filled (1: put in afterwards, else 0). Untracked objects are left out. Floats read
    back to the same 32 bits.

    Args:
        path: ``.csv``, or ``.parquet`` (needs pyarrow).
        class_names: names in label order.
    """

    def __init__(self, path: str | Path, class_names: Sequence[str] = ()) -> None:
        suffix = Path(path).suffix.lower()
        if suffix not in (".csv", ".parquet"):
            raise SinkError(f"{path}: expected a name ending in .csv or .parquet")
        arrow = _pyarrow(path) if suffix == ".parquet" else None
        super().__init__(path)
        self._class_names = class_names
        if arrow is None:
            self._table: _Csv | _Parquet = _Csv(self._open_text())
        else:
            with self._guarded():
                self._table = _Parquet(self._partial, arrow)
            self._handles.callback(self._table.close)

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        detections, frame = result.detections, result.frame
        areas = detections.masks.areas()
        for k, track_id in enumerate(result.track_ids.tolist()):
            label = int(detections.labels[k])
            name = class_name(self._class_names, label)
            row = [frame.index, frame.timestamp, track_id, label, name]
            filled = result.filled is not None and bool(result.filled[k])
            row += [detections.scores[k], *detections.boxes[k], int(areas[k]), int(filled)]
            self._table.add(row)

    def _finish(self) -> None:
        self._table.flush()


class _Csv:
    def __init__(self, file: IO[str]) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, row: list[Any]) -> None:
        self._rows.writerow(
            [str(value) for value in row]
        )  # the shortest digits that read back alike

    def flush(self) -> None:
        """Nothing waits here."""


class _Parquet:
    def __init__(self, path: Path, arrow: Any) -> None:
        import pyarrow.parquet

        self._arrow = arrow
        self._schema = arrow.schema(
            [(name, arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()]
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[list[Any]] = []

    def add(self, row: list[Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(COLUMNS)
        arrays = [self._arrow.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        self._writer.close()


def _pyarrow(path: str | Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise SinkError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow
