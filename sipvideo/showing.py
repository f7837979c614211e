"""How results look, and what is watched in them: the same words for commands, jobs, recordings and the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from sipvideo.classes import labels_of
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sipvideo.draw import Drawing, Path, Style
    from sipvideo.events import EventWatch, Rules
    from sipvideo.events.snapshots import Wanted
    from sipvideo.structures import FrameResult


class ShowingOptions(BaseModel):
    """What was asked for, as plain values that can travel and be written down.

    Attributes:
        draw: looks, each ``NAME`` or ``NAME:class,class``, see :data:`sipvideo.draw.LOOKS`; empty: masks.
        show_classes: names or numbers of classes that are drawn, by looks that name none; empty: all.
        background: ``blur``, a colour or the path of a picture; None: the picture itself.
        zones: path of a YAML file with zones and lines, see :mod:`sipvideo.events.rules`.
        event_picture: a picture of every event is kept.
        event_clip: seconds of a clip of every event, half of them before it; None: no clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    draw: tuple[str, ...] = ()
    show_classes: tuple[str, ...] = ()
    background: str | None = None
    zones: str | None = None
    event_picture: bool = False
    event_clip: float | None = None


@dataclass(frozen=True)
class Showing:
    """The same, read: what the sinks of a run share.

    Attributes:
        drawing: a result as a picture; None: masks and tags.
        rules: zones and lines; None: there are none.
        send: addresses of receivers of events. May have passwords in them: never written down.
        wanted: pictures and clips of events.
    """

    drawing: Drawing | None = None
    rules: Rules | None = None
    send: tuple[str, ...] = field(default=(), repr=False)
    wanted: Wanted | None = None

    @classmethod
    def read(
        cls, options: ShowingOptions, class_names: Sequence[str], send: Sequence[str] = ()
    ) -> Showing:
        """Reads the options.

        Raises:
            ConfigError: an unknown look, class or receiver, a background or zones that cannot be read.
        """
        if send:
            from sipvideo.events.outlets import open_outlet

            for address in send:
                open_outlet(address).close()
        rules = None
        if options.zones is not None:
            from sipvideo.events import load_rules

            rules = load_rules(options.zones, class_names)
        wanted = None
        if options.event_picture or options.event_clip:
            from sipvideo.events.snapshots import Wanted

            wanted = Wanted(options.event_picture, options.event_clip)
        return cls(_drawing(options, class_names), rules, tuple(send), wanted)

    @property
    def watches(self) -> bool:
        """Whether events are asked for."""
        return bool(self.rules is not None or self.send or self.wanted)

    def watch(self, class_names: Sequence[str]) -> EventWatch:
        """What turns the results of one video into events."""
        from sipvideo.events import EventWatch, Rules

        return EventWatch(self.rules or Rules(), class_names)

    def picture(
        self,
        result: FrameResult,
        class_names: Sequence[str],
        watch: EventWatch | None,
        style: Style | None = None,
        trails: Mapping[int, Path] | None = None,
    ) -> NDArray[np.uint8]:
        """A result as a picture for people, uint8 [H, W, 3], RGB.

        Args:
            result: the frame and its objects.
            class_names: names in label order.
            watch: its zones and lines are drawn, with their counts of now.
            style, trails: of masks and tags, see :func:`sipvideo.draw.draw`; chosen looks have their own.
        """
        from sipvideo.draw import Style, draw

        if self.drawing is None:
            image = draw(result.tracked(), class_names, style or Style(), trails)
        else:
            image = self.drawing(result, class_names)
        if watch is not None and watch.rules.places:
            from sipvideo.events.picture import draw_places

            draw_places(image, watch)
        return image


def _drawing(options: ShowingOptions, class_names: Sequence[str]) -> Drawing | None:
    if not (options.draw or options.show_classes or options.background):
        return None
    from sipvideo.draw import Drawing, parse_background, parse_look

    shown = None
    if options.show_classes:
        shown = labels_of(options.show_classes, class_names, "show classes: ")
    looks = [parse_look(text, class_names) for text in options.draw or ("masks",)]
    background = None if options.background is None else parse_background(options.background)
    return Drawing(
        tuple((name, shown if labels is None else labels) for name, labels in looks), background
    )


def with_stamps(options: ShowingOptions) -> dict[str, Any]:
    """The options as settings of a run: files by size and time too, so that a changed one is noticed.

    Raises:
        ConfigError: a file that is named is not there.
    """
    settings: dict[str, Any] = options.model_dump(mode="json", exclude_defaults=True)
    for key in ("background", "zones"):
        if (text := settings.get(key)) and FilePath(text).is_file():
            stat = FilePath(text).stat()
            settings[key] = [text, stat.st_size, stat.st_mtime]
        elif text and key == "zones":
            raise ConfigError(f"{text}: cannot read the zones: No such file or directory")
    return settings
