from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sipvideo.apps import command, flags, main
from sipvideo.errors import DEBUG, ConfigError, SipVideoError
from tests.waiting import PATIENCE


def raising(error: BaseException) -> int:
    raise error


def test_an_error_becomes_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.guarded(lambda: raising(ConfigError("a.yaml:\n  unknown key"))) == 2
    assert capsys.readouterr().err == "sipvideo: error: a.yaml: unknown key\n"


def test_what_damaged_files_hold_makes_no_error_longer_than_a_person_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.complain("in.json: " + "x" * 10**6 + ": not a number")
    line = capsys.readouterr().err
    assert len(line) < 1100
    assert line.startswith("sipvideo: error: in.json: x")
    assert line.endswith("x: not a number\n")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_cannot_be_written_are_escaped_and_end_no_command(encoding: str) -> None:
    program = "from sipvideo.apps.main import main; main(['config', chr(0xe9) + chr(0xd800)])"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", f"print({program!r}); {program}; print(chr(0xd800))"],
        **{"env": environment, "capture_output": True, "text": True, "check": True},
    )
    assert "\\ud800" in done.stderr
    assert done.stdout.endswith("\\ud800\n")


def test_ctrl_c_gives_130() -> None:
    assert command.guarded(lambda: raising(KeyboardInterrupt())) == 130


def test_a_defect_is_one_line_that_says_how_to_see_more_and_debug_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    line = "sipvideo: error: ZeroDivisionError: half of nothing (--debug shows where)"
    error = ZeroDivisionError("half of nothing\nis nothing")
    assert command.guarded(lambda: raising(error)) == 2
    assert capsys.readouterr().err.splitlines() == [line]
    assert command.guarded(lambda: raising(MemoryError())) == 2
    assert "there is not enough memory" in capsys.readouterr().err
    monkeypatch.setenv(DEBUG, "1")
    for shown in (ZeroDivisionError(), ConfigError("no such key")):
        assert command.guarded(lambda shown=shown: raising(shown)) == 2  # type: ignore[misc]
        told = capsys.readouterr().err
        assert told.startswith("Traceback")
        assert told.count("in raising") == 1
        assert told.splitlines()[-1].startswith("sipvideo: error: ")


@pytest.mark.parametrize("name", [*main.COMMANDS, "data check", "data synth", "weights inspect"])
def test_every_command_has_the_flag_debug(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "data":
        return  # has only actions
    monkeypatch.setenv(DEBUG, "0")
    with pytest.raises(SystemExit) as caught:
        main.main([*name.split(), "--debug", "--help"])
    assert caught.value.code == 0
    assert "--debug" in capsys.readouterr().out
    assert os.environ[DEBUG] == "1"


def test_a_command_that_ends_well_keeps_its_exit_code() -> None:
    assert command.guarded(lambda: 7) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_result_is_handled_waits_for_its_end(number: signal.Signals) -> None:
    handled = []
    with command.Stop() as stop:
        for item in stop.until(range(5)):
            if item == 1:
                os.kill(os.getpid(), number)
            handled.append(item)
        assert stop.asked
    assert handled == [0, 1]
    assert stop.exit_code(0) == 128 + number


def test_a_signal_while_waiting_for_the_next_item_ends_at_once() -> None:
    def slow() -> Iterator[int]:
        yield 0
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(2 * PATIENCE)
        yield 1

    started = time.monotonic()
    with command.Stop() as stop:
        assert list(stop.until(slow())) == [0]
    assert stop.exit_code(0) == 130
    assert time.monotonic() - started < PATIENCE


def test_without_a_signal_all_items_come_and_the_former_handlers_return() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with command.Stop() as stop:
        assert list(stop.until(range(3))) == [0, 1, 2]
    assert stop.exit_code(2) == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_error_of_the_iterated_reaches_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 0
        raise SipVideoError("broken")

    with command.Stop() as stop, pytest.raises(SipVideoError, match="broken"):
        list(stop.until(broken()))


def without_opencv(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter of its own in which importing cv2 fails."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_missing_opencv_is_one_line_that_says_what_to_install() -> None:
    ran = without_opencv(
        "import sys; sys.modules['cv2'] = None\n"
        "from sipvideo.apps.video import main; sys.exit(main(['a.mp4', '-o', 'out']))"
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "pip install 'sipvideo[window]'" in ran.stderr


def test_opencv_without_its_libraries_says_what_to_do(tmp_path: object) -> None:
    with open(f"{tmp_path}/cv2.py", "w") as file:
        file.write("raise ImportError('libGL.so.1: cannot open shared object file')")
    ran = without_opencv(
        "import sys; from sipvideo.apps.video import main; sys.exit(main(['a.mp4', '-o', 'out']))",
        PYTHONPATH=str(tmp_path),
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "libGL.so.1" in ran.stderr
    assert "opencv-python-headless" in ran.stderr


def test_help_and_version_of_every_command_load_nothing_slow() -> None:
    code = (
        "import sys; from sipvideo.apps.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "slow = {'torch', 'torchvision', 'cv2', 'av', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    for arguments in (["--help"], ["--version"], *([name, "--help"] for name in main.COMMANDS)):
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["video"], ["weights"], ["config", "--set", "a=1"]]
)
def test_wrong_usage_exits_with_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert "usage: sipvideo" in capsys.readouterr().err


def test_every_command_uses_the_same_words_for_the_same_flags() -> None:
    parser = argparse.ArgumentParser()
    flags.add_model_flags(parser)
    flags.add_output_flag(parser, "folder")
    flags.add_quiet_flag(parser)
    args = parser.parse_args(
        [
            "--config",
            "c",
            "--weights",
            "w",
            "--set",
            "a.b=1",
            "--set",
            "c=2",
            "--device",
            "cpu",
            "-o",
            "out",
            "--quiet",
        ]
    )
    assert args.overrides == ["a.b=1", "c=2"]
    assert (args.config, args.weights, args.device, args.output, args.quiet) == (
        "c",
        "w",
        "cpu",
        "out",
        True,
    )
