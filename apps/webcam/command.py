"""``sipvideo webcam``: cameras, streams and files live in a window, with masks and identities.

Exit codes: 0 the viewer quit, or the sources ended; 2 wrong usage, no screen, a source that cannot be opened or failed
for good; 130 stopped by Ctrl-C (143 by SIGTERM).
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.errors import SourceError

if TYPE_CHECKING:
    from sipvideo.apps.webcam.view import Computing, View
    from sipvideo.apps.webcam.window import Window
    from sipvideo.live import LiveSession
    from sipvideo.live.governor import GovernedSegmenter
    from sipvideo.pipeline import VideoSegmenter

FOLDER = "recordings"
REFRESH = 0.1
"""Seconds after which captions are drawn anew, also where no picture came."""
LARGEST = (720, 1280)
"""Height and width of the window at first, at most."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: in_browser(args) if args.web else run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    from sipvideo.results import FILES

    parser = flags.Parser(
        prog="sipvideo webcam",
        description="Shows cameras, streams and files live in a window, with masks and identities. "
        "The key h lists the keys.",
    )
    parser.add_argument(
        "--source",
        action="append",
        metavar="SOURCE",
        help="0 (a camera), rtsp://..., http://..., udp://... or a file, played at its own speed; "
        "may be repeated; default: 0",
    )
    parser.add_argument(
        "--budget",
        type=_milliseconds,
        metavar="TIME",
        help="time that a frame may take, for example 50ms: input size and detection interval follow",
    )
    saving = parser.add_argument_group("recordings and screenshots")
    saving.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help=f"record from the start, into DIR; the key r records too, by default into {FOLDER}",
    )
    saving.add_argument(
        "--save",
        type=flags.result_kinds,
        metavar="KIND,...",
        help=f"record from the start: {', '.join(FILES)}; default: video,lines,csv",
    )
    flags.add_selection_flags(parser.add_argument_group("what is looked for"))
    looks = parser.add_argument_group("how it looks, and what is watched")
    flags.add_drawing_flags(looks)
    flags.add_event_flags(looks)
    parser.add_argument("--loop", action="store_true", help="files start over at their end")
    parser.add_argument(
        "--web", action="store_true", help="show it in the browser, not in a window"
    )
    parser.add_argument("--frames", type=flags.count, metavar="N", help="end after N frames shown")
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="end after N seconds")
    flags.add_model_flags(parser)
    flags.add_segmenter_flag(parser)
    flags.add_hwaccel_flag(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.send and not (args.record or args.web):
        parser.error("--send: events are sent of what is recorded: add --record DIR")
    for flag in ("record", "save", "frames", "seconds"):
        if args.web and getattr(args, flag):
            words = flag.replace("_", "-")
            parser.error(f"--{words}: only for the window: the page has buttons of its own")
    args.source = args.source or ["0"]
    return args


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|)", text.strip().lower())
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 50ms, got {text!r}")
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return seconds


def in_browser(args: argparse.Namespace) -> int:
    """Hands over to ``sipvideo serve``."""
    from sipvideo.apps import serve

    named = [flag for source in args.source for flag in ("--source", source)]
    served = serve.parse([*named, "--open"])
    own = ("source", "open")
    for name in (name for name in vars(served) if hasattr(args, name) and name not in own):
        setattr(served, name, getattr(args, name))
    return serve.run(served)


def run(
    args: argparse.Namespace,
    build: Callable[[argparse.Namespace], VideoSegmenter] = command.segmenter,
) -> int:
    """Shows the sources until the viewer quits; ``build`` makes the segmenter."""
    command.require_opencv()
    from sipvideo.apps.webcam.window import Window, require_screen

    require_screen()
    with Window(LARGEST) as window:
        window.say("sipvideo", "loading the model")
        segmenter = governed(build(args), args.budget)
        # Not their addresses: passwords may be in them.
        window.say("sipvideo", "opening the sources")
        from sipvideo.apps.webcam.view import Computing
        from sipvideo.live import LiveSession

        with LiveSession(
            segmenter, _keys(args.source), loop=args.loop, hwaccel=args.hwaccel
        ) as session:
            view = _view(args, session)
            started = time.monotonic()
            with command.Stop() as stop, Computing(session) as computing:
                try:
                    _show(args, view, window, computing, stop)
                finally:
                    view.stop_recording()
            seconds = time.monotonic() - started
            summary, failed = _summary(view, seconds), _failures(session)
    if not args.quiet:
        print(summary, flush=True)
    return stop.exit_code(command.FAILED if failed else 0)


def governed(segmenter: VideoSegmenter, budget: float | None) -> VideoSegmenter | GovernedSegmenter:
    """The segmenter itself, or under a governor where there is a budget (milliseconds)."""
    if budget is None:
        return segmenter
    from sipvideo.live.governor import GovernedSegmenter

    return GovernedSegmenter(segmenter, budget)


def _keys(sources: Sequence[str]) -> dict[str, str]:
    """Sources by key; the same one may be named twice."""
    return {f"{k}: {text}": text for k, text in enumerate(sources)}


def _view(args: argparse.Namespace, session: LiveSession) -> View:
    from sipvideo.apps.webcam.view import View
    from sipvideo.draw import Style
    from sipvideo.live.controls import Controls
    from sipvideo.live.recording import DEFAULT_KINDS
    from sipvideo.showing import Showing

    showing = Showing.read(flags.showing(args), session.class_names, args.send)
    style = showing.style()
    controls = Controls(
        recording=bool(args.record or args.save),
        labels=style.labels,
        trails=bool(showing.seconds),
        tags=style.tags or Style.tags,
    )
    kinds = args.save or DEFAULT_KINDS
    return View(session, controls, args.record or Path(FOLDER), kinds, showing=showing)


def _fitting(frame_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a window of usual size for pictures of that shape."""
    scale = min(limit / side for limit, side in zip(LARGEST, frame_size, strict=True))
    return round(frame_size[0] * scale), round(frame_size[1] * scale)


def _show(
    args: argparse.Namespace,
    view: View,
    window: Window,
    computing: Computing,
    stop: command.Stop,
) -> None:
    """Results onto the screen and keys into commands, until somebody or something ends it."""
    from sipvideo.live.controls import KEYS

    controls = view.controls
    end = time.monotonic() + (args.seconds or float("inf"))
    drawn = 0.0
    while not (stop.asked or computing.is_over or time.monotonic() >= end):
        live = computing.next()
        if live is not None:
            if not drawn and len(view.tiles) == 1:
                window.resize(_fitting(live.result.frame.size))
            view.take(live)
        pressed = window.key()
        if window.is_closed:
            return
        if pressed in KEYS:
            controls.do(KEYS[pressed])
            computing.paused = controls.paused
        if live is not None or (drawn and (pressed or time.monotonic() - drawn >= REFRESH)):
            canvas = view.canvas(window.size)
            window.show(canvas)
            view.displayed()
            drawn = time.monotonic()
            window.fill_screen(controls.fullscreen)
            view.obey(canvas)
        if controls.take("quit"):
            return
        if args.frames and sum(tile.shown for tile in view.tiles.values()) >= args.frames:
            return


def _summary(view: View, seconds: float) -> str:
    """What became of each source, one line each."""
    lines = []
    for key, tile in view.tiles.items():
        status, ages = view.session.status(key), view.session.ages(key).shown
        drops = ", ".join(f"{count} {cause}" for cause, count in status.dropped.items() if count)
        lines.append(
            f"{status.name}: {tile.shown} frames shown in {seconds:.1f} s "
            f"({tile.shown / max(seconds, 1e-9):.1f} per second), "
            f"age p50 {ages[0] * 1000:.0f} ms, p95 {ages[1] * 1000:.0f} ms; "
            f"dropped: {drops or 'none'}; reconnects: {status.reconnects}"
        )
    choice = view.session.segmenter(next(iter(view.tiles))).choice
    if choice:
        lines.append(f"governor: {choice}")
    return "\n".join(lines)


def _failures(session: LiveSession) -> bool:
    """Complains of the sources that failed; whether there are some."""
    failed = False
    for key in session.keys:
        status = session.status(key)
        if status.state in ("failing", "failed"):
            failed = True
            command.complain(str(SourceError(f"{status.name}: {status.problem}")))
    return failed
