"""Errors that a user can act on: each carries one line saying what, where and what was expected.

Every command turns a :class:`SipVideoError` into that line on stderr and exit code 2.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator

from sipvideo.extras import absent
from sipvideo.remote import shown

DEBUG = "SIPVIDEO_DEBUG"
"""Environment variable that asks for tracebacks; the flag --debug of every command sets it."""


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


class UnforeseenError(SipVideoError):
    """What nobody foresaw, a defect or a lack of memory: the exception itself is its cause.

    Attributes:
        brief: the line without the exception's own words, for strangers.
    """

    def __init__(self, where: str, error: Exception) -> None:
        self.brief = f"{where}: {type(error).__name__} while processing"
        words = str(error).strip().partition("\n")[0][:300]
        if isinstance(error, MemoryError):
            reason = "there is not enough memory"
        else:
            reason = ": ".join(part for part in (type(error).__name__, words) if part)
        line = ": ".join(part for part in (where, reason) if part)
        super().__init__(f"{line} (--debug shows where)")
        self.__cause__ = error


def failure(error: Exception, where: str = "") -> SipVideoError:
    """Any exception as the failure of one input, in one line; its traceback is shown where it is asked for.

    Args:
        error: what happened; a :class:`SipVideoError` stays as it is, a package of an extra that is not installed is a
            :class:`ConfigError` that says how it is had.
        where: the input, for the line.
    """
    if isinstance(error, SipVideoError):
        return error
    missing = absent(error)
    if missing:
        return ConfigError(": ".join(part for part in (where, missing) if part))
    show_traceback(error)
    return UnforeseenError(where, error)


@contextlib.contextmanager
def contained(where: str = "") -> Iterator[None]:
    """One input never hurts another: whatever happens inside becomes that input's failure.

    Every loop over inputs, sources, uploads or videos takes each of them inside of this block and goes on after a
    :class:`SipVideoError`.

    Raises:
        SipVideoError: as :func:`failure` makes it.
    """
    try:
        yield
    except SipVideoError:
        raise
    except Exception as error:
        raise failure(error, where) from error


def show_traceback(error: BaseException) -> None:
    """Writes the traceback to stderr, if ``SIPVIDEO_DEBUG`` (or --debug) asks for it.

    What libraries say in it may quote addresses: those lose what is secret in them.
    """
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(re.sub(r"\w[\w+.-]*://[^\s'\"<>]+", lambda found: shown(found[0]), text))
