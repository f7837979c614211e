"""``python -m tests.release.container [cpu|cuda]``: the steps of the Containerfile where no container can run.

A folder stands for the image: what is copied is copied, pip installs into an environment of a Python of its version,
and what would start in a container starts there: the entry point, and ``smoke.py``. Steps that need a system of their
own (users, ports) are told and left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.release.check import CLIP, ROOT, SMOKE, run, size, tracked, works

FILE = ROOT / "Containerfile"


def main() -> int:
    """Runs the steps and what the image is for; returns the exit code."""
    variant = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    given = {} if variant == "cpu" else dict(re.findall(r"--build-arg (\w+)=(\S+)", _text()))
    with tempfile.TemporaryDirectory(prefix="sipvideo-image-") as folder:
        image = Image(Path(folder), given)
        for word, rest in steps(_text()):
            image.step(word, rest)
        print(f"{variant}: {size(image.environment) / 1e6:.0f} MB above {image.base}")
        run([*image.command, *image.arguments], image.place, quiet=True, path=image.path)
        outside = Path(folder) / "work"
        outside.mkdir(exist_ok=True)
        run(["python", "-I", str(SMOKE), str(CLIP)], outside, path=image.path)
    return 0


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Instructions and what stands behind them."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


class Image:
    """What the steps have made so far.

    Args:
        folder: stands for the image's root.
        given: values of build arguments.
    """

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self.root, self.values = folder / "root", dict(given)
        self.environment, self.place = folder / "python", self.root
        self.path = str(self.environment / "bin")
        self.base = ""
        self.command: list[str] = []
        self.arguments: list[str] = []

    def step(self, word: str, rest: str) -> None:
        """One instruction; ends the check where it fails or is not known."""
        print(f"{word} {rest}", flush=True)
        if word == "FROM":
            self._begin(rest)
        elif word == "ARG":
            name, _, value = rest.partition("=")
            self.values.setdefault(name, value)
        elif word == "WORKDIR":
            self.place = self.root / rest.lstrip("/")
            self.place.mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *names, target = rest.split()
            for name in names:
                self._copy(name, self.place / target)
        elif word == "RUN" and rest.startswith("python "):
            line = string.Template(rest).substitute(self.values)
            run(
                ["sh", "-c", line.replace(" install ", " install --quiet ")],
                self.place,
                path=self.path,
            )
        elif word in ("ENTRYPOINT", "CMD"):
            words: list[str] = json.loads(rest)
            self.command, self.arguments = (
                (words, self.arguments) if word == "ENTRYPOINT" else (self.command, words)
            )
        elif word in ("RUN", "USER", "EXPOSE"):
            print("  left out: needs a system of its own")
        else:
            sys.exit(f"failed: {word} is not known here")

    def _begin(self, image: str) -> None:
        """An environment of the image's Python, or, where that is not here, of this one."""
        self.base = image
        version = image.rpartition(":")[2].partition("-")[0]
        own = shutil.which(os.environ.get("PYTHON", f"python{version}")) or ""
        if not (own and works(own)):
            own = sys.executable
            print(f"  Python {version} is not here: {sys.version.split()[0]} takes its place")
        run([own, "-m", "venv", str(self.environment)], self.root)

    def _copy(self, name: str, target: Path) -> None:
        """A file or a folder, as git knows it."""
        found = [path for path in tracked() if path == name or path.startswith(f"{name}/")]
        if not found:
            sys.exit(f"failed: {name} is not there")
        for path in found:
            inside = Path(path).relative_to(name) if path != name else Path(path)
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target / inside)


def _text() -> str:
    return FILE.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
