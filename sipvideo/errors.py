"""Errors that a user can act on: each carries one line saying what, where and what was expected.

Every command turns a :class:`SipVideoError` into that line on stderr and exit code 2.
"""

from __future__ import annotations


class SipVideoError(Exception):
    """Base of all errors caused by input, configuration or the outside world."""


class ConfigError(SipVideoError):
    """A configuration file or value is wrong."""


class SourceError(SipVideoError):
    """A video, picture or camera cannot be opened or read."""


class CheckpointError(SipVideoError):
    """A weights file cannot be read, or does not fit the model."""


class DatasetError(SipVideoError):
    """A dataset file is missing, malformed or inconsistent."""


class SinkError(SipVideoError):
    """A result cannot be written."""
