"""A window by OpenCV: shows pictures, tells which keys were pressed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from sipvideo.errors import SipVideoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TITLE = "sipvideo"
ADVICE = "sipvideo webcam --web, or sipvideo serve, shows the picture in a browser instead"
PROBE = "import cv2; cv2.namedWindow('sipvideo'); cv2.destroyAllWindows()"
KEY_MILLISECONDS = 8
START_MILLISECONDS = 300
PROBE_SECONDS = 20.0


def require_screen() -> None:
    """Finds out whether windows can be shown, in a process of its own: some toolkits abort where there is no screen.

    Raises:
        SipVideoError: they cannot; the line says why, and what to do instead.
    """
    linux = not sys.platform.startswith(("win", "darwin"))
    if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SipVideoError(f"there is no screen (DISPLAY is not set): {ADVICE}")
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SipVideoError(f"the screen does not answer: {ADVICE}") from error
    if probe.returncode == 0:
        return
    if b"not implemented" in probe.stderr.lower():
        raise SipVideoError(
            "the installed OpenCV cannot show windows (pip uninstall opencv-python-headless, "
            f"then pip install opencv-python): {ADVICE}"
        )
    raise SipVideoError(f"no window can be opened on this screen: {ADVICE}")


class Window:
    """One resizable window.

    Args:
        size: (height, width) at first.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        # PyAV and OpenCV for Linux bring X11 libraries of the same names: where PyAV's come first, opening a window
        # never ends.
        if "av" in sys.modules and "cv2" not in sys.modules:
            raise RuntimeError("OpenCV must be imported before PyAV")
        import cv2

        self._cv2 = cv2
        self._size = size
        self._fullscreen = False
        # A window that a Qt program opens right after its start is sometimes never painted: a first one comes and goes.
        flags = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL
        cv2.namedWindow(TITLE, flags)
        cv2.waitKey(START_MILLISECONDS)
        cv2.destroyWindow(TITLE)
        cv2.namedWindow(TITLE, flags)
        cv2.resizeWindow(TITLE, size[1], size[0])

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exception: object) -> None:
        self._cv2.destroyAllWindows()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the part that shows the picture."""
        _, _, width, height = self._cv2.getWindowImageRect(TITLE)
        if width > 0 and height > 0:
            self._size = (max(height, 120), max(width, 160))
        return self._size

    def resize(self, size: tuple[int, int]) -> None:
        """Makes room for a picture of (height, width)."""
        self._size = size
        self._cv2.resizeWindow(TITLE, size[1], size[0])

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Shows an RGB picture uint8 [H, W, 3]."""
        self._cv2.imshow(TITLE, self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))

    def say(self, title: str, text: str) -> None:
        """Shows a message instead of a picture."""
        from sipvideo.live import overlay

        picture = overlay.blank(self.size)
        overlay.panel(picture, title, [("", text)])
        self.show(picture)
        self._cv2.waitKey(START_MILLISECONDS)

    def key(self) -> str:
        """Lets the window live for some milliseconds; the character of a key pressed meanwhile, or an empty text."""
        code = self._cv2.waitKey(KEY_MILLISECONDS)
        return chr(code & 0xFF) if code >= 0 and code & 0xFF else ""

    @property
    def is_closed(self) -> bool:
        """Whether somebody closed the window."""
        try:
            return self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE) < 1
        except self._cv2.error:  # Qt, once its last window is gone
            return True

    def fill_screen(self, wanted: bool) -> None:
        """Fullscreen on or off."""
        if wanted != self._fullscreen:
            self._fullscreen = wanted
            mode = self._cv2.WINDOW_FULLSCREEN if wanted else self._cv2.WINDOW_NORMAL
            self._cv2.setWindowProperty(TITLE, self._cv2.WND_PROP_FULLSCREEN, mode)
