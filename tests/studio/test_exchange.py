"""An edited run goes out in every form, and work done elsewhere comes back as edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError
from sipvideo.exchange import Collection, Request, Target, read
from sipvideo.exchange.formats import FORMATS
from sipvideo.results_reader import SavedRun
from sipvideo.studio import Document
from sipvideo.studio.exporting import export_format, export_kinds
from sipvideo.studio.importing import edits_of, import_run
from sipvideo.studio.tracks import lanes
from tests.studio.runs import SIZE, run, straight
from tests.studio.test_document import content, square

FRAMES = 20
COURSES = {0: straight(0, 9), 3: straight(12, 19), 5: straight(0, 19, top=20)}
THERE_AND_BACK = ("ytvis", "coco", "mots", "davis", "cvat")


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """Two of three identities are joined, one mask is drawn, one object is gone."""
    found = Document(run(tmp_path / "run", COURSES, FRAMES))
    found.edit(
        [
            {"op": "join", "into": 0, "from": 3},
            {"op": "relabel", "id": 5, "class": "dog"},
            {"op": "mask", "id": 0, "frame": 10, "mask": square(10, 1, 8)},
            {"op": "delete", "id": 5, "first": 0, "last": 1},
        ],
        0,
    )
    return found


def shown(document: Document) -> list[Json]:
    """Identities by frame, with class and mask, whatever their numbers."""
    numbers = {lane["id"]: k for k, lane in enumerate(lanes(document))}
    found = []
    for record in content(document):
        for one in record["objects"]:
            mask = one["segmentation"]["counts"]
            found.append([record["frame"], numbers[one["track_id"]], one["class_name"], mask])
    return sorted(found)


def test_results_of_every_kind_have_the_edits(document: Document, tmp_path: Path) -> None:
    kinds = ("json", "lines", "mots", "png", "csv")
    assert export_kinds(document, tmp_path / "out", kinds) == []
    back = Document(tmp_path / "out")
    assert shown(back) == shown(document)
    assert set(kinds) <= set(SavedRun(tmp_path / "out").kinds)
    again = list(SavedRun(tmp_path / "out").results())
    assert [len(result.track_ids) for result in again][:3] == [1, 1, 2]


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [(("explain",), "only a run itself"), (("video",), "is not there, to be drawn on")],
)
def test_what_cannot_be_made_is_told(
    document: Document, tmp_path: Path, kinds: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(SipVideoError, match=complaint):
        export_kinds(document, tmp_path / "out", kinds)


def test_the_results_that_were_edited_are_not_overwritten(document: Document) -> None:
    with pytest.raises(SipVideoError, match="stay as they are"):
        export_kinds(document, document.folder, ("lines",))


@pytest.mark.parametrize("kind", THERE_AND_BACK)
def test_what_comes_back_as_it_went_is_no_edit(
    document: Document, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / kind
    out.mkdir()
    export_format(document, out, kind)
    assert edits_of(document, out, kind)[0] == []


def changed_elsewhere(folder: Path, kind: str, target: Path) -> Path:
    """Somebody gives an object's end to the other, removes it in two frames, draws a mask, and adds an object."""
    found: Collection = read(Request(folder), kind)
    film = found.films[0]
    one, two = film.tracks
    for frame in range(15, FRAMES):
        one.shapes[frame], two.shapes[frame] = two.shapes[frame], one.shapes[frame]
    for frame in (6, 7):
        del two.shapes[frame]
    drawn: Any = type(one.shapes[3])(square(2, 2, 9))
    one.shapes[3] = drawn
    more = type(one)(9, one.category, {frame: type(drawn)(square(40, 30)) for frame in range(4)})
    film.tracks.append(more)
    target.mkdir()
    write = FORMATS[kind].write
    assert write is not None
    write(found, Target(target, 1.0, None))
    return target


@pytest.mark.parametrize("kind", THERE_AND_BACK)
def test_work_done_elsewhere_comes_back_as_edits_that_are_undone_at_once(
    document: Document, tmp_path: Path, kind: str
) -> None:
    before = content(document)
    (tmp_path / "out").mkdir()
    export_format(document, tmp_path / "out", kind)
    changed = changed_elsewhere(tmp_path / "out", kind, tmp_path / "changed")
    document.edit(edits_of(document, changed, kind)[0], document.revision)
    # Sent out again it is what came in.
    (tmp_path / "again").mkdir()
    export_format(document, tmp_path / "again", kind)
    assert masks(tmp_path / "again", kind) == masks(changed, kind)
    document.undo(document.revision)
    assert content(document) == before


def masks(folder: Path, kind: str) -> list[tuple[int, list[tuple[int, int]]]]:
    """Frames and areas of each object, whatever their order."""
    film = read(Request(folder), kind).films[0]
    found = []
    for track in film.tracks:
        areas = []
        for frame, shape in sorted(track.shapes.items()):
            mask: Any = shape.segmentation
            if isinstance(mask, list):
                mask = coco_mask.merge(coco_mask.frPyObjects(mask, *SIZE))
            areas.append((frame, int(coco_mask.area(mask))))
        found.append((len(areas), areas))
    return sorted(found)


def test_a_film_of_another_size_is_refused(document: Document, tmp_path: Path) -> None:
    other = Document(run(tmp_path / "other", COURSES, FRAMES + 5))
    (tmp_path / "out").mkdir()
    export_format(other, tmp_path / "out", "coco")
    with pytest.raises(SipVideoError, match="has 25 frames"):
        edits_of(document, tmp_path / "out")


def test_annotations_of_another_program_become_a_run(document: Document, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_format(document, tmp_path / "out", "ytvis")
    import_run(tmp_path / "out" / "instances.json", tmp_path / "imported", "film.mp4")
    imported = Document(tmp_path / "imported")
    assert shown(imported) == shown(document)
    np.testing.assert_allclose(imported.index.columns.times, np.arange(FRAMES) / 10, atol=1e-6)
    assert SavedRun(tmp_path / "imported").source == "film.mp4"
