"""Results in a bucket: whole or not there, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sipvideo.apps import retry, status
from sipvideo.apps.command import spec
from sipvideo.apps.main import main
from sipvideo.jobs import Job, completed, run_job, storage
from sipvideo.pipeline import VideoSegmenter
from sipvideo.summary import MARK, SUMMARY, Summary
from tests.apps.scripted import ScriptedSpec, clip, run, segmenter
from tests.apps.test_recover import ROOT, on_small_disk
from tests.jobs.test_job import Recorded
from tests.remote.store import BUCKET, KEY, SECRET, Store, forget
from tests.waiting import until

OUT = f"s3://{BUCKET}/out"
KINDS = ("lines", "csv", "json", "video", "png")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("job") / "street.mp4", 0.8)


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> Path:
    folder = tmp_path / "staging"
    monkeypatch.setenv("SIPVIDEO_STAGING", str(folder))
    monkeypatch.setattr(storage, "_writable", set())
    return folder


def job_of(path: str | Path, name: str = "street") -> Job:
    folder = storage.local(OUT) / name
    return Job(
        str(path), folder, KINDS, {"input": [str(path), None]}, upload=storage.joined(OUT, name)
    )


def in_bucket(store: Store, folder: str = "out/street") -> dict[str, bytes]:
    """Names below a folder, and what they hold."""
    root = store.folder / BUCKET / folder
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".nanio" not in str(path.relative_to(root))
    }


def untouched() -> VideoSegmenter:
    """A segmenter for runs that shall compute nothing."""

    def detect(_: object) -> None:
        raise AssertionError("computed again")

    return replace_detect(segmenter(), detect)


def replace_detect(ready: VideoSegmenter, detect: Callable[..., object]) -> VideoSegmenter:
    return VideoSegmenter(detect, ready.tracker, ready.class_names)  # type: ignore[arg-type]


def test_a_bucket_gets_the_same_files_as_a_folder_and_the_summary_last(
    store: Store, street: Path, tmp_path: Path, staging: Path
) -> None:
    here = run_job(Job(str(street), tmp_path / "here", KINDS), segmenter())
    there = run_job(job_of(street), segmenter())
    assert (there.state, there.frames, there.files) == ("complete", here.frames, here.files)
    found = in_bucket(store)
    wanted = {
        path.relative_to(tmp_path / "here").as_posix(): path.read_bytes()
        for path in (tmp_path / "here").rglob("*")
        if path.is_file()
    }
    assert found.keys() == wanted.keys()
    assert {name for name in found if found[name] != wanted[name]} == {SUMMARY}
    summary = Summary.parse(found[SUMMARY])
    assert summary == there
    assert summary.checksums == here.checksums
    puts = [path for path in store.line.paths if path.startswith(("PUT", "DELETE"))]
    assert puts[-1] == f"PUT {BUCKET}/out/street/{SUMMARY}"
    assert not any(staging.rglob("*.*")), "nothing stays behind"
    assert completed(job_of(street)) == summary


def test_resume_passes_over_what_a_bucket_has_and_notices_a_changed_input(
    store: Store, street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.fs.put_file(str(street), f"{BUCKET}/in/a.mp4")
    store.fs.put_file(str(street), f"{BUCKET}/in/deep/b.mp4")
    arguments = (f"s3://{BUCKET}/in/", "--recursive", "-o", OUT, "--save", "csv", "--resume")
    assert run(*arguments) == 0
    assert in_bucket(store, f"out/{BUCKET}/in").keys() == {
        f"{name}/{file}" for name in ("a.mp4", "deep/b.mp4") for file in ("objects.csv", SUMMARY)
    }
    assert f"{OUT}/{BUCKET}/in/a.mp4" in capsys.readouterr().out
    store.fs.pipe_file(f"{BUCKET}/in/a.mp4", street.read_bytes() + b"\0" * 8)
    assert run(*arguments) == 0
    told = capsys.readouterr()
    assert told.out.count("kept") == 1
    assert "whose input changed" in told.err


def test_a_store_that_is_gone_for_a_while_gets_its_results_when_it_is_back(
    store: Store, street: Path
) -> None:
    watch = Recorded()
    gone = threading.Event()

    def leave(path: str) -> None:
        if "results.json" in path and not gone.is_set():
            gone.set()
            store.stop()
            store.line.break_off()
            threading.Timer(1.0, come_back, [store]).start()

    store.line.on_request = leave
    summary = run_job(job_of(street), segmenter(), watch)
    assert gone.is_set()
    assert (summary.state, watch.lines) == ("complete", [])
    assert Summary.parse(in_bucket(store)[SUMMARY]) == summary
    assert any("tried again for up to" in line for line in watch.notes)
    assert any("is back after" in line for line in watch.notes)
    assert summary.notes == [], "the results are the same"


def come_back(store: Store) -> None:
    store.start()
    store.line.broken = False


def test_results_that_could_not_be_uploaded_are_uploaded_by_the_next_run_without_computing(
    store: Store, street: Path, monkeypatch: pytest.MonkeyPatch, staging: Path
) -> None:
    monkeypatch.setenv("SIPVIDEO_PATIENCE", "0.2")
    store.line.on_request = lambda path: "objects.csv" in path and store.line.break_off()
    watch = Recorded()
    summary = run_job(job_of(street), segmenter(), watch)
    assert summary.state == "failed"
    assert len(watch.lines) == 1
    assert f"cannot be uploaded, the results stay in {staging}" in watch.lines[0]
    assert SUMMARY not in in_bucket(store)
    assert completed(job_of(street)) is None
    store.line.on_request, store.line.broken = None, False
    monkeypatch.setenv("SIPVIDEO_PATIENCE", "300")
    again = run_job(job_of(street), untouched(), watch)
    assert again.state == "complete"
    assert completed(job_of(street)) == again
    assert in_bucket(store).keys() >= {"objects.csv", "results.json", "video.mp4", SUMMARY}
    # Another setting is another result.
    other = replace(job_of(street), settings={"input": "other"})
    assert completed(other) is None


def test_older_results_are_not_whole_while_they_are_replaced(
    store: Store, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(job_of(street), segmenter())
    store.fs.pipe_file(f"{BUCKET}/out/street/mots.txt", b"of an earlier run")
    store.fs.pipe_file(f"{BUCKET}/out/street/mine.txt", b"somebody's own")
    monkeypatch.setenv("SIPVIDEO_PATIENCE", "0.2")
    job = replace(job_of(street), settings={"other": 1})
    store.line.on_request = lambda path: "video.mp4" in path and store.line.break_off()
    assert run_job(job, segmenter()).state == "failed"
    assert SUMMARY not in in_bucket(store), "a mixture of two runs"
    assert completed(job_of(street)) is None
    store.line.on_request, store.line.broken = None, False
    assert run_job(job, untouched()).state == "complete"
    found = in_bucket(store)
    assert "mots.txt" not in found
    assert found["mine.txt"] == b"somebody's own"


def test_large_files_go_in_parts(
    store: Store, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PARTS", {"chunksize": 5000, "max_concurrency": 2})
    summary = run_job(job_of(street), segmenter())
    assert summary.state == "complete"
    assert any("uploadId" in path and "video.mp4" in path for path in store.line.paths)
    assert len(in_bucket(store)["video.mp4"]) == summary.files["video.mp4"]


@pytest.mark.parametrize(
    ("environment", "output", "line"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, OUT, "access denied: credentials are wrong"),
        ({}, "s3://nowhere/out", "no such bucket"),
        ({}, "s3://key:word@films/out", "credentials do not belong"),
        ({"SIPVIDEO_STAGING": "/dev/null/x"}, OUT, "/dev/null/x: cannot be made"),
    ],
)
def test_what_cannot_be_written_is_one_line_before_anything_is_computed(
    store: Store,
    street: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    output: str,
    line: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget()
    assert run(street, "-o", output, "--save", "csv", "-q") == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if ": error: " in text]
    assert len(errors) == 1
    assert line in errors[0]
    assert "word" not in errors[0]
    assert not any(path.startswith("PUT films/out/street") for path in store.line.paths)


def test_a_job_that_fails_hurts_no_other_in_the_same_bucket(
    store: Store, street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.fs.put_file(str(street), f"{BUCKET}/in/a.mp4")
    store.fs.pipe_file(f"{BUCKET}/in/bad.mp4", b"no film")
    store.fs.put_file(str(street), f"{BUCKET}/in/c.mp4")
    assert run(f"s3://{BUCKET}/in/*.mp4", "-o", OUT, "--save", "csv") == 2
    told = capsys.readouterr()
    assert told.err.count("error:") == 1
    assert "s3://films/in/bad.mp4: not a video" in told.err
    assert told.out.count("complete") == 2
    found = in_bucket(store, f"out/{BUCKET}/in")
    assert found.keys() == {f"{k}.mp4/{f}" for k in "ac" for f in ("objects.csv", SUMMARY)}


def command(street: Path | str, *flags: str, delay: str = "0.02") -> list[str]:
    arguments = ["-m", "tests.apps.scripted", "1", delay, str(street), "-o", OUT, *flags]
    return [sys.executable, *arguments, "--save", "csv,video"]


@pytest.mark.parametrize("moment", ["computing", "uploading"])
def test_what_a_killed_run_left_is_found_by_the_next(
    store: Store, street: Path, staging: Path, moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if moment == "uploading":  # it waits for the store then
        store.line.on_request = lambda path: "objects.csv" in path and store.line.break_off()
    process = subprocess.Popen(
        command(street, delay="0.02" if moment == "uploading" else "0.5"),
        cwd=ROOT,
        env=os.environ | {"SIPVIDEO_PATIENCE": "1000"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    name = SUMMARY if moment == "uploading" else MARK
    until(lambda: any(staging.rglob(name)) or process.poll() is not None)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert SUMMARY not in in_bucket(store)
    store.line.on_request, store.line.broken = None, False
    assert run(street, "-o", OUT, "--save", "csv,video") == 0
    assert in_bucket(store).keys() == {"objects.csv", "video.mp4", SUMMARY}
    told = capsys.readouterr().err
    assert ("could not upload are uploaded" in told) == (moment == "uploading")
    assert not list(staging.rglob("*.mp4")), "nothing stays behind"


def test_ctrl_c_waits_for_no_store_and_the_results_stay_for_the_next_run(
    store: Store, street: Path, staging: Path
) -> None:
    store.line.on_request = lambda path: "objects.csv" in path and store.line.break_off()
    process = subprocess.Popen(
        command(street),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"SIPVIDEO_PATIENCE": "1000"},
    )
    until(lambda: store.line.broken or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 130, told
    assert f"nothing is uploaded, the results so far stay in {staging}" in told
    assert "error" not in told
    assert [path.name for path in staging.rglob(SUMMARY)] == [SUMMARY]


def test_a_full_staging_disk_is_one_line_and_what_fitted_is_whole(
    store: Store, tmp_path: Path, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPVIDEO_STAGING", str(tmp_path / "disk" / "staging"))
    ran = on_small_disk(tmp_path, "60k", command(street)[1:])
    assert ran.returncode == 2, ran.stderr
    errors = [line for line in ran.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1, ran.stderr
    assert "disk" in errors[0] or "No space left" in errors[0]
    found = in_bucket(store)
    if found:
        assert Summary.parse(found[SUMMARY]).state == "failed"


def test_no_secret_is_written_or_said_anywhere(
    store: Store,
    street: Path,
    tmp_path: Path,
    staging: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIPVIDEO_DEBUG", "")
    store.fs.put_file(str(street), f"{BUCKET}/in/a.mp4")
    signed = store.fs.sign(f"{BUCKET}/in/a.mp4", expiration=600)
    signature = signed.rpartition("Signature=")[2].partition("&")[0]
    assert len(signature) > 20
    monkeypatch.setenv("SIPVIDEO_PATIENCE", "0.1")
    for output in (OUT, str(tmp_path / "out"), "s3://nowhere/out"):
        for film in (
            f"s3://{BUCKET}/in/a.mp4",
            signed,
            signed.replace("a.mp4", "b.mp4"),
            f"s3://k:{SECRET}@b/a.mp4",
        ):
            good = film in (f"s3://{BUCKET}/in/a.mp4", signed) and "nowhere" not in output
            flags = ("-o", output, "--save", "csv", "--resume", "--debug")
            assert run(film, *flags) == (0 if good else 2), (film, output)
    monkeypatch.delenv("SIPVIDEO_DEBUG")
    run(*(f"s3://{BUCKET}/in/", "-o", str(tmp_path / "out"), "--save", "csv", "--workers", "1"))
    told = capfd.readouterr()
    texts = {"out": told.out, "err": told.err}
    for root in (store.folder, tmp_path / "out", staging):
        for path in root.rglob("*"):
            if path.is_file():
                texts[str(path)] = path.read_bytes().decode("latin-1")
    assert len(texts) > 6
    for name, text in texts.items():
        for secret in (SECRET, signature, KEY):
            assert secret not in text, name


def test_status_and_retry_take_the_address_of_the_results(
    store: Store, street: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.fs.put_file(str(street), f"{BUCKET}/in/a.mp4")
    store.fs.pipe_file(f"{BUCKET}/in/b.mp4", b"not yet a film")
    assert run(f"s3://{BUCKET}/in/", "-o", OUT, "--save", "csv", "-q") == 2
    assert status.main([OUT]) == 1
    assert "b.mp4: not a video" in capsys.readouterr().out
    store.fs.put_file(str(street), f"{BUCKET}/in/b.mp4")
    assert retry.run(retry.parse([OUT, "-q"]), lambda args: ScriptedSpec(**vars(spec(args)))) == 0
    assert status.main([OUT]) == 0
    assert f"b.mp4/{SUMMARY}" in in_bucket(store, f"out/{BUCKET}/in")


@pytest.mark.parametrize(
    "arguments",
    [
        ["recover", OUT],
        ["repair", OUT],
        ["repair", "out", "-o", OUT],
        ["explain", OUT, "--id", "1"],
        ["eval", f"{OUT}/annotations.json"],
        ["eval", "a.json", "--results", f"{OUT}/results.json"],
    ],
)
def test_commands_that_work_on_the_disk_say_what_to_do(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "fetch it first (docs/buckets.md says how)" in capsys.readouterr().err
