"""Buckets: files at ``s3://``, ``gs://``, ``az://`` and the like, through fsspec (extra ``remote``)."""

from sipvideo.remote.addresses import is_remote, shown
from sipvideo.remote.files import RemoteFile, StoredFile, located, readable
from sipvideo.remote.listing import (
    Listed,
    fingerprint,
    is_remote_listing,
    is_remote_pattern,
    listed,
)
from sipvideo.remote.trouble import Patience, RemoteError, current, patient, persistent

__all__ = [
    "Listed",
    "Patience",
    "RemoteError",
    "RemoteFile",
    "StoredFile",
    "current",
    "fingerprint",
    "is_remote",
    "is_remote_listing",
    "is_remote_pattern",
    "listed",
    "located",
    "patient",
    "persistent",
    "readable",
    "shown",
]
