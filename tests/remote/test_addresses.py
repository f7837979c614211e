"""Addresses are shown without what is secret in them."""

from __future__ import annotations

import pytest

from sipvideo.remote import is_remote, shown


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("street.mp4", "street.mp4"),
        ("a?b=c@d:e.mp4", "a?b=c@d:e.mp4"),
        ("0", "0"),
        ("rtsp://admin:word@cam:554/main?camera=1", "rtsp://cam:554/main?camera=1"),
        ("rtsp://cam/main?user=admin&password=1234", "rtsp://cam/main?user=...&password=..."),
        ("https://token@host/a.mp4", "https://host/a.mp4"),
        ("https://host/a.mp4#part", "https://host/a.mp4"),
        (
            "https://b.s3.amazonaws.com/k.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA"
            "%2F20261128&X-Amz-Expires=900&X-Amz-Signature=ab12&X-Amz-Security-Token=zz",
            "https://b.s3.amazonaws.com/k.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=..."
            "&X-Amz-Expires=900&X-Amz-Signature=...&X-Amz-Security-Token=...",
        ),
        (
            "https://a.blob/c/k.mp4?sv=2024&sp=r&sig=Zm9v",
            "https://a.blob/c/k.mp4?sv=2024&sp=r&sig=...",
        ),
        ("https://h/a.mp4?t=0123456789abcdef0", "https://h/a.mp4?t=..."),
        ("https://h/a.mp4?word", "https://h/a.mp4?word"),
        ("https://h/a.mp4?0123456789abcdef0", "https://h/a.mp4?..."),
        ("s3://bucket/a b?c#d&e=f.mp4", "s3://bucket/a b?c#d&e=f.mp4"),
        ("s3://KEY:WORD@bucket/a@b.mp4", "s3://bucket/a@b.mp4"),
        ("abfs://container@account.dfs.core/a.mp4", "abfs://container@account.dfs.core/a.mp4"),
        ("http://[::1/a.mp4", "http://[::1/a.mp4"),
        ("http://user:word@[::1/a.mp4?sig=1", "http://[::1/a.mp4"),
    ],
)
def test_no_secret_of_an_address_is_shown(address: str, wanted: str) -> None:
    assert shown(address) == wanted
    assert shown(wanted) == wanted, "what is shown is shown as it is"


def test_only_addresses_of_buckets_are_remote() -> None:
    for address in ("s3://b/k", "S3://b/k", "gs://b/k", "az://c/k", "abfs://c@a/k", "memory://a/b"):
        assert is_remote(address)
    for address in ("a.mp4", "s3:/b", "rtsp://c/a", "https://h/a.mp4", "file:///a", "s3", "C:\\a"):
        assert not is_remote(address)
