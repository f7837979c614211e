"""``python apps/youtube_vis.py`` is ``sipvideo eval``."""

from __future__ import annotations

import sys

from sipvideo.apps.eval.command import main

if __name__ == "__main__":
    sys.exit(main())
