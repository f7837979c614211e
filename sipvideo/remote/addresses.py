"""Addresses: which ones name something in a bucket, and how any of them is shown without what is secret in it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": "fsspec",
}
"""How an address in a bucket begins: the package that fsspec opens it with."""

ACCOUNTS = ("abfs", "abfss")
"""Where the part before the @ is the container, and no name of a person."""

SECRET = re.compile(
    "pass|pwd|secret|sign|sig$|token|key|cred|auth|session|user|login|policy|jwt|code|hmac|ticket",
    re.IGNORECASE,
)
"""Names of what an address may tell only to its server."""

PLAIN = 16
"""Letters of a value that is certainly not a secret, if its name does not say that it is one."""


def is_remote(text: str) -> bool:
    """Whether an address names something in a bucket: ``s3://``, ``gs://``, ``az://`` and the like."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() in PACKAGES


def shown(text: str) -> str:
    """An address as it may be shown and written down: no password, no signature; any other text as it is.

    Two addresses of the same object with other signatures look the same.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return text
    try:
        parts = urlsplit(text)
        secret_name = parts.password is not None or scheme.lower() not in ACCOUNTS
    except ValueError:
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    if is_remote(text):  # what follows the bucket is a key, whatever characters it has
        where = rest.partition("/")[0]
        return f"{scheme}://{where.rpartition('@')[2]}{rest[len(where) :]}" if secret_name else text
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query=_shown_query(parts.query), fragment="").geturl()


def _shown_query(query: str) -> str:
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        told = value if equals else name
        if len(told) > PLAIN or SECRET.search(name):
            told = "..."
        pairs.append(f"{name}={told}" if equals else told)
    return "&".join(pairs)
