"""The studio's routes on a real server."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from sipvideo.web.settings import Person, Settings
from tests.apps.scripted import clip
from tests.studio.runs import SIZE, results, run, straight, write_run
from tests.studio.serving import Running, serving_studio
from tests.waiting import until

FRAMES = 25


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("films") / "street.mp4")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, one in each test."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def studio(runs: Path) -> Iterator[Running]:
    with serving_studio(runs) as running:
        yield running


@pytest.fixture
def key(runs: Path) -> str:
    """A run of two identities that are one object, and of one that is there all the time."""
    name = f"run{len(list(runs.iterdir()))}"
    run(runs / name, {0: straight(0, 10), 3: straight(12, 29), 5: straight(0, 29, top=20)})
    return name


def test_a_run_opens_with_lanes_frames_and_times(studio: Running, key: str) -> None:
    about = studio.get(f"/{key}")
    assert (about["frames"], about["size"], about["identities"]) == (30, list(SIZE), 3)
    assert (about["fps"], about["revision"], about["author"]) == (10.0, 0, "ann")
    assert about["has_video"] is False
    assert about["classes"] == ["person"]
    assert key in [one["id"] for one in studio.get("")]
    lanes = {lane["id"]: lane for lane in studio.get(f"/{key}/tracks")["tracks"]}
    assert lanes[3]["spans"] == [[12, 29]]
    assert (lanes[3]["class"], lanes[3]["frames"], lanes[3]["bins"]) == ("person", 18, [12, 1])
    frames = studio.get(f"/{key}/frames", first=11, count=2)["frames"]
    boxes = [{one["id"]: one["box"] for one in frame["objects"]} for frame in frames]
    assert [sorted(here) for here in boxes] == [[5], [3, 5]]
    assert boxes[1][3] == [12.0, 0.0, 22.0, 8.0]
    times = np.frombuffer(studio.http.get(f"/api/studio/{key}/times").content, "<f4")
    np.testing.assert_allclose(times, np.arange(30) / 10, atol=1e-6)


def test_an_edit_is_answered_with_what_it_changed_and_undone_again(
    studio: Running, key: str
) -> None:
    before = studio.get(f"/{key}/tracks")["tracks"]
    done = studio.post(f"/{key}/edits", base=0, edits=[{"op": "join", "into": 0, "from": 3}])
    assert [lane["id"] for lane in done["tracks"]] == [0]
    assert done["removed"] == [3]
    assert done["edits"][-1]["author"] == "ann"
    assert studio.get(f"/{key}/frames", first=12, count=1)["frames"][0]["objects"][0]["id"] in (
        0,
        5,
    )
    undone = studio.post(f"/{key}/undo", base=done["revision"])
    assert studio.get(f"/{key}/tracks")["tracks"] == before
    studio.post(f"/{key}/redo", base=undone["revision"])
    assert [lane["id"] for lane in studio.get(f"/{key}/tracks")["tracks"]] == [0, 5]
    assert [line["op"] for line in studio.get(f"/{key}/edits", since=1)["edits"]] == [
        "join",
        "undo",
        "redo",
    ]


def test_of_two_windows_one_wins_and_the_other_is_told(studio: Running, key: str) -> None:
    first = studio.post(f"/{key}/edits", base=0, edits=[{"op": "cut", "id": 5, "frame": 9}])
    body = {"base": 0, "edits": [{"op": "delete", "id": 5, "first": 0, "last": 3}]}
    late = studio.http.post(f"/api/studio/{key}/edits", json=body)
    assert late.status_code == 409
    assert late.json()["edits"] == first["edits"]
    assert {lane["id"] for lane in late.json()["tracks"]} == {5, 6}
    assert studio.get(f"/{key}")["revision"] == first["revision"]


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ({"op": "join", "into": 0, "from": 99}, "no identity 99"),
        ({"op": "cut", "id": 0, "frame": 0}, "not on both sides"),
        ({"op": "turn", "id": 0}, "turn"),
        ({"op": "mask", "id": 0, "frame": 1, "mask": {"size": [1, 1], "counts": "11"}}, "mask"),
        ({"op": "mask", "id": 0, "frame": 99, "mask": None}, "no frame 99"),
        ({"op": "relabel", "id": 0, "label": 77}, "no label 77"),
    ],
)
def test_an_edit_that_cannot_be_done_changes_nothing(
    studio: Running, key: str, edit: dict[str, Any], complaint: str
) -> None:
    good = {"op": "swap", "a": 0, "b": 5, "frame": 4}
    before = studio.get(f"/{key}/tracks")
    answer = studio.http.post(f"/api/studio/{key}/edits", json={"base": 0, "edits": [good, edit]})
    assert (answer.status_code, complaint in answer.json()["detail"]) == (422, True), answer.text
    assert studio.get(f"/{key}/tracks") == before
    assert studio.get(f"/{key}/edits")["edits"] == []


def test_other_windows_hear_of_edits_as_they_come(studio: Running, key: str) -> None:
    with studio.http.stream("GET", f"/api/studio/{key}/changes") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data: "))
        studio.post(f"/{key}/edits", base=0, edits=[{"op": "cut", "id": 5, "frame": 9}])
        event = json.loads(next(lines).removeprefix("data: "))
    assert (event["type"], event["revision"]) == ("edits", 2)
    assert {lane["id"] for lane in event["tracks"]} == {5, 6}


def test_pictures_are_those_of_the_frames(studio: Running, runs: Path, film: Path) -> None:
    write_film_run(runs / "filmed", film)
    assert studio.get("/filmed")["video"] == "source"
    with av.open(str(film)) as container:
        wanted = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for number in (7, 8, 24, 23, 3, 4):
        answer = studio.http.get(f"/api/studio/filmed/frame/{number}.jpg")
        found = np.asarray(Image.open(BytesIO(answer.content)).convert("RGB"), np.float32)
        errors = [np.abs(found - picture).mean() for picture in wanted]
        assert int(np.argmin(errors)) == number
    part = studio.http.get("/api/studio/filmed/video", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-type"]) == (206, "video/mp4")
    assert studio.http.get("/api/studio/filmed/frame/25.jpg").status_code == 404


def write_film_run(folder: Path, film: Path) -> Path:
    """A run over a film; its objects are small and still."""
    with av.open(str(film)) as container:
        size = container.streams.video[0].height, container.streams.video[0].width
    found = results({0: straight(0, FRAMES - 1)}, FRAMES, fps=25.0, size=size)
    return write_run(folder, found, str(film))


def test_what_browsers_cannot_decode_gets_a_film_that_they_can(
    studio: Running, runs: Path, film: Path, tmp_path: Path
) -> None:
    other = tmp_path / "street.avi"
    with av.open(str(film)) as source, av.open(str(other), "w") as target:
        stream = target.add_stream("mpeg4", 25)
        stream.height, stream.width = source.streams.video[0].height, source.streams.video[0].width
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    write_film_run(runs / "encoded", other)
    assert studio.http.get("/api/studio/encoded/video").status_code == 202
    until(lambda: studio.http.get("/api/studio/encoded/video").status_code == 200)
    (proxy,) = (runs / "encoded" / ".studio").glob("proxy-*.mp4")
    with av.open(str(proxy)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    np.testing.assert_allclose(times, np.arange(FRAMES) / 25, atol=1e-3)
    assert studio.get("/encoded/tasks")[-1]["state"] == "done"


def test_a_moved_source_is_pointed_to(
    studio: Running, runs: Path, film: Path, tmp_path: Path
) -> None:
    write_film_run(runs / "moved", film)
    (runs / "moved" / "summary.json").write_text('{"version": 2, "input": "gone.mp4"}')
    assert studio.get("/moved")["has_video"] is False
    wrong = studio.http.put("/api/studio/moved/source", json={"source": str(tmp_path / "no.mp4")})
    assert (wrong.status_code, "no such file" in wrong.text) == (422, True)
    right = studio.http.put("/api/studio/moved/source", json={"source": str(film)})
    assert right.json()["video"] == "source"


def test_the_source_of_a_run_with_privacy_is_never_shown(
    studio: Running, runs: Path, film: Path
) -> None:
    folder = write_film_run(runs / "covered", film)
    about = {"version": 2, "input": str(film), "covered": True}
    (folder / "summary.json").write_text(json.dumps(about))
    assert studio.get("/covered")["has_video"] is False
    for path in ("video", "frame/0.jpg"):
        assert studio.http.get(f"/api/studio/covered/{path}").status_code == 404
    (folder / ".studio").mkdir(exist_ok=True)
    (folder / ".studio" / "proxy-0.mp4").write_bytes(film.read_bytes())
    write_run(folder, results({1: straight(0, 3)}, 4), str(film), covered=True)  # made anew
    (folder / "video.mp4").write_bytes(film.read_bytes())
    assert studio.get("/covered")["video"] == "annotated"
    assert studio.http.get("/api/studio/covered/video").content == film.read_bytes()
    answer = studio.http.put("/api/studio/covered/source", json={"source": str(film)})
    assert (answer.status_code, "privacy" in answer.text) == (422, True)


def test_an_edited_run_is_exported_as_a_zip_and_comes_back_as_edits(
    studio: Running, key: str
) -> None:
    done = studio.post(f"/{key}/edits", base=0, edits=[{"op": "join", "into": 0, "from": 3}])
    answer = studio.http.post(
        f"/api/studio/{key}/export", json={"kinds": ["csv"], "format": "cvat"}
    )
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert {"results/objects.csv", "results/summary.json"} <= set(names)
        film = next(name for name in names if name.endswith(".xml"))
        text = archive.read(film).decode()
    query = {"base": done["revision"], "name": "film.xml"}
    same = studio.http.post(f"/api/studio/{key}/import", params=query, content=text)
    assert same.json()["notes"][-1] == "nothing is different from the run"
    changed = text.replace('label="person"', 'label="robot"')
    taken = studio.http.post(f"/api/studio/{key}/import", params=query, content=changed).json()
    assert {lane["class"] for lane in taken["tracks"]} == {"robot"}
    undone = studio.post(f"/{key}/undo", base=taken["revision"])
    assert {lane["class"] for lane in undone["tracks"]} == {"person"}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"kinds": ["video"]}, "is not there, to be drawn on"),
        ({"kinds": ["explain"]}, "only a run itself can make it"),
        ({"format": "run"}, "expected one of"),
        ({}, "expected kinds, a format, or both"),
    ],
)
def test_what_cannot_be_exported_is_told(
    studio: Running, key: str, body: dict[str, Any], complaint: str
) -> None:
    answer = studio.http.post(f"/api/studio/{key}/export", json=body)
    assert (answer.status_code, complaint in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"{"), ("a.xml", b"<x/>"), ("a.zip", b"PK\x03\x04 no"), ("a.bin", b"x")],
)
def test_what_cannot_be_imported_is_told_without_places_of_the_server(
    studio: Running, key: str, name: str, content: bytes
) -> None:
    query = {"base": 0, "name": name}
    answer = studio.http.post(f"/api/studio/{key}/import", params=query, content=content)
    assert (answer.status_code, "/tmp" in answer.text) == (422, False), answer.text
    assert studio.get(f"/{key}")["revision"] == 0


def test_the_video_of_an_export_has_the_edits_drawn_on_the_source(
    studio: Running, runs: Path, film: Path
) -> None:
    write_film_run(runs / "drawn", film)
    studio.post("/drawn/edits", base=0, edits=[{"op": "delete", "id": 0, "first": 5}])
    answer = studio.http.post("/api/studio/drawn/export", json={"kinds": ["video"]})
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        content = archive.read("results/video.mp4")
    with av.open(BytesIO(content)) as drawn, av.open(str(film)) as plain:
        pairs = zip(drawn.decode(video=0), plain.decode(video=0), strict=True)
        differs = [
            np.abs(
                one.to_ndarray(format="rgb24").astype(int) - two.to_ndarray(format="rgb24")
            ).max()
            for one, two in pairs
        ]
    assert min(differs[:5]) > 100 > max(differs[7:])


PEOPLE = {
    "ann-0123456789": Person("ann", frames=(0, 9)),
    "eve-0123456789": Person("eve", edits=False),
}


def test_links_give_people_a_name_a_range_of_frames_or_only_a_look(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", {5: straight(0, 29, top=20)})
    settings = Settings(token="own-0123456789", people=PEOPLE)
    with serving_studio(folder, settings) as team, httpx.Client(base_url=team.address) as ann:
        assert team.http.get("/api/studio").status_code == 401
        delete = {"base": 0, "author": "bob", "edits": [{"op": "delete", "id": 5, "first": 4}]}
        eve = {"authorization": "Bearer eve-0123456789"}
        assert team.http.get("/api/studio/run", headers=eve).json()["editable"] is False
        assert team.http.get("/api/studio", headers=eve).json()[0]["editable"] is False
        assert team.http.post("/api/studio/run/edits", headers=eve, json=delete).status_code == 403
        assert (
            ann.get("/studio?run=run&token=ann-0123456789").headers["location"] == "/studio?run=run"
        )
        about = ann.get("/api/studio/run").json()
        assert (about["author"], about["range"], about["editable"]) == ("ann", [0, 9], True)
        done = ann.post("/api/studio/run/edits", json=delete).json()
        assert done["tracks"][0]["spans"] == [[0, 3], [10, 29]]
        assert done["edits"][-1]["author"] == "ann"
        far = {"op": "mask", "id": 5, "frame": 20, "mask": None}
        refused = ann.post("/api/studio/run/edits", json={"base": 2, "edits": [far]})
        assert (refused.status_code, "not one of 0 to 9" in refused.text) == (422, True)
        own = {"authorization": "Bearer own-0123456789"}
        lines = team.http.get("/api/studio/run/edits", headers=own).json()["edits"]
        assert [line.get("author") for line in lines] == [None, "ann"]
