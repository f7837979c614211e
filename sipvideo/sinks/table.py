"""One row per tracked object and frame, as CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.errors import SinkError
from sipvideo.extras import absence
from sipvideo.sinks.results import class_name
from sipvideo.sinks.sink import Kept, Mark, Sink, cut_to_whole_lines, replacing
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
    "returned": "float32",
}
ROW_GROUP = 50_000


class TrackTable(Sink):
    """A table of tracks; the ending of the name chooses the format.

    Columns: frame, timestamp (seconds), track_id, label, class_name, score, x0, y0, x1, y1 (frame pixels, x1 and y1
    exclusive), mask_area (pixels), filled (1: put in afterwards, else 0), returned (seconds that an identity was
    away which came back just now, else 0). Untracked objects are left out. Floats read back to the same 32 bits.

    Args:
        path: ``.csv``, or ``.parquet`` (needs pyarrow).
        class_names: names in label order.
    """

    def __init__(
        self, path: str | Path, class_names: Sequence[str] = (), *, mark: Mark | None = None
    ) -> None:
        suffix = Path(path).suffix.lower()
        if suffix not in (".csv", ".parquet"):
            raise SinkError(f"{path}: expected a name ending in .csv or .parquet")
        if suffix == ".parquet":
            _pyarrow(path)
        super().__init__(path, mark=mark)
        self._class_names = class_names
        self._rows = csv.writer(self._open_text(), lineterminator="\n")
        if mark is None:
            with self._guarded():
                self._rows.writerow(COLUMNS)

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
            row.append(np.float32(result.seconds_away(k)))
            # The shortest digits that read back alike.
            self._rows.writerow([str(value) for value in row])

    def _finish(self) -> None:
        pass

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        cut_to_whole_lines(partial)
        if path.suffix.lower() == ".parquet":
            with replacing(path) as new:
                _to_parquet(partial, new)
            if not keep:
                partial.unlink()
        else:
            super().assemble(partial, path, keep=keep)
        return Kept()


def _to_parquet(table: Path, path: Path) -> None:
    """A table of ours in the other format, piece by piece."""
    arrow = _pyarrow(path)
    import pyarrow.csv
    import pyarrow.parquet

    kinds = {name: arrow.type_for_alias(kind) for name, kind in COLUMNS.items()}
    # No text stands for a missing value: a class may have any name.
    convert = pyarrow.csv.ConvertOptions(
        column_types=kinds, null_values=[], strings_can_be_null=False
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    schema = arrow.schema(list(kinds.items()))
    with (
        pyarrow.parquet.ParquetWriter(path, schema) as writer,
        pyarrow.csv.open_csv(table, convert_options=convert, parse_options=parse) as batches,
    ):
        waiting: list[Any] = []
        for batch in batches:
            waiting.append(batch)
            if sum(one.num_rows for one in waiting) >= ROW_GROUP:
                writer.write_table(arrow.Table.from_batches(waiting, schema), ROW_GROUP)
                waiting = []
        if waiting:
            writer.write_table(arrow.Table.from_batches(waiting, schema), ROW_GROUP)


def _pyarrow(path: str | Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise SinkError(f"{path}: {absence('pyarrow')}") from error
    return pyarrow
