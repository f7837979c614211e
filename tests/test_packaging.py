"""What pip installs from this tree is complete."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in ("sipvideo", "apps", "configs"):
        shutil.copytree(
            ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(tree)], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_file_that_the_program_needs(installed: Path) -> None:
    wanted = {
        path.relative_to(ROOT) for path in (ROOT / "sipvideo").rglob("*") if _is_content(path)
    }
    for name in ("apps", "configs"):
        inside = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if _is_content(path)}
        wanted |= {Path("sipvideo") / path for path in inside}
    found = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()}
    assert wanted - found == set()
    assert any(path.name == "LICENSE" for path in found)


def test_the_wheel_brings_the_command_and_the_configurations(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "sipvideo = sipvideo.apps.main:main" in entry_points.read_text()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import sipvideo; assert sipvideo.__file__.startswith(sys.argv[1]), sipvideo.__file__\n"
        "from sipvideo.apps.main import main; sys.exit(main(['config']))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, str(installed)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n") == len(list((ROOT / "configs").glob("*.yaml")))


def test_the_version_is_said_once_and_the_same() -> None:
    import sipvideo

    assert f"\nversion = {sipvideo.__version__}\n" in (ROOT / "setup.cfg").read_text()


@pytest.mark.parametrize("words", [[], ["status"], ["video"]])
def test_commands_of_a_file_and_of_a_folder_run_from_the_checkout(
    words: list[str], tmp_path: Path
) -> None:
    run = [sys.executable, str(ROOT / "apps" / "main.py"), *words, "--help"]
    ran = subprocess.run(
        run, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert ran.stdout.startswith("usage: sipvideo")


def _is_content(path: Path) -> bool:
    hidden = any(part.startswith((".", "__pycache__")) for part in path.parts[len(ROOT.parts) :])
    return path.is_file() and not hidden
