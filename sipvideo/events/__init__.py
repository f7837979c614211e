"""What happened when: zones and lines in the picture, and the events of identities that meet them."""

from sipvideo.events.event import KINDS, Event
from sipvideo.events.rules import Line, Rules, Zone, load_rules
from sipvideo.events.watch import EventWatch, LineCount, ZoneCount

__all__ = [
    "KINDS",
    "Event",
    "EventWatch",
    "Line",
    "LineCount",
    "Rules",
    "Zone",
    "ZoneCount",
    "load_rules",
]
