"""The viewer's controls: every command does what its line in the help says."""

from __future__ import annotations

import pytest

from sipvideo.live.controls import COMMANDS, KEYS, SWITCHES, Controls


@pytest.mark.parametrize("command", SWITCHES)
def test_a_switch_pressed_twice_changes_nothing(command: str) -> None:
    controls = Controls()
    controls.do(command)
    assert controls != Controls()
    controls.do(command)
    assert controls == Controls()


@pytest.mark.parametrize("command", ["screenshot", "reset", "quit"])
def test_what_is_asked_for_once_is_taken_once(command: str) -> None:
    controls = Controls()
    assert not controls.take(command)
    controls.do(command)
    controls.do(command)
    assert controls.take(command)
    assert not controls.take(command)


def test_opacity_stays_between_nothing_and_the_plain_colour() -> None:
    controls = Controls()
    seen = []
    for command in ["fainter"] * 9 + ["stronger"] * 12 + ["fainter"] * 12:
        controls.do(command)
        seen.append(controls.style.opacity)
    assert min(seen) == 0
    assert max(seen) == 1


def test_every_command_has_a_key_of_its_own_and_does_something() -> None:
    assert {*KEYS.values()} == {command.name for command in COMMANDS}
    assert len({command.key for command in COMMANDS}) == len(COMMANDS)
    for command in COMMANDS:
        controls = Controls()
        controls.do(command.name)
        assert controls != Controls()


def test_an_unknown_command_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"expected one of pause, record.* got 'explode'"):
        Controls().do("explode")
