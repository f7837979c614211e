"""What happened when: zones and lines in the picture, and the events of identities that meet them."""

from sipvideo.events.counts import Counts, LineCount, ZoneCount
from sipvideo.events.event import KINDS, Event
from sipvideo.events.rules import Line, Rules, Zone, load_rules, rules_from_values, rules_text
from sipvideo.events.watch import EventWatch

__all__ = [
    "KINDS",
    "Counts",
    "Event",
    "EventWatch",
    "Line",
    "LineCount",
    "Rules",
    "Zone",
    "ZoneCount",
    "load_rules",
    "rules_from_values",
    "rules_text",
]
