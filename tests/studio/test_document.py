"""A run with its edits: what holds for any of them, and that none is lost."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError, SinkError
from sipvideo.masks import CompactMasks
from sipvideo.results_reader import SavedRun
from sipvideo.studio import ConflictError, Document, EditError
from sipvideo.studio.log import EDITS
from sipvideo.studio.tracks import lanes, sightings
from tests.studio.runs import CLASSES, SIZE, Course, results, run, straight, write_run

COURSES = {
    0: straight(0, 10),
    1: straight(0, 19, top=10),
    2: straight(4, 14, top=20),
    3: straight(12, 19),
    4: {frame: (frame, 30) for frame in (2, 3, 9, 10, 17)},
}
FRAMES = 20
IDS = st.integers(0, 8)
TIMES = st.integers(0, FRAMES - 1)


def square(x: int, y: int, side: int = 6) -> Json:
    """A mask."""
    crop = np.ones((side, side), bool)
    return CompactMasks.from_crops([crop], [(x, y)], SIZE).rle(0)


MASKS = st.builds(square, st.integers(0, 50), st.integers(0, 40))
EDITS_OF_ALL_KINDS = st.one_of(
    st.builds(lambda a, b: {"op": "join", "into": a, "from": b}, IDS, IDS),
    st.builds(
        lambda a, b, t, u: {"op": "join", "into": a, "from": b, "first": t, "last": u},
        *(IDS, IDS, TIMES, TIMES),
    ),
    st.builds(lambda a, t: {"op": "cut", "id": a, "frame": t}, IDS, TIMES),
    st.builds(lambda a, b, t: {"op": "swap", "a": a, "b": b, "frame": t}, IDS, IDS, TIMES),
    st.builds(
        lambda a, name, t: {"op": "relabel", "id": a, "class": name, "first": t},
        *(IDS, st.sampled_from((*CLASSES, "cat")), TIMES),
    ),
    st.builds(lambda a, t, u: {"op": "delete", "id": a, "first": t, "last": u}, IDS, TIMES, TIMES),
    st.builds(
        lambda a, t, m: {"op": "mask", "id": a, "frame": t, "mask": m},
        *(IDS, TIMES, st.none() | MASKS),
    ),
    st.builds(
        lambda a, ts, m: {"op": "masks", "id": a, "frames": [[t, m] for t in ts]},
        *(IDS, st.sets(TIMES, min_size=1, max_size=4), MASKS),
    ),
    st.builds(lambda t, m: {"op": "create", "label": 1, "frame": t, "mask": m}, TIMES, MASKS),
)
STEPS = st.lists(st.one_of(EDITS_OF_ALL_KINDS, st.sampled_from(("undo", "redo"))), max_size=12)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run; its log is begun anew by each test. The disk is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sipvideo.studio.log.os.fsync", lambda handle: None)
        yield run(tmp_path_factory.mktemp("found") / "run", COURSES, FRAMES)


@pytest.fixture
def folder(found: Path) -> Path:
    return begun_anew(found)


def begun_anew(folder: Path) -> Path:
    (folder / EDITS).unlink(missing_ok=True)
    return folder


def content(document: Document) -> list[Json]:
    """Everything that a document shows, frame by frame."""
    return [
        record | {"objects": sorted(record["objects"], key=lambda one: int(one["track_id"]))}
        for record in document.records()
    ]


def shown_ids(document: Document) -> list[list[int]]:
    """Identities and labels of all objects."""
    seen = sightings(document)
    return [column.tolist() for column in (seen.ids, seen.frames, seen.labels, seen.areas)]


def do(document: Document, *steps: Any) -> int:
    """Does what can be done; gives how many edits were."""
    count = 0
    for step in steps:
        before = shown_ids(document)
        try:
            if step == "undo":
                document.undo(document.revision)
            elif step == "redo":
                document.redo(document.revision)
            else:
                document.edit([step], document.revision)
                count += 1
        except EditError:
            assert shown_ids(document) == before
    return count


QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(STEPS)
def test_whatever_is_done_no_identity_is_twice_in_a_frame_and_the_log_read_again_gives_it(
    found: Path, steps: list[Any]
) -> None:
    document = Document(begun_anew(found))
    do(document, *steps)
    seen = sightings(document)
    pairs = list(zip(seen.ids.tolist(), seen.frames.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    shown = [int(one["track_id"]) for record in document.records() for one in record["objects"]]
    assert sorted(shown) == seen.ids.tolist()
    again = Document(found)
    assert content(again) == content(document)
    assert (lanes(again), again.class_names) == (lanes(document), document.class_names)


@QUICK
@given(st.lists(EDITS_OF_ALL_KINDS, max_size=10))
def test_undo_of_all_gives_the_run_and_redo_of_all_the_edits(
    found: Path, edits: list[Json]
) -> None:
    document = Document(begun_anew(found))
    before = content(document)
    count = do(document, *edits)
    after = content(document)
    for _ in range(count):
        document.undo(document.revision)
    assert content(document) == before
    with pytest.raises(EditError, match="nothing to undo"):
        document.undo(document.revision)
    for _ in range(count):
        document.redo(document.revision)
    assert content(document) == after


def test_the_run_itself_is_never_changed(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    document = Document(folder)
    document.edit([{"op": "join", "into": 0, "from": 3}], 0)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name for name in after if not name.startswith(".")} - before.keys() == {EDITS}
    assert {name: after[name] for name in before} == before


def test_where_two_identities_that_are_joined_meet_the_higher_score_stays(tmp_path: Path) -> None:
    courses = {0: straight(0, 9), 1: straight(5, 14, top=20)}
    document = Document(write_run(tmp_path, results(courses, 15, scores={0: 0.4, 1: 0.8})))
    change = document.edit([{"op": "join", "into": 0, "from": 1}], 0)
    assert change.notes == ["0 and 1 were both in 5 frames: the higher score stays"]
    tops = [float(result.detections.boxes[0, 1]) for result in document.results()]
    assert tops == [0.0] * 5 + [20.0] * 10


def test_what_another_process_wrote_is_taken_up_and_a_late_edit_is_told(folder: Path) -> None:
    mine, theirs = Document(folder), Document(folder)
    theirs.edit([{"op": "cut", "id": 1, "frame": 9}], 0, "bob")
    with pytest.raises(ConflictError) as told:
        mine.edit([{"op": "delete", "id": 1}], 0, "ann")
    assert [line["op"] for line in told.value.change.lines] == ["begin", "cut"]
    assert told.value.change.touched == {1, 5}
    assert content(mine) == content(theirs)


def test_undo_is_of_ones_own_edits_whatever_others_did_since(folder: Path) -> None:
    document = Document(folder)
    document.edit([{"op": "relabel", "id": 1, "label": 0, "class": "dog"}], 0, "ann")
    document.edit([{"op": "delete", "id": 0}], document.revision, "bob")
    document.undo(document.revision, "ann")
    assert [lane["class"] for lane in lanes(document)] == ["person"] * 4
    assert {lane["id"] for lane in lanes(document)} == {1, 2, 3, 4}
    with pytest.raises(EditError, match="nothing to undo"):
        document.undo(document.revision, "ann")


def test_edits_sent_together_are_undone_together(folder: Path) -> None:
    document = Document(folder)
    edits = [{"op": "join", "into": 0, "from": 3}, {"op": "relabel", "id": 0, "class": "car"}]
    change = document.edit(edits, 0)
    assert change.lines[-1]["with"] == change.lines[-2]["n"]
    document.undo(document.revision)
    assert len(lanes(document)) == len(COURSES)


def renumbered(courses: dict[int, Course], numbers: dict[int, int]) -> dict[int, Course]:
    return {numbers[key]: course for key, course in courses.items()}


def test_edits_are_found_again_in_a_run_made_anew_with_other_numbers(
    folder: Path, tmp_path: Path
) -> None:
    document = Document(folder)
    do(
        document,
        {"op": "join", "into": 0, "from": 3},
        {"op": "cut", "id": 1, "frame": 9},
        {"op": "relabel", "id": 5, "class": "cat"},
        {"op": "create", "label": 2, "frame": 3, "mask": square(40, 5)},
        {"op": "mask", "id": 6, "frame": 4, "mask": square(41, 5)},
        {"op": "delete", "id": 4},
    )
    others = {0: 7, 1: 5, 2: 0, 3: 6, 4: 1}
    again = run(tmp_path / "again", renumbered(COURSES, others), FRAMES)
    (again / EDITS).write_bytes((folder / EDITS).read_bytes())
    replayed = Document(again)
    assert replayed.notes == []
    shown = [(lane["class"], lane["spans"]) for lane in lanes(document)]
    assert sorted((lane["class"], lane["spans"]) for lane in lanes(replayed)) == sorted(shown)
    replayed.edit([{"op": "delete", "id": 7, "first": 0, "last": 3}], replayed.revision)
    assert content(Document(again)) == content(replayed)


def test_an_edit_whose_object_is_gone_is_told_and_passed_over(folder: Path, tmp_path: Path) -> None:
    document = Document(folder)
    do(document, {"op": "delete", "id": 2}, {"op": "join", "into": 0, "from": 3})
    without = {key: course for key, course in COURSES.items() if key != 2}
    again = run(tmp_path / "again", without, FRAMES)
    (again / EDITS).write_bytes((folder / EDITS).read_bytes())
    replayed = Document(again)
    assert replayed.notes == ["edit 2 (delete) is not applied: object 2 is not found in frame 9"]
    assert {lane["id"] for lane in lanes(replayed)} == {0, 1, 4}


def test_a_line_that_was_cut_off_is_dropped_and_writing_goes_on(folder: Path) -> None:
    document = Document(folder)
    document.edit([{"op": "cut", "id": 1, "frame": 9}], 0)
    with (folder / EDITS).open("ab") as file:
        file.write(b'{"n": 3, "op": "del')
    again = Document(folder)
    assert content(again) == content(document)
    again.edit([{"op": "delete", "id": 0}], again.revision)
    lines = [json.loads(line) for line in (folder / EDITS).read_text().splitlines()]
    assert [(line["n"], line["op"]) for line in lines] == [(1, "begin"), (2, "cut"), (3, "delete")]


def _edit_for_ever(folder: Path, told: Any) -> None:
    document = Document(folder)
    while True:
        document.edit([{"op": "swap", "a": 0, "b": 1, "frame": 3}], document.revision)
        told.send(document.revision)


def test_no_edit_that_was_answered_is_lost_by_a_kill(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_edit_for_ever, args=(folder, sender))
    process.start()
    answered = 0
    while answered < 5:
        answered = receiver.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    sender.close()
    with contextlib.suppress(EOFError):
        while True:
            answered = receiver.recv()
    document = Document(folder)
    assert document.revision in (answered, answered + 1)
    document.edit([{"op": "delete", "id": 0}], document.revision)
    assert content(Document(folder)) == content(document)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fsync finds no room."""

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sipvideo.studio.log.os.fsync", fail)
        yield


def test_an_edit_that_finds_no_room_is_none(folder: Path, request: pytest.FixtureRequest) -> None:
    document = Document(folder)
    document.edit([{"op": "cut", "id": 1, "frame": 9}], 0)
    before, log = content(document), (folder / EDITS).read_bytes()
    request.getfixturevalue("full_disk")
    with pytest.raises(SinkError, match="No space left"):
        document.edit([{"op": "delete", "id": 0}], document.revision)
    assert (content(document), (folder / EDITS).read_bytes()) == (before, log)


def test_a_damaged_log_is_told_with_its_line(folder: Path) -> None:
    (folder / EDITS).write_text('{"n": 1, "op": "begin", "run": "x"}\n{"n": 2}\n')
    with pytest.raises(DatasetError, match=r"edits\.jsonl: line 2"):
        Document(folder)


def test_the_index_is_made_anew_when_the_run_was(tmp_path: Path) -> None:
    first = Document(run(tmp_path / "run", COURSES, FRAMES))
    assert first.index.is_current
    run(tmp_path / "run", {9: straight(0, 4)}, 5)
    assert not first.index.is_current
    assert [lane["id"] for lane in lanes(Document(tmp_path / "run"))] == [9]


def test_a_run_that_has_only_tracks_can_be_edited(tmp_path: Path) -> None:
    from sipvideo.sinks import YouTubeVISResults

    found = results(COURSES, FRAMES)
    with YouTubeVISResults(tmp_path / "results.json") as sink:
        for result in found:
            sink.write(result)
    document = Document(tmp_path)
    assert len(lanes(document)) == len(COURSES)
    assert "no table beside it" in document.notes[0]
    document.edit([{"op": "join", "into": 0, "from": 1}], 0)
    assert content(Document(tmp_path)) == content(document)


def test_without_edits_the_results_are_those_of_the_run(folder: Path) -> None:
    for ours, theirs in zip(Document(folder).results(), SavedRun(folder).results(), strict=True):
        assert ours.track_ids.tolist() == theirs.track_ids.tolist()
        np.testing.assert_array_equal(ours.detections.boxes, theirs.detections.boxes)
        assert ours.detections.masks.areas().tolist() == theirs.detections.masks.areas().tolist()
