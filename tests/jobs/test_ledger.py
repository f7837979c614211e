"""The ledger: a row for each input, whatever runs do at once and whatever kills them; the summaries are the record."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sipvideo.errors import SinkError, SipVideoError
from sipvideo.jobs import LEDGER, Entry, Ledger, read_ledger
from sipvideo.jobs.ledger import STATES
from sipvideo.jobs.ledger_file import network_of
from sipvideo.summary import Summary

ENTRIES = [Entry(f"in/{name}.mp4", name, {"to": 2.0}) for name in ("a", "b", "c")]


def done(name: str, state: str = "complete") -> Summary:
    summary = Summary(input=f"in/{name}.mp4", frames=5, seconds=1.5, identities=2)
    summary.state = state  # type: ignore[assignment]
    summary.files, summary.checksums = {"objects.csv": 12}, {"objects.csv": "ab"}
    summary.problem = "" if state == "complete" else f"{name} is broken"
    return summary


def begun(path: Path, entries: list[Entry]) -> Ledger:
    """A ledger with a run that has listed entries."""
    ledger = Ledger(path)
    ledger.begin({"save": ["csv"]})
    ledger.enter(entries)
    return ledger


def names(ledger: Ledger) -> list[str]:
    return [entry.name for entry in ledger.taken()]


def states(ledger: Ledger) -> dict[str, str]:
    return {job["name"]: job["state"] for job in ledger.jobs()}


def test_entries_wait_run_and_settle_with_all_that_is_known(tmp_path: Path) -> None:
    with begun(tmp_path / "out" / LEDGER, ENTRIES) as ledger:
        assert list(ledger.taken()) == ENTRIES
        ledger.start("a", "1", 1)
        ledger.start("b", "2", 3)
        ledger.settle("b", done("b", "failed"), 3)
        assert states(ledger) == {"a": "running", "b": "failed", "c": "waiting"}
        ledger.settle("a", done("a"), 1)
        rows = {job["name"]: job for job in ledger.jobs()}
        assert (rows["a"]["frames"], rows["a"]["identities"], rows["a"]["seconds"]) == (5, 2, 1.5)
        assert ledger.files(rows["a"]["id"]) == [
            {"file": "objects.csv", "bytes": 12, "sha256": "ab"}
        ]
        assert (rows["b"]["problem"], rows["b"]["tries"]) == ("b is broken", 3)
        assert ledger.counts() == {**dict.fromkeys(STATES, 1), "running": 0, "interrupted": 0}


def test_a_row_without_summary_figures_is_a_failure_that_later_runs_do_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / LEDGER
    with begun(path, ENTRIES) as ledger:
        list(ledger.taken())
        ledger.settle("a", done("a"), 1)
        ledger.settle("b", done("b", "failed"), 1)
    with Ledger(path) as later:
        [(run, count)] = later.unfinished().items()
        assert count == 2
        assert list(later.entries(run)) == ENTRIES[1:]
        assert later.options_of(run) == ({"save": ["csv"]}, os.getcwd())
        assert later.options_of(99) is None


def test_the_same_input_twice_counts_once_and_two_inputs_never_share_a_name(tmp_path: Path) -> None:
    one, other = Entry("x/clip.mp4", "clip"), Entry("y/clip.mp4", "Clip")
    parts = [Entry("x/clip.mp4", "clip", {"to": float(k)}) for k in (1, 2)]
    with begun(tmp_path / "1" / LEDGER, [one, other, one, *parts, other]) as ledger:
        found = names(ledger)
    assert len(found) == len({name.casefold() for name in found}) == 4
    with begun(tmp_path / "2" / LEDGER, [one, *reversed(parts), other]) as again:
        assert set(names(again)) == set(found)


def test_a_fixed_name_takes_the_place_of_what_another_run_left_there(tmp_path: Path) -> None:
    with begun(tmp_path / LEDGER, [Entry("x/clip.mp4", "clip", fixed=True)]) as ledger:
        ledger.settle(names(ledger)[0], done("clip"))
    with begun(tmp_path / LEDGER, [Entry("y/clip.mp4", "clip", fixed=True)]) as ledger:
        assert [entry.input for entry in ledger.taken()] == ["y/clip.mp4"]


def test_what_another_living_run_has_is_left_to_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(begun(tmp_path / LEDGER, ENTRIES[:2]))
        assert names(first) == ["a", "b"]
        first.settle("b", done("b"))
        second = stack.enter_context(begun(tmp_path / LEDGER, ENTRIES))
        assert names(second) == ["b", "c"]
        assert second.notes == [f"{tmp_path}: another run has 1 of these inputs: left to it"]
        assert first.unfinished() == second.unfinished() == {}


KILLED = """
import sys, time
from pathlib import Path
from sipvideo.jobs import Entry, Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.begin({})
ledger.enter([Entry(f"in/{k}.mp4", str(k)) for k in range(50)])
for entry in ledger.taken():
    ledger.start(entry.name, "1", 1)
    if entry.name == "20":
        print("now", flush=True)
        time.sleep(3600)
"""


def test_what_a_killed_run_had_is_interrupted_and_free_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    driver = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == b"now\n"
        with Ledger(path) as beside:
            assert beside.counts()["running"] == 21
            assert beside.unfinished() == {}
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    with read_ledger(tmp_path) as after:
        assert after.counts() == {**dict.fromkeys(STATES, 0), "waiting": 29, "interrupted": 21}
        assert after.unfinished() == {1: 50}
    with begun(path, [Entry(f"in/{k}.mp4", str(k)) for k in range(60)]) as ledger:
        assert len(names(ledger)) == 60


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sipvideo.jobs import *\n"
        "from sipvideo.summary import Summary\n"
        "with Ledger(Path(sys.argv[1])) as ledger:\n"
        "    ledger.begin({}); ledger.enter([Entry(f'{sys.argv[2]}{k}', f'{sys.argv[2]}{k}') for k in range(100)])\n"
        "    for one in ledger.taken():\n"
        "        ledger.start(one.name, '', 1)\n"
        "        ledger.settle(one.name, Summary(input=one.input, state='complete', frames=1), 1)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path / LEDGER, letter])
        for letter in "abc"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with read_ledger(tmp_path) as ledger:
        assert ledger.counts()["complete"] == 300


def test_an_error_of_the_list_comes_after_what_was_listed_before_it(tmp_path: Path) -> None:
    def entries() -> Iterator[Entry]:
        yield ENTRIES[0]
        raise SinkError("line 2 is wrong")

    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.begin({})
        ledger.enter(entries())
        found = ledger.taken()
        assert next(found) == ENTRIES[0]
        with pytest.raises(SinkError, match="line 2 is wrong"):
            next(found)


def test_no_secret_is_written_down_and_the_run_still_has_it(tmp_path: Path) -> None:
    address = "rtsp://me:hunter2@camera/live"
    with begun(tmp_path / LEDGER, [Entry(address, "cam")]) as ledger:
        assert [entry.input for entry in ledger.taken()] == [address]
        ledger.settle("cam", done("cam", "failed"), 1)
    for path in tmp_path.iterdir():
        assert b"hunter2" not in path.read_bytes()
    with Ledger(tmp_path / LEDGER) as later:
        [again] = later.entries(1)
    assert again.input == "rtsp://camera/live"
    assert "had secrets, which no ledger keeps" in again.problem


@pytest.mark.parametrize("damage", [None, b"no database at all" * 100])
def test_a_ledger_that_is_missing_or_damaged_is_made_anew_from_the_summaries(
    tmp_path: Path, damage: bytes | None
) -> None:
    for name in ("a", "deep/er/b"):
        (tmp_path / name).mkdir(parents=True)
        done(name[-1]).write(tmp_path / name)
    if damage is not None:
        (tmp_path / LEDGER).write_bytes(damage)
    with read_ledger(tmp_path) as ledger:
        assert states(ledger) == {"a": "complete", "deep/er/b": "complete"}
        assert ledger.files(1) == [{"file": "objects.csv", "bytes": 12, "sha256": "ab"}]
        assert "made anew from 2 summaries" in ledger.notes[-1]


def test_a_folder_without_results_gets_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(SipVideoError, match="neither a ledger nor results"):
        read_ledger(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path / LEDGER).__exit__()
    base = sqlite3.connect(tmp_path / LEDGER)
    base.execute("PRAGMA user_version=99")
    base.close()
    with pytest.raises(SinkError, match="of a later version"):
        Ledger(tmp_path / LEDGER)


def test_the_example_of_the_documentation_reads_it(tmp_path: Path) -> None:
    with begun(tmp_path / LEDGER, ENTRIES) as ledger:
        list(ledger.taken())
        ledger.settle("a", done("a"), 1)
        ledger.settle("b", done("b", "failed"), 2)
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    query = text.split("```sql\n")[1].split("```")[0]
    base = sqlite3.connect(tmp_path / LEDGER)
    assert (
        base.execute(query).fetchall()
        == [("a", "in/a.mp4", 5, 2, 12), ("b", "in/b.mp4", 5, 2, 12)][:1]
    )
    base.close()
    pandas = pytest.importorskip("pandas")
    example = text.split("```python\n")[1].split("```")[0]
    space: dict[str, object] = {}
    exec(example.replace("out/ledger.sqlite", str(tmp_path / LEDGER)), space)
    assert isinstance(space["jobs"], pandas.DataFrame)
    assert json.loads(str(space["failed"]["options"].iloc[0])) == {"to": 2.0}  # type: ignore[index]


def test_a_disk_of_this_machine_is_no_network(tmp_path: Path) -> None:
    assert network_of(tmp_path) in ("", "unknown")
