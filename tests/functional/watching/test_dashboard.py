"""The dashboard's port as a browser sees it, and as those see it who should not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from threading import Thread

import pytest
from tests.unit.watching.scene import LAYOUT, Scene

from parallelize import cli
from parallelize.context import open_context
from parallelize.dashboard.live import Place
from parallelize.dashboard.server import HEADERS, Dashboard
from parallelize.dashboard.site import Site
from parallelize.local.cloud import start
from parallelize.local.loopback import is_ours
from parallelize.operations.prep import ensure_bucket
from parallelize.options import Common
from parallelize_core.errors import ParallelizeError
from parallelize_core.testing import InMemoryStore


@dataclass(frozen=True)
class Reply:
    status: int
    headers: HTTPMessage
    body: str


@dataclass(frozen=True)
class Browser:
    """Asks a dashboard; each request has a connection of its own."""

    server: Dashboard

    def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask for a whole path; headers are given with _ for -."""
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        with closing(connection):
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=given)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read().decode())

    def get(self, path: str) -> Reply:
        """Get what is below the token."""
        return self.ask(f"/{self.server.token}/{path}")


class UntouchedStore(InMemoryStore):
    """A bucket that nobody may ask."""

    def get(self, key: str) -> bytes:
        raise AssertionError(key)


def site_over(store: InMemoryStore) -> Site:
    def tell(error: Exception, run: str) -> ParallelizeError | None:
        return error if isinstance(error, ParallelizeError) else None

    return Site(Place(store, LAYOUT.base, lambda run: None, lambda run: "", tell))


def serve(site: Site) -> Iterator[Browser]:
    with Dashboard(site) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Browser(server)
        server.shutdown()
        thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    scene = Scene()
    scene.prepare("a", "b.csv")
    scene.beat("i-1", running=("a",))
    scene.fail("b.csv", log="ValueError: bad header\n")
    yield from serve(site_over(scene.store))


@pytest.fixture
def stranger() -> Iterator[Browser]:
    """A dashboard whose bucket is not to be touched by what a test asks."""
    yield from serve(site_over(UntouchedStore()))


def test_the_page_its_parts_and_the_json_are_there(browser: Browser) -> None:
    kinds = {
        "": "text/html", "scans/": "text/html", "scans/log?key=b.csv": "text/html",
        "scans/live.json": "application/json", "style.css": "text/css",
        "live.js": "text/javascript",
    }  # fmt: skip
    for path, kind in kinds.items():
        reply = browser.get(path)
        assert (reply.status, reply.headers.get_content_type()) == (200, kind), path
        assert reply.headers.get_content_charset() == "utf-8"
    assert json.loads(browser.get("scans/live.json").body)["schema"] == 1
    assert "ValueError: bad header" in browser.get("scans/log?key=b.csv").body
    assert 'href="scans/"' in browser.get("").body


def test_a_key_of_any_letters_comes_through_the_address(browser: Browser) -> None:
    reply = browser.get("scans/log?key=%C3%A9%20%26%2Fx")
    assert reply.status == 404
    assert "no attempt at é &amp;/x has ended yet" in reply.body


@pytest.mark.parametrize("path", ["/", "/scans/", "/x/scans/live.json", "/%00/", "//", "/é/", "*"])
def test_without_the_token_nothing_is_told_and_nothing_is_read(
    stranger: Browser, path: str
) -> None:
    connection = socket.create_connection(("127.0.0.1", stranger.server.server_port), 30)
    with closing(connection):
        request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.0 403 ")
    assert stranger.server.token not in answer


def test_a_token_that_is_nearly_right_is_wrong(stranger: Browser) -> None:
    token = stranger.server.token
    for wrong in (token[:-1], f"{token}x", token.swapcase(), f" {token}".strip() + "%20"):
        assert stranger.ask(f"/{wrong}/scans/").status == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[", "a@b"],
)
def test_by_another_name_nothing_is_told_even_with_the_token(stranger: Browser, host: str) -> None:
    reply = stranger.ask(f"/{stranger.server.token}/scans/", Host=host)
    assert reply.status == 403


@pytest.mark.parametrize(
    ("hosts", "ours"),
    [
        (["127.0.0.1:8000"], True), (["localhost:1"], True), (["LOCALHOST"], True), ([], False),
        (["127.0.0.1", "evil.example"], False), (["localhost", "localhost"], False),
    ],
)  # fmt: skip
def test_it_is_asked_for_once_by_a_name_of_this_machine(hosts: list[str], *, ours: bool) -> None:
    assert is_ours(hosts) is ours


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_sent(stranger: Browser, method: str) -> None:
    reply = stranger.ask(f"/{stranger.server.token}/scans/", method)
    assert reply.status == 501
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_every_answer_has_the_policy_and_is_kept_nowhere(browser: Browser) -> None:
    token = browser.server.token
    replies = [
        browser.get("scans/"), browser.get("nope"), browser.ask("/"),
        browser.ask(f"/{token}/", "POST"), browser.ask(f"/{token}/", Host="evil.example"),
    ]  # fmt: skip
    assert [reply.status for reply in replies] == [200, 404, 403, 501, 403]
    for reply in replies:
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_head_has_no_body(browser: Browser) -> None:
    reply = browser.ask(f"/{browser.server.token}/scans/", "HEAD")
    assert (reply.status, reply.body) == (200, "")
    assert int(reply.headers["Content-Length"]) > 0


def test_it_listens_on_loopback_only(browser: Browser) -> None:
    assert browser.server.server_address[0] == "127.0.0.1"
    assert browser.server.url.startswith("http://127.0.0.1:")


def test_no_two_dashboards_have_the_same_token(browser: Browser, stranger: Browser) -> None:
    assert browser.server.token != stranger.server.token
    assert len(browser.server.token) >= 32


def test_a_browser_that_goes_away_is_no_fault(
    browser: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    address = ("127.0.0.1", browser.server.server_port)
    for said in (b"", b"GET / HT", f"GET /{browser.server.token}/scans/ HTTP/1.0\r\n\r\n".encode()):
        connection = socket.create_connection(address, 30)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(said)
        connection.close()
    assert browser.get("scans/").status == 200
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_told_in_words(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cloud = start()
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    ensure_bucket(open_context(Common()), create=True)
    assert cli.run(["dashboard", "--port", str(cloud.state.port)]) == 2
    assert f"port {cloud.state.port} cannot be used" in capsys.readouterr().err
    assert cli.run(["dashboard", "--port", "70000"]) == 2
    assert "port 70000 cannot be used" in capsys.readouterr().err
