"""``python -m tests.release.check``: what will be released, built, installed and run by itself.

Wheel and sdist are built from the files that git knows, checked by twine, and the wheel is installed into an empty
environment of every Python that this machine has; ``smoke.py`` runs there, outside of the checkout. For the other
Pythons pip is asked whether every dependency has a wheel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples" / "pedestrians.mp4"
SMOKE = Path(__file__).with_name("smoke.py")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")


def main() -> int:
    """Builds and checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="for wheel and sdist")
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="versions or paths, by commas")
    parser.add_argument("--extras", default="headless", help="that are installed with the base")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sipvideo-release-") as folder:
        wheel = build(args.output.resolve(), Path(folder))
        for version in args.pythons.split(","):
            python = shutil.which(version if "/" in version else f"python{version}")
            where = Path(folder) / version.replace("/", "_")
            if python and works(python):
                installed(python, f"{wheel}[{args.extras}]", where)
            else:
                resolved(version, f"{wheel}[{args.extras}]", where)
    return 0


def works(python: str) -> bool:
    """Whether it is one: some are placeholders for what could be installed."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def build(output: Path, folder: Path) -> Path:
    """Wheel and sdist in ``output``, which is emptied of older ones; the wheel's path.

    The wheel is built from the unpacked sdist: so that is complete, too.
    """
    tree = folder / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    output.mkdir(exist_ok=True)
    for old in (*output.glob("sipvideo-*.whl"), *output.glob("sipvideo-*.tar.gz")):
        old.unlink()
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", code, str(output)], tree, quiet=True)
    (sdist,) = output.glob("sipvideo-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run([sys.executable, "-c", code.replace("sdist", "wheel"), str(output)], unpacked, quiet=True)
    (wheel,) = output.glob("sipvideo-*.whl")
    for path in (sdist, wheel):
        print(f"built: {path.name}, {path.stat().st_size / 1e6:.1f} MB")
    run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], folder)
    return wheel


def tracked() -> Iterator[str]:
    """Files that belong to the project."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    yield from (name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def installed(python: str, what: str, folder: Path) -> None:
    """Installs into an empty environment and runs the smoke test there."""
    run([python, "-m", "venv", str(folder / "venv")], ROOT)
    own = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(own), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, what], folder)
    print(f"installed: {size(folder / 'venv') / 1e6:.0f} MB")
    outside = folder / "outside"
    outside.mkdir()
    run([str(own), "-I", str(SMOKE), str(CLIP)], outside)


def resolved(version: str, what: str, folder: Path) -> None:
    """Asks pip whether there are wheels of everything for a Python that is not here."""
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run"]
    line += ["--quiet", "--ignore-installed", "--python-version", version]
    line += ["--only-binary=:all:", "--target", str(folder)]
    run([*line, *(f"--platform={name}" for name in PLATFORMS), what], ROOT)
    print(f"python {version} is not here: all dependencies have wheels for it")


def size(environment: Path) -> int:
    """Bytes of an environment, without pip."""
    files = [p for p in environment.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(p.stat().st_size for p in files if "pip" not in p.parts)


def run(line: list[str], folder: Path, quiet: bool = False, path: str = "") -> None:
    """A command, shown as it speaks; the check ends where it fails.

    Args:
        line: its words.
        folder: where it runs; made where it is not there.
        quiet: what it prints is left out, but for errors.
        path: where its program is looked for first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    environment = os.environ | {"PATH": os.pathsep.join((path, os.environ["PATH"]))}
    program = shutil.which(line[0], path=environment["PATH"]) or line[0]
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run([program, *line[1:]], cwd=folder, env=environment, stdout=output)
    if done.returncode:
        sys.exit(f"failed: {' '.join(line)}")


if __name__ == "__main__":
    sys.exit(main())
