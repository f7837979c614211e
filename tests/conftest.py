"""Settings for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Small tensors gain nothing from threads, and results stay the same on any number of cores. PyTorch reads
# this when it is first imported; commands started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Converted networks of other runs must not decide which engine a test gets.
os.environ["SIPVIDEO_CACHE"] = "off"

# The same examples in every run: a test that fails, fails for everyone.
settings.register_profile("sipvideo", deadline=None, derandomize=True)
settings.load_profile("sipvideo")


@pytest.fixture(scope="session")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where networks that tests convert are kept, as each takes many seconds: one cache, and not the user's."""
    base = tmp_path_factory.getbasetemp()
    # Processes that run tests in parallel share one.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "conversions"
    folder.mkdir(exist_ok=True)
    return folder
