"""A bounded part of the long run (``python -m tests.fuzz``), the same in every run; and that it would see a defect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.run import OUTCOMES, Fuzzer, Limits, long_run, outcomes

if sys.platform != "linux":
    pytest.skip("memory and time of a process are watched by /proc", allow_module_level=True)

pytest.importorskip("fastapi", reason="needs the packages of the page")
pytest.importorskip("openvino", reason="needs OpenVINO")

INPUTS = {"video": 40, "video-network": 3, "export": 2}
"""Of the kinds of which it is not 12."""

MISHAPS = {
    "crash": ("killed", "SIGSEGV"),
    "loop": ("hang", "SIGKILL"),
    "wait": ("hang", "SIGKILL"),
    "hunger": ("memory", "SIGKILL"),
    "peak": ("memory", ""),
    "exception": ("traceback", "KeyError"),
    "unforeseen": ("traceback", "KeyError"),
    "exit_code": ("exit code", "1"),
    "outside": ("written outside", "beside"),
    "changed": ("written outside", "in changed"),
    "program": ("written outside", "subprocess.Popen"),
    "temporary": ("temporary file left", "tmp"),
    "words": ("words of a library", "h264"),
    "silence": ("failed without a word", ""),
    "lines": ("more lines than inputs", "error: b"),
    "success": ("an error with exit code 0", "error: a"),
}


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    with Fuzzer(20, tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_in_ends_in_results_or_one_line(kind: str, fuzzer: Fuzzer) -> None:
    found = [fuzzer.run(number, kind) for number in range(INPUTS.get(kind, 12))]
    assert [outcome for outcome in found if outcome["problem"]] == []
    assert all(outcome["about"] for outcome in found)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    with Fuzzer(
        20, tmp_path_factory.mktemp("strict"), Limits(2.0, 8.0, 600, again=False)
    ) as running:
        yield running


@pytest.mark.parametrize("mishap", MISHAPS)
def test_every_broken_rule_is_seen_and_its_input_kept(mishap: str, strict: Fuzzer) -> None:
    outcome = strict.run(0, f"mishaps.{mishap}")
    problem, where = MISHAPS[mishap]
    assert outcome["problem"] == problem
    assert where in outcome["where"]
    assert (strict.folder / "findings" / f"mishaps.{mishap}-0" / "outcome.json").is_file()


def test_after_a_mishap_the_next_case_is_judged_by_itself(strict: Fuzzer) -> None:
    strict.run(0, "mishaps.crash")
    assert strict.run(0, "mishaps.none")["problem"] is None
    strict.run(0, "mishaps.exception")
    assert strict.run(0, "mishaps.none")["problem"] is None


def test_a_long_run_goes_on_where_it_was(tmp_path: Path) -> None:
    running = long_run(20, 16, tmp_path, "video")
    first = next(running)
    running.close()
    assert outcomes(tmp_path) == [first]
    with (tmp_path / OUTCOMES).open("a") as file:
        file.write('{"number": 15, "ki')  # what a kill leaves
    rest = list(long_run(20, 16, tmp_path, "video"))
    assert first["number"] not in [outcome["number"] for outcome in rest]
    assert len(outcomes(tmp_path)) == 1 + len(rest) >= 2
