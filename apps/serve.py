"""``sipvideo serve``: the browser page and its API: live sources, visitors' webcams, uploads."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags, listening

if TYPE_CHECKING:
    from sipvideo.live import LiveSession, Segmenter
    from sipvideo.live.recording import Recording
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.web.settings import Settings
    from sipvideo.web.zones import KeptZones

SIZES = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
MILLISECONDS = {"": 1, "ms": 1, "s": 1000}
EVENTS = "events"
WATCHED = ("events",)
"""What is saved of watched sources, kinds of :data:`sipvideo.results.KINDS`."""
TIMES = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = flags.Parser(
        prog="sipvideo serve",
        description="Serves a page with live views of sources of this machine, of the visitor's own webcam, "
        "and with uploads of videos; also a REST and WebSocket API (docs/api.md).",
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="SOURCE",
        help="live source: 0 (a camera), rtsp://..., http://..., udp://... or a file, played in a loop; "
        "may be repeated; default: none, visitors bring their own",
    )
    listening.add_flags(parser)
    limits = parser.add_argument_group("how much they may use")
    limits.add_argument(
        "--max-upload",
        type=_amount(SIZES),
        default="500MB",
        metavar="SIZE",
        help="of one video; default: 500MB",
    )
    limits.add_argument(
        "--max-duration",
        type=_amount(TIMES),
        default="600",
        metavar="TIME",
        help="of one video; default: 600 s",
    )
    limits.add_argument(
        "--max-jobs",
        type=flags.count,
        default=2,
        metavar="N",
        help="videos processed at once, twice as many may wait; default: 2",
    )
    limits.add_argument(
        "--max-visitors",
        type=flags.count,
        default=50,
        metavar="N",
        help="live connections at once; default: 50",
    )
    limits.add_argument(
        "--keep",
        type=_amount(TIMES),
        default="1h",
        metavar="TIME",
        help="how long results are kept; default: 1h",
    )
    limits.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="where uploads and results are kept; default: a temporary folder, removed at the end",
    )
    parser.add_argument(
        "--allow-sources",
        action="store_true",
        help="whoever may use the page may add live sources (cameras of this machine and of its network) and remove "
        "them, by POST and DELETE of /api/sources; default: those of --source alone",
    )
    parser.add_argument(
        "--budget",
        type=_amount(MILLISECONDS),
        metavar="TIME",
        help="time that a live frame may take, for example 50ms: input size and detection interval follow",
    )
    flags.add_selection_flags(parser.add_argument_group("what is looked for"))
    flags.add_drawing_flags(
        parser.add_argument_group(
            "how results look: all of it in videos that are saved; on the page at first trails, labels and the looks "
            "masks, outlines, boxes and none"
        )
    )
    watching = parser.add_argument_group("what is watched in the live sources")
    flags.add_event_flags(watching)
    watching.add_argument(
        "--events", type=Path, metavar="DIR", help=f"where events are saved; default: {EVENTS}"
    )
    watching.add_argument(
        "--allow-zones",
        action="store_true",
        help="whoever may use the page may change the zones of the sources, for everybody and over restarts; "
        "default: they may draw and count for themselves alone",
    )
    flags.add_model_flags(parser)
    flags.add_segmenter_flag(parser)
    flags.add_hwaccel_flag(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if _watches(args) and not args.source and not args.allow_sources:
        parser.error("zones and events are of live sources: name some with --source")
    if args.background == "transparent":
        parser.error("--background transparent: the page's videos have no transparency")
    return args


def _amount(units: dict[str, int]) -> Callable[[str], float]:
    """Reads numbers with a unit, such as 500MB or 1h."""
    names = {unit.lower(): factor for unit, factor in units.items()}

    def read(text: str) -> float:
        found = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
        if found is None or found[2] not in names or not float(found[1]):
            wanted = ", ".join(unit for unit in units if unit)
            raise argparse.ArgumentTypeError(
                f"expected a number above 0, with one of {wanted} if need be, got {text!r}"
            )
        return float(found[1]) * names[found[2]]

    return read


def run(
    args: argparse.Namespace,
    build: Callable[[argparse.Namespace], VideoSegmenter] = command.segmenter,
) -> int:
    """Serves until Ctrl-C; ``build`` makes the segmenter."""
    settings = _settings(args)
    from sipvideo.showing import Showing
    from sipvideo.web.server import create_app, listen, make_server
    from sipvideo.web.state import ServerState
    from sipvideo.web.zones import KeptZones

    with listen(
        args.host, args.port
    ) as listener:  # a taken port is told before the model is loaded
        segmenter = build(args)
        Showing.read(settings.showing, segmenter.class_names)  # a mistake is told at once
        live = _governed(segmenter, args.budget)
        session = _session(args, live)
        try:
            page = listening.address(args, listener)
            zones = KeptZones(_events(args) / "zones") if args.allow_zones else None
            state = ServerState(
                segmenter,
                session,
                settings,
                _about(segmenter),
                live=live,
                recorder=_recorder(args, segmenter, zones, page),
                zones=zones,
            )
            server = make_server(create_app(state), state, args.tls)
        except BaseException:
            if session is not None:
                session.close()
            raise
        return listening.serve(server, listener, args, page, settings.token)


def _governed(segmenter: VideoSegmenter, budget: float | None) -> Segmenter:
    """For live pictures: the segmenter itself, or under a governor where there is a budget (milliseconds)."""
    from sipvideo.apps.webcam.command import governed

    return governed(segmenter, budget)


def _session(args: argparse.Namespace, segmenter: Segmenter) -> LiveSession | None:
    """The live sources of the flags, opened.

    Raises:
        SourceError: one of them cannot be opened.
    """
    if not args.source and not args.allow_sources:
        return None
    from sipvideo.live import LiveSession

    sources = {str(number): text for number, text in enumerate(args.source, 1)}
    # A server goes on trying: memory that is lacking now may be there again later.
    return LiveSession(segmenter, sources, loop=True, patience=math.inf, hwaccel=args.hwaccel)


def _events(args: argparse.Namespace) -> Path:
    """Where events are saved."""
    folder: Path = args.events or Path(EVENTS)
    return folder


def _watches(args: argparse.Namespace) -> bool:
    """Whether the sources are watched, also while nobody looks."""
    return bool(flags.watches(args) or args.events or args.allow_zones)


def _recorder(
    args: argparse.Namespace, segmenter: VideoSegmenter, zones: KeptZones | None, page: str
) -> Callable[[str, str], Recording] | None:
    """What saves the events of a source of an id and a name; None: nothing is watched.

    Raises:
        ConfigError: zones or receivers are wrong.
    """
    if not _watches(args):
        return None
    from sipvideo.events.snapshots import Wanted
    from sipvideo.live.recording import Recording
    from sipvideo.showing import Showing

    names = segmenter.class_names
    showing = Showing.read(flags.showing(args), names, args.send)

    def recorder(key: str, source: str) -> Recording:
        drawn = zones.read(source, names) if zones is not None else None
        if zones is not None and drawn is not None and not args.quiet:
            command.note(f"{source}: watched as drawn on the page: {zones.path(source)}")
        wanted = dataclasses.replace(
            showing.wanted or Wanted(), address=f"{page}api/sources/{key}/events/"
        )
        watched = dataclasses.replace(showing, rules=drawn or showing.rules, wanted=wanted)
        return Recording(source, names, _events(args), WATCHED, showing=watched)

    return recorder


def _about(segmenter: VideoSegmenter) -> str:
    """Model and engine, for people."""
    engine = segmenter.engine
    return ", ".join(part for part in (engine.model, engine.about) if part)


def _settings(args: argparse.Namespace) -> Settings:
    """The settings that the flags ask for."""
    from sipvideo.web.settings import Settings

    return Settings(
        host=args.host,
        token=listening.token(args),
        max_upload=int(args.max_upload),
        max_duration=args.max_duration,
        max_jobs=args.max_jobs,
        max_visitors=args.max_visitors,
        keep=args.keep,
        allow_sources=args.allow_sources,
        data=args.data,
        showing=flags.showing(args).looks,
    )


if __name__ == "__main__":
    sys.exit(main())
