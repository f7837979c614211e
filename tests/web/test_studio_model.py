"""The studio's routes that ask the model, on a real server with the model that comes along and a real film."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sipvideo.build import load, packaged_weights
from sipvideo.masks import CompactMasks, from_rles
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sinks import CocoRleLines
from sipvideo.sources import open_source
from sipvideo.studio.anew import make_anew
from sipvideo.studio.document import Document
from sipvideo.studio.learning import Course, is_better, learn
from sipvideo.studio.lessons import lessons
from sipvideo.studio.shelf import Studio, places_in
from sipvideo.studio.tasks import CancelledError, Task
from sipvideo.studio.video import RunVideo
from sipvideo.summary import Summary
from sipvideo.web import studio_masks
from tests.studio.serving import Running, serving_studio
from tests.waiting import until

FILM = Path("examples/pedestrians.mp4").resolve()
FRAMES = 12


@pytest.fixture(scope="module")
def segmenter() -> VideoSegmenter:
    return load(device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, segmenter: VideoSegmenter) -> Path:
    """The run of the first frames of a film, and one whose film is not there."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("walk", "blind"):
        (folder / name).mkdir()
    with (
        open_source(str(FILM)) as source,
        CocoRleLines(folder / "walk/results.jsonl", segmenter.class_names) as sink,
    ):
        for result, _ in zip(segmenter.run(source), range(FRAMES), strict=False):
            sink.write(result)
    Summary(input=str(FILM), state="complete", frames=FRAMES).write(folder / "walk")
    lines = (folder / "walk/results.jsonl").read_text()
    (folder / "blind/results.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def studio(runs: Path, segmenter: VideoSegmenter) -> Iterator[Running]:
    with serving_studio(runs, load=lambda: segmenter) as running:
        yield running


def largest(studio: Running, frame: int = 0) -> dict[str, Any]:
    """The largest object of a frame."""
    [found] = studio.get("/walk/frames", first=frame, count=1)["frames"]
    areas = [
        (one["box"][2] - one["box"][0]) * (one["box"][3] - one["box"][1])
        for one in found["objects"]
    ]
    one: dict[str, Any] = found["objects"][int(np.argmax(areas))]
    return one


def mask_of(answer: dict[str, Any]) -> CompactMasks:
    return from_rles([answer["mask"]], tuple(answer["mask"]["size"]))


def finished(studio: Running, key: str, task: int) -> dict[str, Any]:
    """A task once it has ended."""

    def it() -> dict[str, Any]:
        return next(one for one in studio.get(f"/{key}/tasks") if one["task"] == task)

    until(lambda: it()["state"] in ("done", "failed", "cancelled"))
    return it()


def test_clicks_change_a_mask_and_edit_nothing(studio: Running) -> None:
    one, revision = largest(studio), studio.get("/walk")["revision"]
    before = studio.post("/walk/refine", frame=0, id=one["id"])
    assert mask_of(before).iou(mask_of(one))[0, 0] == 1
    ys, xs = np.nonzero(mask_of(one).dense(0))
    low = int(np.argmax(ys))
    click = [float(xs[low]), float(ys[low]) - 2, 0]
    after = studio.post("/walk/refine", frame=0, id=one["id"], clicks=[click])
    assert not mask_of(after).dense(0)[int(click[1]), int(click[0])]
    assert studio.get("/walk")["revision"] == revision
    x0, y0, x1, y1 = one["box"]
    new = studio.post("/walk/refine", frame=0, box=[x0 + 1, y0 - 1, x1, y1 + 1])
    assert mask_of(new).iou(mask_of(one))[0, 0] > 0.8
    assert new["label"] == one["label"]


def test_a_second_click_counts_from_the_mask_before_the_first_one(studio: Running) -> None:
    one = largest(studio, 2)
    ys, xs = np.nonzero(mask_of(one).dense(0))
    low, high = int(np.argmax(ys)), int(np.argmin(ys))
    clicks = [[float(xs[low]), float(ys[low]) - 2, 0], [float(xs[high]), float(ys[high]) + 2, 1]]
    wish = {"frame": 2, "id": one["id"]}
    at_once = studio.post("/walk/refine", **wish, clicks=clicks)["mask"]
    studio.post("/walk/refine", **wish)  # the tool is taken up anew
    first = studio.post("/walk/refine", **wish, clicks=clicks[:1])["mask"]
    edit = {"op": "mask", **wish, "mask": first}
    revision = studio.get("/walk")["revision"]
    studio.post("/walk/edits", base=revision, edits=[edit])
    assert studio.post("/walk/refine", **wish, clicks=clicks)["mask"] == at_once
    studio.post("/walk/undo", base=studio.get("/walk")["revision"])


@pytest.mark.parametrize(
    ("key", "body", "status", "words"),
    [
        ("walk", {"frame": 99, "id": 0}, 404, "no such frame"),
        ("walk", {"frame": 0}, 422, "expected a mask, a box"),
        ("blind", {"frame": 0, "clicks": [[1, 1, 1]]}, 404, "not there"),
    ],
)
def test_clicks_in_vain_are_answered_with_why(
    studio: Running, key: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = studio.http.post(f"/api/studio/{key}/refine", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_a_mended_mask_is_carried_as_one_edit_that_can_be_undone(studio: Running) -> None:
    one = largest(studio)
    mask = mask_of(one).dense(0)
    mask[: int((one["box"][1] + one["box"][3]) / 2)] = False  # so that the run's own does not agree
    rle = CompactMasks.from_dense(mask[None]).rle(0)
    revision = studio.get("/walk")["revision"]
    edit = {"op": "mask", "id": one["id"], "frame": 0, "mask": rle}
    mended = studio.post("/walk/edits", base=revision, edits=[edit])
    task = studio.post("/walk/propagate", frame=0, id=one["id"], direction=1, until=4)
    told = finished(studio, "walk", task["task"])
    assert told["state"] == "done", told
    assert "carried to 3 frames" in told["detail"]
    [line] = studio.get("/walk/edits", since=mended["revision"])["edits"]
    assert (line["op"], [n for n, _ in line["frames"]]) == ("masks", [1, 2, 3])
    for _ in range(2):
        studio.post("/walk/undo", base=studio.get("/walk")["revision"])
    assert largest(studio, 1)["edited"] is False


def test_a_run_is_scored_with_its_edits_as_the_truth(studio: Running) -> None:
    one = largest(studio)
    base = studio.get("/walk")["revision"]
    delete = {"op": "delete", "id": one["id"], "first": 0, "last": FRAMES - 1}
    studio.post("/walk/edits", base=base, edits=[delete])
    told = finished(studio, "walk", studio.post("/walk/score")["task"])
    assert told["result"]["truth"] == "edits"
    assert told["result"]["before"]["hota"] < told["result"]["after"]["hota"] == 1
    studio.post("/walk/undo", base=studio.get("/walk")["revision"])


def test_there_is_nothing_to_learn_from_few_frames(studio: Running) -> None:
    told = finished(studio, "walk", studio.post("/walk/learn")["task"])
    assert told["state"] == "failed"
    assert "at least 6 are needed" in told["detail"]
    assert studio.get("/walk/learn")["state"] == "failed"


def taught(studio: Running, key: str) -> None:
    """Stands for a training: the model that comes along is what was learnt."""
    result = {"weights": str(packaged_weights()), "better": True}
    finished(studio, key, studio.studio.tasks.start(key, "learn", lambda task: result).id)


def test_a_run_made_anew_stands_beside_it_with_the_edits_that_were_found_again(
    studio: Running, runs: Path
) -> None:
    refused = studio.http.post("/api/studio/walk/anew", json={})
    assert "train first" in refused.json()["detail"]
    taught(studio, "walk")
    one = largest(studio)
    edits = [
        {"op": "relabel", "id": one["id"], "class": "runner"},
        {"op": "delete", "id": one["id"], "first": 0, "last": 3},
    ]
    studio.post("/walk/edits", base=studio.get("/walk")["revision"], edits=edits)
    told = finished(studio, "walk", studio.post("/walk/anew", edits=True)["task"])
    assert told["state"] == "done", told
    assert told["result"] == {"run": "walk-anew", "edits": [2, 2]}
    assert "walk-anew" in [run["id"] for run in studio.get("")]
    new = studio.get("/walk-anew")
    assert (new["frames"], new["video"]) == (FRAMES, "source")
    assert "runner" in new["classes"]
    told = finished(studio, "walk", studio.post("/walk/anew")["task"])
    assert told["result"] == {"run": "walk-anew2", "edits": [0, 0]}
    assert not [path for path in runs.iterdir() if path.name.startswith(".")]
    # The folder of the run alone was opened: its neighbours are found all the same.
    shelf = Studio(lambda: places_in(runs / "walk"))
    assert [run["id"] for run in shelf.runs()] == ["walk", "walk-anew", "walk-anew2"]
    studio.post("/walk/undo", base=studio.get("/walk")["revision"])


def test_a_run_with_privacy_and_one_without_its_film_are_not_made_anew(
    studio: Running, runs: Path
) -> None:
    shutil.copytree(runs / "walk", runs / "veiled")
    summary = Summary(input=str(FILM), state="complete", frames=FRAMES, covered=True)
    summary.write(runs / "veiled")
    for key, words in (("veiled", "privacy"), ("blind", "not there")):
        taught(studio, key)
        answer = studio.http.post(f"/api/studio/{key}/anew", json={})
        assert answer.status_code == 422
        assert words in answer.json()["detail"]
        assert not (runs / f"{key}-anew").exists()


def test_making_a_run_anew_that_is_cancelled_leaves_nothing(
    runs: Path, segmenter: VideoSegmenter, tmp_path: Path
) -> None:
    shutil.copytree(runs / "walk", tmp_path / "walk")
    document = Document(tmp_path / "walk")

    def stop(task: Task) -> None:
        if task.done >= 2:
            task.stop.set()

    task = Task(1, "walk", "anew", changed=stop)
    with pytest.raises(CancelledError):
        make_anew(document, RunVideo(document.index), segmenter, task, edits=False)
    assert [path.name for path in tmp_path.iterdir()] == ["walk"]


@pytest.mark.parametrize(
    ("after", "lost", "better"), [(0.504, 0, False), (0.505, 0.01, True), (0.6, 0.02, False)]
)
def test_a_learnt_model_is_offered_only_if_it_is_better_by_more_than_rounding(
    after: float, lost: float, better: bool
) -> None:
    def figures(mask: float, box: float) -> dict[str, float]:
        return {"mask_ap": mask, "box_ap": box}

    held = {"before": figures(0.5, 0.5), "after": figures(after, 0.5)}
    kept = {"before": figures(0.4, 0.5), "after": figures(0.4, 0.5 - lost)}
    assert is_better(held, kept) is better


def test_a_server_that_ends_while_doubts_are_looked_for_says_nothing(
    runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Two seconds: the server waits one for its answers before it cuts them off.
    asked = threading.Event()

    def slow(*_: Any) -> list[Any]:
        asked.set()
        time.sleep(1.5)
        return []

    monkeypatch.setattr(studio_masks, "doubts_of", slow)
    with serving_studio(runs) as running:

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                running.get("/blind/doubts")

        asking = threading.Thread(target=ask)
        asking.start()
        assert asked.wait(30)
    asking.join()
    assert caplog.records == []


def test_corrected_frames_are_learnt_and_measured_on_those_held_out(
    runs: Path, tmp_path: Path
) -> None:
    # Ten seconds: the only test of a training from the studio, in a process of its own with PyTorch.
    shutil.copytree(runs / "blind", tmp_path / "run")
    document = Document(tmp_path / "run")
    for frame in range(9):
        record = next(document.records(frame, 1))
        one = record["objects"][0]
        edit = {"op": "mask", "id": one["track_id"], "frame": frame, "mask": one["segmentation"]}
        document.edit([edit], document.revision)
    with open_source(str(FILM)) as source:
        images = [frame.image for frame, _ in zip(source, range(FRAMES), strict=False)]
    told: list[float] = []

    def progress(share: float, what: str) -> None:
        told.append(share)

    found = lessons(document, lambda n: images[n], tmp_path / "lessons", progress)
    assert found.counts[0] == 6
    assert found.counts[2] == 3
    held = json.loads(found.held_out.read_text())
    by_picture = [
        sum(1 - one["iscrowd"] for one in held["annotations"] if one["image_id"] == image["id"])
        for image in held["images"]
    ]
    assert by_picture == [1, 1, 1]
    course = Course("nano", steps=1)
    result = learn(found, course, tmp_path / "learnt", progress, threading.Event())
    assert Path(result["weights"]).is_file()
    assert result["held_out"]["before"]["pictures"] == 3
    assert result["held_out"]["before"]["mask_ap"] > 0.5
    assert result["kept"] is None
    assert max(told) <= 1
