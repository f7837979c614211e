from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from sipvideo.web.access import GUARDS
from sipvideo.web.settings import Settings, is_loopback
from tests.web.serving import Running, serving

TOKEN = "sesame-0123456789"


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with serving(Settings(token=TOKEN)) as running:
        yield running


def status_of(server: Running, path: str = "/api/webcam", **options: object) -> int:
    """The HTTP answer to a WebSocket's opening; 101: it is open."""
    try:
        with server.socket(path, **options):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:80", 200),
        ("page.localhost", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_a_server_on_loopback_answers_to_names_of_this_machine_only(
    server: Running, host: str, expected: int
) -> None:
    assert server.http.get("/api/health", headers={"host": host}).status_code == expected


def test_other_sites_can_neither_change_nor_connect(server: Running) -> None:
    foreign = {"origin": "https://evil.example"}
    assert server.http.post("/api/sources/1/reset", headers=foreign).status_code == 403
    assert server.http.post("/api/jobs", headers=foreign, content=b"x").status_code == 403
    for odd in ("null", "http://[::1", ""):
        answer = server.http.post("/api/sources/1/reset", headers={"origin": odd})
        assert answer.status_code == 403
    own = {"origin": server.address}
    assert server.http.post("/api/sources/1/reset", headers=own).status_code == 200
    for path in ("/api/webcam", "/api/sources/1/live", "/api/sources/1/results"):
        assert status_of(server, path, origin="https://evil.example") == 403
        assert status_of(server, path, origin=server.address) == 101


def test_every_answer_carries_the_guarding_headers(server: Running, locked: Running) -> None:
    answers = [server.http.get(path) for path in ("/", "/docs", "/page/main.js", "/nothing")]
    answers.append(locked.http.get("/"))
    for answer in answers:
        assert {name: answer.headers[name] for name in GUARDS} == GUARDS


def test_without_the_token_nothing_is_given(locked: Running) -> None:
    for path in ("/", "/api/health", "/openapi.json", "/page/main.js", "/nothing", "/docs"):
        assert locked.http.get(path).status_code == 401
    assert locked.http.post("/api/jobs", content=b"x").status_code == 401
    assert status_of(locked) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": "sipvideo_token=wrong"},
        {"cookie": "sipvideo_token="},
        {"cookie": ";;=\x01"},
    ],
)
def test_a_wrong_token_is_refused(locked: Running, headers: dict[str, str]) -> None:
    # A control character is refused by the HTTP parser itself, where httptools is installed.
    assert locked.http.get("/api/health", headers=headers).status_code in (400, 401)


def test_the_token_opens_in_a_header_a_cookie_and_the_address(locked: Running) -> None:
    header = {"authorization": f"Bearer {TOKEN}"}
    assert locked.http.get("/api/health", headers=header).status_code == 200
    assert status_of(locked, additional_headers=header) == 101
    assert status_of(locked, f"/api/webcam?token={TOKEN}") == 101
    with httpx.Client(base_url=locked.address) as visitor:
        answer = visitor.get(f"/?token={TOKEN}&x=1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert visitor.get("/").status_code == 200


def test_cookies_of_other_servers_of_the_machine_do_not_hide_ours(locked: Running) -> None:
    others = {"cookie": f'odd={{"a": [1, "b"]}}; @=(); sipvideo_token={TOKEN}'}
    assert locked.http.get("/api/health", headers=others).status_code == 200


def test_a_token_in_the_address_never_leads_to_another_site(locked: Running) -> None:
    for path in ("//evil.example/", "/%5C%5Cevil.example/", "/\\evil.example"):
        answer = httpx.get(f"{locked.address}{path}?token={TOKEN}")
        assert not answer.headers.get("location", "/").startswith(("//", "/\\", "http"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LocalHost."]
)
def test_names_of_this_machine_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "", "::", "192.168.1.2", "localhost.example", "1270.0.0.1"]
)
def test_other_names_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
