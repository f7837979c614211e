"""The page of the public API says what the code has."""

from __future__ import annotations

from sipvideo.apps.reports import library


def test_no_name_parameter_or_field_of_the_public_api_changes_unnoticed() -> None:
    """What changes on purpose: python apps/reports/library.py, and a line in the changelog."""
    assert library.PAGE.read_text(encoding="utf-8") == library.page()


def test_everything_public_is_described() -> None:
    for line in library.page().splitlines():
        if line.lstrip().startswith("- ") and "fields:" not in line:
            assert not line.rstrip().endswith(":"), line
