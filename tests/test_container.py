"""The steps of the Containerfile, as far as they can be looked at where no container can run."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_everything_that_is_copied_is_there_and_enough_to_build() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (.*)$", STEPS, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert all((ROOT / word).exists() for word in copied)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    folders = config["options"]["package_dir"].split("\n")
    needed = {line.partition("=")[2].strip() for line in folders if line}
    licences = set(config["metadata"]["license_files"].split())
    assert needed | licences | {"setup.cfg", "pyproject.toml", "README.md"} <= copied


def test_the_extras_that_it_installs_exist() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = re.search(r"^ARG EXTRAS=(.*)$", STEPS, re.MULTILINE)
    assert asked
    assert set(asked[1].split(",")) <= set(config["options.extras_require"])


def test_the_citation_has_the_version() -> None:
    import yaml

    import sipvideo

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sipvideo.__version__
