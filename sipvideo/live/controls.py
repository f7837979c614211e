"""What a viewer may change about a live picture: a window's keys and a page's buttons say the same words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sipvideo.draw import Style

OPACITY_STEP = 0.15


class Command(NamedTuple):
    """One thing to ask for: its name, the key that a window gives it, and what a help text says."""

    name: str
    key: str
    about: str


COMMANDS = (
    Command("pause", "space", "pause, go on"),
    Command("record", "r", "start, stop recording"),
    Command("screenshot", "s", "save the picture"),
    Command("labels", "c", "classes on, off"),
    Command("boxes", "b", "boxes on, off"),
    Command("trails", "t", "trails on, off"),
    Command("fainter", "o", "masks fainter"),
    Command("stronger", "O", "masks stronger"),
    Command("reset", "x", "identities start anew"),
    Command("fullscreen", "f", "fullscreen on, off"),
    Command("help", "h", "this list"),
    Command("quit", "q", "quit (also Esc)"),
)
SWITCHES = {"pause": "paused", "record": "recording"} | {
    name: name for name in ("labels", "boxes", "trails", "fullscreen", "help")
}
"""Command -> the attribute of :class:`Controls` that it turns on and off."""

KEYS = {" " if command.key == "space" else command.key: command.name for command in COMMANDS} | {
    "\x1b": "quit"
}
"""Character of a key -> command."""


@dataclass
class Controls:
    """The present wishes of one viewer.

    Attributes:
        paused: the picture stands still, and nothing is computed for it.
        recording: what is shown is also saved.
        labels, boxes, trails: whether these are drawn.
        tags: what tags say, see :class:`sipvideo.draw.Style`.
        opacity: of the masks, 0..1.
        fullscreen, help: whether the window fills the screen; whether the list of keys is shown.
        asked: commands to be carried out once ("screenshot", "reset", "quit"), until :meth:`take` takes them.
    """

    paused: bool = False
    recording: bool = False
    labels: bool = True
    boxes: bool = False
    trails: bool = False
    tags: tuple[str, ...] = Style.tags
    opacity: float = Style.opacity
    fullscreen: bool = False
    help: bool = False
    asked: set[str] = field(default_factory=set)

    def do(self, command: str) -> None:
        """Carries out the command of that name, or notes it down for whoever can.

        Raises:
            ValueError: there is no such command.
        """
        if command in SWITCHES:
            name = SWITCHES[command]
            setattr(self, name, not getattr(self, name))
        elif command in ("fainter", "stronger"):
            step = OPACITY_STEP if command == "stronger" else -OPACITY_STEP
            self.opacity = round(min(max(self.opacity + step, 0.0), 1.0), 2)
        elif command in ("screenshot", "reset", "quit"):
            self.asked.add(command)
        else:
            names = ", ".join(c.name for c in COMMANDS)
            raise ValueError(f"command: expected one of {names}, got {command!r}")

    def take(self, command: str) -> bool:
        """Whether that was asked for since the last time."""
        if command not in self.asked:
            return False
        self.asked.discard(command)
        return True

    @property
    def style(self) -> Style:
        """How results are drawn now."""
        return Style(self.opacity, boxes=self.boxes, labels=self.labels, tags=self.tags)
