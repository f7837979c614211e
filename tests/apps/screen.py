"""A screen for tests: Xvfb, with a keyboard (xdotool) and a camera (ImageMagick)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def missing() -> str:
    """Why there can be no window here; empty: there can."""
    gui = [
        line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")
    ]
    if not gui or "NONE" in gui[0]:
        return "the installed OpenCV cannot show windows (opencv-python-headless)"
    tools = [tool for tool in ("Xvfb", "xdotool", "import") if shutil.which(tool) is None]
    return f"not installed: {', '.join(tools)}" if tools else ""


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent, with room for any XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("rest", ctypes.c_long * 24),
    )


class Screen:
    """One virtual screen and the program that runs on it."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x720x24", "-noreset"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as file:
            self.display = f":{file.readline().strip()}"
        self.program: subprocess.Popen[str] | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._server.terminate()
        self._server.wait()

    def kill(self) -> None:
        """Ends the program at once."""
        if self.program is not None:
            self.program.kill()
            self.program.communicate()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DISPLAY": self.display}

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Runs Python with these arguments on the screen."""
        self.program = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=self.environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return self.program

    def end(self) -> tuple[int, str, str]:
        """Waits for the program's end: exit code, standard output and standard error."""
        assert self.program is not None
        out, err = self.program.communicate(timeout=PATIENCE)
        return self.program.returncode, out, err

    def picture(self) -> NDArray[np.uint8]:
        """What the screen shows, RGB."""
        png = self._tool("import", "-window", "root", "png:-")
        decoded: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(decoded[..., ::-1], np.uint8)

    def press(self, *keys: str) -> None:
        """One key after the other, to the program's window."""
        self._tool("xdotool", "windowfocus", "--sync", self.window())
        for key in keys:
            self._tool("xdotool", "key", key)
            time.sleep(0.2)

    def close_window(self) -> None:
        """As the cross in its corner does: with a message to the program."""
        x11 = ctypes.CDLL("libX11.so.6")  # a part of xdotool
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        protocols, close = (
            x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        window = int(self.window())
        data = (ctypes.c_long * 5)(close, 0, 0, 0, 0)
        message = _ClientMessage(33, 0, 1, display, window, protocols, 32, data)
        x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
        x11.XCloseDisplay(display)

    def window(self) -> str:
        found = self._tool("xdotool", "search", "--onlyvisible", "--name", "^sipvideo$")
        return found.decode().split()[-1]

    def _tool(self, *command: str) -> bytes:
        done = subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, timeout=PATIENCE, check=True
        )
        return done.stdout


def until(true: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Waits until something is so; whether it came to be."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
