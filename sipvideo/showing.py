"""How results look, and what is watched in them: the same words for commands, jobs, recordings and the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from sipvideo.classes import labels_of
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sipvideo.draw import Drawing, Path, Style, Trails
    from sipvideo.events import EventWatch, Rules
    from sipvideo.events.snapshots import Wanted
    from sipvideo.structures import FrameResult


MOST_SECONDS = 3600.0
"""Of a trail."""


class ShowingOptions(BaseModel):
    """What was asked for, as plain values that can travel and be written down.

    Attributes:
        draw: looks, each ``NAME`` or ``NAME:class,class``, see :data:`sipvideo.draw.LOOKS`; empty: masks.
        labels: what tags say, some of :data:`sipvideo.draw.TAGS`, or ``none`` alone; empty: all of it.
        trails: seconds of the path behind each identity; 0: none.
        show_classes: names or numbers of classes that are drawn, by looks that name none; empty: all.
        background: ``blur``, ``transparent``, a colour or the path of a picture; None: the picture itself.
        zones: path of a YAML file with zones and lines, see :mod:`sipvideo.events.rules`.
        event_picture: a picture of every event is kept.
        event_clip: seconds of a clip of every event, half of them before it; None: no clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    draw: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    trails: float = Field(default=0.0, ge=0, le=MOST_SECONDS)
    show_classes: tuple[str, ...] = ()
    background: str | None = None
    zones: str | None = None
    event_picture: bool = False
    event_clip: float | None = None

    @property
    def looks(self) -> ShowingOptions:
        """The same without what is watched."""
        return self.model_copy(update={"zones": None, "event_picture": False, "event_clip": None})


@dataclass(frozen=True)
class Showing:
    """The same, read: what the sinks of a run share.

    Attributes:
        drawing: a result as a picture; None: masks and tags.
        rules: zones and lines; None: there are none.
        send: addresses of receivers of events. May have passwords in them: never written down.
        wanted: pictures and clips of events.
        tags: what tags say, see :class:`sipvideo.draw.Style`; None: all of it, (): there are none.
        seconds: of the path behind each identity; 0: none.
    """

    drawing: Drawing | None = None
    rules: Rules | None = None
    send: tuple[str, ...] = field(default=(), repr=False)
    wanted: Wanted | None = None
    tags: tuple[str, ...] | None = None
    seconds: float = 0.0

    @classmethod
    def read(
        cls, options: ShowingOptions, class_names: Sequence[str], send: Sequence[str] = ()
    ) -> Showing:
        """Reads the options.

        Raises:
            ConfigError: an unknown look, class, part of a tag or receiver, a background or zones that cannot be read.
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
        tags = _tags(options.labels) if options.labels else None
        return cls(_drawing(options, class_names), rules, tuple(send), wanted, tags, options.trails)

    @property
    def watches(self) -> bool:
        """Whether events are asked for."""
        return bool(self.rules is not None or self.send or self.wanted)

    @property
    def is_transparent(self) -> bool:
        """Whether pictures have a fourth channel, 255 where something is and 0 elsewhere."""
        return self.drawing is not None and self.drawing.is_transparent

    def style(self) -> Style:
        """Of tints, lines and tags."""
        from sipvideo.draw import Style

        return Style() if self.tags is None else Style(labels=bool(self.tags), tags=self.tags)

    def trails(self) -> Trails | None:
        """A memory for the paths behind the identities of one video, where they are asked for."""
        from sipvideo.draw import Trails

        return Trails(self.seconds) if self.seconds else None

    def shown(self, result: FrameResult) -> FrameResult:
        """The result with only the objects that are drawn."""
        return result.tracked() if self.drawing is None else self.drawing.shown(result)

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
        """A result as a picture for people, uint8 [H, W, 3], RGB; with transparency [H, W, 4].

        Args:
            result: the frame and its objects.
            class_names: names in label order.
            watch: its zones and lines are drawn, with their counts of now.
            style: None: as asked for.
            trails: where identities were before, see :meth:`sipvideo.draw.Trails.paths`.
        """
        from sipvideo.draw import Drawing

        drawing = self.drawing or Drawing()
        image = drawing(result, class_names, style or self.style(), trails)
        if watch is not None and watch.rules.places:
            from sipvideo.events.picture import draw_places

            if not self.is_transparent:
                draw_places(image, watch)
                return image
            bare, opacity = image[:, :, :3].copy(), image[:, :, 3]
            drawn = bare.copy()
            draw_places(drawn, watch)
            opacity[(drawn != bare).any(2)] = 255
            image[:, :, :3] = drawn
        return image


def _tags(labels: Sequence[str]) -> tuple[str, ...]:
    """What tags say.

    Raises:
        ConfigError: an unknown part, or none beside others.
    """
    from sipvideo.draw import TAGS

    if list(labels) == ["none"]:
        return ()
    if unknown := [label for label in labels if label not in TAGS]:
        raise ConfigError(
            f"labels: expected some of {', '.join(TAGS)}, or none alone, got {unknown[0]!r}"
        )
    return tuple(labels)


def _drawing(options: ShowingOptions, class_names: Sequence[str]) -> Drawing | None:
    if not (options.draw or options.show_classes or options.background):
        return None
    # What is put over something else later has no tags in it unless they are asked for.
    usual = "cutout" if options.background == "transparent" else "masks"
    from sipvideo.draw import Drawing, parse_background, parse_look

    shown = None
    if options.show_classes:
        shown = labels_of(options.show_classes, class_names, "show classes: ")
    looks = [parse_look(text, class_names) for text in options.draw or (usual,)]
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
