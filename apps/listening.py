"""What the commands with a page share: where they listen, who may come in, how they begin and end."""

from __future__ import annotations

import argparse
import re
import secrets
import signal
import socket
import threading
import webbrowser
from typing import TYPE_CHECKING
from urllib.parse import quote

from sipvideo.apps import command

if TYPE_CHECKING:
    from sipvideo.web.server import Server


def add_flags(parser: argparse.ArgumentParser, port: int = 8000) -> None:
    """--host, --port, --token, --tls and --open."""
    listening = parser.add_argument_group("who may come in")
    listening.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; default: 127.0.0.1, this machine only; 0.0.0.0: everybody who has the token",
    )
    listening.add_argument(
        "--port", type=_port, default=port, help=f"default: {port}; 0: any free one"
    )
    listening.add_argument(
        "--token",
        type=_token,
        help="what visitors must show; default: none on this machine only, beyond it one is made and printed",
    )
    listening.add_argument(
        "--tls",
        nargs=2,
        metavar=("CERT", "KEY"),
        help="files for https, without which browsers give no webcam to pages of other machines",
    )
    listening.add_argument("--open", action="store_true", help="open the page in the browser")


def _token(text: str) -> str:
    if not re.fullmatch(r"[\w.~-]{8,200}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            "expected at least 8 letters, digits and - . _ ~, as it goes into addresses and cookies"
        )
    return text


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return int(text)


def token(args: argparse.Namespace, *, needed: bool = False) -> str | None:
    """What visitors must show: as asked for, or made where it is needed or others than this machine come."""
    from sipvideo.web.settings import is_loopback

    asked: str | None = args.token
    open_to_all = is_loopback(args.host) and not needed
    return secrets.token_urlsafe(16) if asked is None and not open_to_all else asked


def address(args: argparse.Namespace, listener: socket.socket) -> str:
    """The address to type; a server that listens everywhere is called by its machine's name."""
    host = args.host
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    shown = f"[{name}]" if ":" in name else name
    return f"{'https' if args.tls else 'http'}://{shown}:{listener.getsockname()[1]}/"


def serve(
    server: Server,
    listener: socket.socket,
    args: argparse.Namespace,
    page: str,
    shown_token: str | None,
) -> int:
    """Tells where the page is and serves it until Ctrl-C; returns the exit code."""
    welcome(args, page, shown_token)
    # The library raises the signal again as its last act, which may come too late to be seen: it is told here.
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        if server.ended_by is None:
            raise
    if server.ended_by is None:
        return 0
    if server.ended_by == signal.SIGINT:
        command.complain("interrupted")
    return 128 + server.ended_by


def welcome(args: argparse.Namespace, page: str, shown_token: str | None) -> None:
    """Tells where the page is, and opens it where that is asked for."""
    if shown_token is not None:
        page += f"{'&' if '?' in page else '?'}token={quote(shown_token)}"
    if not args.quiet or shown_token != args.token:  # nobody else tells a token that was made
        print(f"sipvideo: open {page} (Ctrl-C ends)", flush=True)
    if args.open:
        threading.Timer(0.5, webbrowser.open, [page]).start()
