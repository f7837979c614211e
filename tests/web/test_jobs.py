from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from sipvideo.errors import SourceError
from sipvideo.sources import VideoFile
from sipvideo.web import uploads
from sipvideo.web.containers import FFMPEG_OPTIONS
from sipvideo.web.jobs import Job, Jobs, shown_name
from sipvideo.web.settings import Settings
from tests.apps.scripted import clip, shots
from tests.media import Tone, picture, write_video
from tests.sources.test_choice import FILM, STILL, write_streams
from tests.waiting import PATIENCE, until
from tests.web.serving import Running, segmenter, serving

FRAMES = 25
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def frames_of(content: bytes) -> int:
    with av.open(BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


def files_in(folder: Path) -> set[str]:
    # Unlike rglob, walk passes over folders that the server removes meanwhile.
    return {os.path.join(where, name) for where, _, names in os.walk(folder) for name in names}


def remux(source: Path, target: Path, options: dict[str, str] | None = None) -> None:
    """The same pictures in another container."""
    with av.open(str(source)) as film, av.open(str(target), "w", options=options or {}) as copy:
        stream = copy.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)


@pytest.fixture
def long_film(tmp_path: Path) -> Path:
    return clip(tmp_path / "long.mp4", 4.0)


@pytest.fixture
def slow() -> Iterator[Running]:
    """Takes a fifth of a second per frame, and one video at a time."""
    with serving(Settings(max_jobs=1), delay=0.2) as running:
        yield running


def test_an_upload_becomes_results_to_download_and_play(server: Running, street: Path) -> None:
    answer = server.upload(street)
    assert answer.status_code == 201
    key = answer.json()["id"]
    assert answer.headers["location"] == f"/api/jobs/{key}"
    job = server.wait(key, "done")
    assert (job["name"], job["frames"], job["tracks"]) == ("street.mp4", FRAMES, 2)
    assert job["expires"] > time.time()

    files = {file["name"]: server.http.get(file["url"]) for file in job["results"]}
    assert files.keys() == {"video.mp4", "results.json", "results.jsonl", "objects.csv"}
    assert frames_of(files["video.mp4"].content) == FRAMES
    assert files["video.mp4"].headers["content-type"] == "video/mp4"
    assert len(json.loads(files["results.json"].content)) == 2
    assert len(files["results.jsonl"].text.splitlines()) == FRAMES

    part = server.http.get(job["results"][0]["url"], headers={"range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)
    packed = server.http.get(job["archive"])
    with zipfile.ZipFile(BytesIO(packed.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: file.content for name, file in files.items()
        }
    assert key in [known["id"] for known in server.http.get("/api/jobs").json()]
    assert (server.state.jobs.folder / key / "upload").is_file()  # the studio shows it


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\..\\x.mp4",
        "/etc/passwd",
        "a\r\nb: c",
        "%2e%2e/x",
        "CON",
        "",
        "\u202e\0x",
    ],
)
def test_a_file_name_never_becomes_a_path(server: Running, street: Path, name: str) -> None:
    before = {path.name for path in server.state.jobs.folder.iterdir()}
    answer = server.upload(street, name)
    assert answer.status_code == 201
    job = answer.json()
    assert {path.name for path in server.state.jobs.folder.iterdir()} - before == {job["id"]}
    assert not set(job["name"]) & set('/\\<>:"\r\n\0')
    assert server.http.delete(f"/api/jobs/{job['id']}").status_code == 204


@pytest.mark.parametrize(
    "file", ["../job.json", "..%2Fjob.json", "%2e%2e%2fupload", "job.json", ".", ""]
)
def test_only_results_can_be_downloaded(server: Running, street: Path, file: str) -> None:
    key = server.upload(street).json()["id"]
    server.wait(key, "done")
    url = httpx.URL(
        f"{server.address}/api/jobs/{key}/results/",
        raw_path=f"/api/jobs/{key}/results/{file}".encode(),
    )
    assert server.http.get(url).status_code in (404, 307)
    assert server.http.get(f"/api/jobs/..%2f{key}").status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a video\n" * 100,
        PLAYLIST,
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x00" * 5000,
    ],
)
def test_what_is_no_video_is_refused_in_one_line(server: Running, content: bytes) -> None:
    before = files_in(server.state.jobs.folder)
    answer = server.http.post("/api/jobs", params={"name": "notes.mp4"}, content=content)
    assert answer.status_code == 415
    assert answer.json() == {"detail": "notes.mp4: not a video"}
    assert files_in(server.state.jobs.folder) == before


def test_a_container_without_pictures_is_refused_without_naming_our_files(server: Running) -> None:
    answer = server.http.post("/api/jobs", content=b"\x00\x00\x00\x18ftypisom" + bytes(400))
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith("video: ")
    assert str(server.state.jobs.folder) not in answer.text


def test_a_truncated_video_gives_its_good_frames_and_says_so(
    server: Running, tmp_path: Path
) -> None:
    path = tmp_path / "cut.mkv"
    remux(clip(tmp_path / "whole.mp4", 4.0), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    job = server.wait(server.upload(path).json()["id"], "done", "failed")
    assert job["state"] == "failed"
    assert job["problem"].startswith("cut.mkv: ")
    film = next(file for file in job["results"] if file["name"] == "video.mp4")
    assert 0 < frames_of(server.http.get(film["url"]).content) == job["frames"] < 100


def test_too_many_bytes_are_refused_while_they_come(street: Path) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield bytes(1 << 16)

    with serving(Settings(max_upload=200_000)) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sipvideo.web.uploads.DRAIN_SECONDS", 0.2)
            with contextlib.suppress(httpx.TransportError):  # cut off while sending: also an end
                assert server.http.post("/api/jobs", content=endless()).status_code == 413
        assert sent < 1 << 30
        declared = server.http.post("/api/jobs", content=bytes(200_001))
        assert declared.status_code == 413
        assert "200000 bytes" in declared.json()["detail"]
        assert files_in(server.state.jobs.folder) == set()
        assert server.upload(street).status_code == 201


def test_an_upload_that_stalls_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch, street: Path
) -> None:
    receive, given_up = uploads.receive, threading.Event()

    async def watched(*arguments: Any) -> int:
        try:
            return await receive(*arguments)
        finally:
            given_up.set()

    def stalling() -> Iterator[bytes]:
        yield b"x"
        assert given_up.wait(PATIENCE)
        given_up.clear()
        yield b"x"

    with serving(Settings(max_jobs=1)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(uploads, "PATIENCE", 0.2)
            patch.setattr(uploads, "receive", watched)
            for _ in range(4):
                with contextlib.suppress(httpx.TransportError):
                    assert server.http.post("/api/jobs", content=stalling()).status_code == 408
        assert server.http.get("/api/jobs").json() == []
        assert server.upload(street).status_code == 201


def test_a_sender_who_goes_away_leaves_nothing(server: Running) -> None:
    before = files_in(server.state.jobs.folder)
    with socket.create_connection(("127.0.0.1", httpx.URL(server.address).port or 0)) as sender:
        sender.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\nfirst bytes"
        )
        until(lambda: files_in(server.state.jobs.folder) != before)
    until(lambda: files_in(server.state.jobs.folder) == before)


def test_a_video_longer_than_the_limit_is_refused(street: Path) -> None:
    with serving(Settings(max_duration=0.5)) as server:
        answer = server.upload(street)
        assert answer.status_code == 422
        assert "1 s long" in answer.json()["detail"]


def test_a_video_that_hides_its_length_is_cut_at_the_limit(tmp_path: Path, street: Path) -> None:
    path = tmp_path / "endless.mkv"
    remux(street, path, {"live": "1"})  # a recording without a declared duration
    with serving(Settings(max_duration=0.5)) as server:
        answer = server.upload(path)
        assert answer.json()["duration"] is None
        job = server.wait(answer.json()["id"], "failed")
        assert job["problem"] == "endless.mkv: longer than 0.5 s: the rest is left out"
        assert 12 <= job["frames"] <= 15
        assert len(job["results"]) == 4


def test_odd_uploads_are_processed_whole_and_say_what_was_chosen(tmp_path: Path) -> None:
    tone = Tone("aac", seconds=6, rate=48000)
    late = Tone("aac", seconds=1.2, rate=48000, begin=3600)
    size = shots(1.0)[0].frame.size
    images = [picture(k, size) for k in range(30)]
    hour = range(25 * 3600, 25 * 3600 + 30)
    write_video(tmp_path / "late.mkv", images, ticks=hour, tone=late)
    write_video(tmp_path / "late.ts", images, ticks=hour, tone=late)
    write_video(tmp_path / "outlasts.mkv", images, tone=tone)
    write_video(tmp_path / "b_frames.avi", images, "mpeg4", encoder={"bf": "2"})
    with serving(Settings(max_duration=2)) as server:
        for path in sorted(tmp_path.iterdir()):
            job = server.wait(server.upload(path).json()["id"], "done", "failed")
            assert (job["frames"], job["problem"]) == (30, ""), path
            assert job["seconds"] == pytest.approx(29 / 25, abs=0.05)
            assert job["notes"] == []
        film = (FILM[0], size, *FILM[2:])
        two = write_streams(tmp_path / "two.mkv", [STILL, film])
        job = server.wait(server.upload(two).json()["id"], "done", "failed")
        assert job["frames"] == 12
        assert job["notes"] == [
            f"two.mkv: of 2 video streams number 2 is shown ({size[1]} x {size[0]}, h264)"
        ]


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, street: Path) -> None:
    monkeypatch.setattr(Jobs, "upload_path", lambda self, job: Path("/dev/full"))
    with serving() as server:
        assert server.upload(street).status_code == 507


def test_a_folder_that_is_gone_is_said_each_time_and_holds_no_places(
    tmp_path: Path, street: Path
) -> None:
    with serving(Settings(data=tmp_path / "kept", max_jobs=1)) as server:
        (tmp_path / "kept").rmdir()
        assert [server.upload(street).status_code for _ in range(5)] == [507] * 5
        (tmp_path / "kept").mkdir()
        server.wait(server.upload(street).json()["id"], "done")


def test_uploads_are_opened_as_containers_that_name_no_other_files(
    tmp_path: Path, street: Path
) -> None:
    shutil.copy(street, tmp_path / "other.mp4")
    playlist = tmp_path / "upload"
    playlist.write_text("ffconcat version 1.0\nfile other.mp4\n")
    VideoFile(playlist).close()  # FFmpeg would read it
    with pytest.raises(SourceError, match="cannot be opened"):
        VideoFile(playlist, FFMPEG_OPTIONS)
    VideoFile(street, FFMPEG_OPTIONS).close()


def test_pictures_beyond_the_limit_are_not_decoded(street: Path) -> None:
    with pytest.raises(SourceError, match="not one frame can be decoded"):
        VideoFile(street, FFMPEG_OPTIONS | {"max_pixels": "1000"})


def test_more_jobs_than_may_wait_are_told_when_to_come_back(slow: Running, street: Path) -> None:
    answers = [slow.upload(street) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert answers[-1].headers["retry-after"] == "10"


def test_cancelling_keeps_what_is_done(slow: Running, long_film: Path) -> None:
    running, waiting = (slow.upload(long_film).json()["id"] for _ in range(2))
    until(lambda: slow.http.get(f"/api/jobs/{running}").json()["frames"])
    assert slow.http.post(f"/api/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    slow.http.post(f"/api/jobs/{running}/cancel")
    job = slow.wait(running, "cancelled")
    assert 0 < job["frames"] < 100
    film = next(file for file in job["results"] if file["name"] == "video.mp4")
    assert frames_of(slow.http.get(film["url"]).content) == job["frames"]


def test_removing_a_running_job_leaves_nothing(slow: Running, long_film: Path) -> None:
    key = slow.upload(long_film).json()["id"]
    slow.wait(key, "running")
    assert slow.http.delete(f"/api/jobs/{key}").status_code == 204
    assert slow.http.get(f"/api/jobs/{key}").status_code == 404
    until(lambda: not (slow.state.jobs.folder / key).exists())
    # Neither on the disk nor in memory: servers run for months.
    assert key not in slow.state.jobs._jobs | slow.state.jobs._stops


def test_results_are_removed_after_their_time(street: Path) -> None:
    with serving(Settings(keep=0.3)) as server:
        key = server.upload(street).json()["id"]
        # It is forgotten first, its files go then.
        until(lambda: not list(server.state.jobs.folder.iterdir()))
        assert server.http.get(f"/api/jobs/{key}").status_code == 404


def test_an_upload_is_edited_in_the_studio_which_puts_its_end_off(
    server: Running, street: Path
) -> None:
    job = server.wait(server.upload(street).json()["id"], "done")
    key = job["id"]
    assert job["studio"] == f"/studio?run={key}"
    about = server.http.get(f"/api/studio/{key}").json()
    assert (about["name"], about["video"], about["identities"]) == ("street.mp4", "source", 2)
    assert server.http.get(f"/api/studio/{key}/frame/3.jpg").status_code == 200
    body = {"base": 0, "edits": [{"op": "delete", "id": 0}]}
    assert server.http.post(f"/api/studio/{key}/edits", json=body).status_code == 200
    assert server.http.get(f"/api/jobs/{key}").json()["expires"] > job["expires"]
    assert server.http.delete(f"/api/jobs/{key}").status_code == 204
    assert server.http.get(f"/api/studio/{key}").status_code == 404


def test_a_temporary_folder_goes_with_the_server_and_a_named_one_stays(
    tmp_path: Path, street: Path, long_film: Path
) -> None:
    with serving() as server:
        temporary = server.state.jobs.folder
        server.wait(server.upload(street).json()["id"], "done")
    assert not temporary.exists()

    settings = Settings(data=tmp_path / "kept")
    with serving(settings, delay=0.1) as server:
        done, cut = (server.upload(path).json()["id"] for path in (street, long_film))
        server.wait(done, "done")
        until(lambda: server.http.get(f"/api/jobs/{cut}").json()["frames"])
    with serving(settings) as server:
        assert server.wait(done, "done")["frames"] == FRAMES
        job = server.wait(cut, "interrupted")
        film = next(file for file in job["results"] if file["name"] == "video.mp4")
        assert frames_of(server.http.get(film["url"]).content) == job["frames"] > 0


def test_what_a_killed_server_was_receiving_is_removed_by_the_next_one(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    killed = Jobs(segmenter(), settings)
    job = killed.new("film.mp4")
    killed.upload_path(job).write_bytes(b"x")
    following = Jobs(segmenter(), settings)
    found = following.get(job.id)
    assert found is not None
    assert found.state == "interrupted"
    assert not following.upload_path(found).exists()
    following.close()
    killed.close()


@pytest.mark.parametrize(
    "change",
    [{"created": [1]}, {"ended": "then"}, {"state": 5}, {"seconds": float("nan")}],
)
def test_a_damaged_record_of_an_upload_is_passed_over(change: Any, tmp_path: Path) -> None:
    for key in ("0123456789abcdef", "f" * 16):
        (tmp_path / key).mkdir()
        record = {"id": key, "name": "a.mp4", "state": "done", "created": 1.0, "ended": 2.0}
        (tmp_path / key / "job.json").write_text(
            json.dumps(record | change if key[0] == "0" else record)
        )
    jobs = Jobs(segmenter(), Settings(data=tmp_path))
    try:
        assert [job.id for job in jobs.all()] == ["f" * 16]
        jobs.expire()
    finally:
        jobs.close()


def test_what_a_killed_server_left_half_done_is_marked_so(tmp_path: Path) -> None:
    folder = tmp_path / "abcd"
    folder.mkdir()
    left = Job("abcd", "film.mp4", "running", created=time.time())
    (folder / "job.json").write_text(json.dumps(vars(left)))
    (folder / "upload").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "job.json").write_text("{}")
    jobs = Jobs(segmenter(), Settings(data=tmp_path))
    assert [(job.id, job.state) for job in jobs.all()] == [("abcd", "interrupted")]
    assert not (folder / "upload").exists()
    jobs.close()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("C:\\films\\a.mp4", "a.mp4"),
        ("/x/../b.mp4", "b.mp4"),
        ("...", "video"),
        ("", "video"),
        ("näme \u2028.mp4", "näme .mp4"),
        ("x" * 300, "x" * 80),
    ],
)
def test_names_are_shown_as_one_plain_line(name: str, shown: str) -> None:
    assert shown_name(name) == shown
