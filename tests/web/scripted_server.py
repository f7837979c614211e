"""``sipvideo serve`` with the scripted segmenter: ``python -m tests.web.scripted_server DELAY ARGUMENT...``."""

from __future__ import annotations

import sys

from sipvideo.apps import command, serve
from tests.web.serving import segmenter

if __name__ == "__main__":
    delay, *arguments = sys.argv[1:]
    args = serve.parse(arguments)
    sys.exit(command.guarded(lambda: serve.run(args, lambda _: segmenter(float(delay)))))
