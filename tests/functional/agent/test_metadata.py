"""Reading the metadata service: it may be late, forget its tokens, or not be there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.machine import metadata as module
from parallelize_agent.machine.metadata import Metadata, read_instance
from parallelize_agent.machine.notices import Notice, NoticeWatch, _spot_notice, read_notice
from parallelize_core.errors import ServiceError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Service:
    """IMDSv2 whose answers a test decides; `refusals` are given first, one a request."""

    answers: dict[str, str] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    token: str = "token-1"
    asked: list[str] = field(default_factory=list)
    hang: Event | None = None
    broken: list[bytes] = field(default_factory=list)
    """What comes instead of the first answers."""
    endpoint: str = ""

    def reply(self, method: str, path: str, token: str | None) -> tuple[int, str]:
        self.asked.append(f"{method} {path}")
        if self.hang:
            self.hang.wait(10)
        if self.refusals:
            return self.refusals.pop(0), ""
        if method == "PUT":
            return 200, self.token
        if token != self.token:
            return 401, ""
        found = self.answers.get(path.removeprefix("/latest/"))
        return (404, "") if found is None else (200, found)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            token = self.headers.get("X-aws-ec2-metadata-token")
            status, text = service.reply(self.command, self.path, token)
            # The watch for notices may have stopped, and hung up, meanwhile.
            with suppress(BrokenPipeError, ConnectionResetError):
                if service.broken:
                    self.wfile.write(service.broken.pop(0))
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        do_GET = do_PUT = _answer  # noqa: N815 - the names are http.server's

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    service.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield service
    server.shutdown()
    server.server_close()


def test_one_token_serves_many_reads(service: Service) -> None:
    service.answers = {"meta-data/instance-id": "i-1"}
    metadata = Metadata(service.endpoint, 0)
    assert [metadata.get("meta-data/instance-id") for _ in range(3)] == ["i-1"] * 3
    assert [call for call in service.asked if call.startswith("PUT")] == ["PUT /latest/api/token"]


def test_what_is_not_there_is_none(service: Service) -> None:
    assert Metadata(service.endpoint, 0).get("meta-data/spot/instance-action") is None


@pytest.mark.parametrize("refusals", [[503], [401, 503, 401], [500, 500, 500], [403]])
def test_refusals_for_a_while_are_waited_out(service: Service, refusals: list[int]) -> None:
    service.answers = {"user-data": "{}"}
    service.refusals = refusals
    assert Metadata(service.endpoint, 0).get("user-data") == "{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
        b"SSH-2.0-something-else\r\n",
        b"",
    ],
    ids=["cut short", "no text", "no HTTP", "nothing"],
)
def test_an_answer_that_is_broken_is_asked_for_again(service: Service, answer: bytes) -> None:
    service.answers = {"user-data": "{}"}
    service.broken = [answer, answer]
    assert Metadata(service.endpoint, 0).get("user-data") == "{}"


def test_a_token_that_is_refused_is_renewed(service: Service) -> None:
    service.answers = {"user-data": "{}"}
    metadata = Metadata(service.endpoint, 0)
    metadata.get("user-data")
    service.token = "token-2"
    assert metadata.get("user-data") == "{}"


def test_a_service_that_never_answers_is_an_error_with_a_way_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    service.hang = Event()
    with pytest.raises(ServiceError, match="--config FILE"):
        Metadata(service.endpoint, 0).get("user-data")
    service.hang.set()


def test_no_service_at_all_is_the_same_error(service: Service) -> None:
    with pytest.raises(ServiceError, match="cannot be read"):
        Metadata("http://127.0.0.1:1", 0).get("user-data")


def test_a_proxy_is_never_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    service.answers = {"user-data": "mine"}
    assert Metadata(service.endpoint, 0).get("user-data") == "mine"


def test_a_spot_notice_says_how_much_time_is_left(service: Service) -> None:
    end = NOW + timedelta(seconds=118)
    action = f'{{"action": "terminate", "time": "{end:%Y-%m-%dT%H:%M:%SZ}"}}'
    service.answers = {"meta-data/spot/instance-action": action}
    notice = read_notice(Metadata(service.endpoint, 0), NOW)
    assert notice == Notice("spot notice: terminate at 2026-01-02T03:06:03Z", 118)


def test_a_group_that_takes_the_machine_away_gives_notice(service: Service) -> None:
    service.answers = {"meta-data/autoscaling/target-lifecycle-state": "Terminated"}
    notice = read_notice(Metadata(service.endpoint, 0))
    assert notice
    assert notice.seconds is None


def test_a_machine_that_may_stay_gets_no_notice(service: Service) -> None:
    service.answers = {"meta-data/autoscaling/target-lifecycle-state": "InService"}
    assert read_notice(Metadata(service.endpoint, 0)) is None


@pytest.mark.parametrize("refusals", [[503] * 20, [404, 500, 401]])
def test_the_watch_survives_refusals_until_there_is_a_notice(
    service: Service, refusals: list[int]
) -> None:
    service.refusals = refusals
    service.answers = {
        "meta-data/events/recommendations/rebalance": '{"noticeTime": "2026-01-01T00:00:00Z"}',
        "meta-data/spot/instance-action": '{"action": "stop", "time": "2026-01-01T00:00:00Z"}',
    }
    watch = NoticeWatch(Metadata(service.endpoint, 0), 0.01)
    notice = asyncio.run(asyncio.wait_for(watch.first(), 30))
    assert (notice.reason, notice.seconds) == ("spot notice: stop at 2026-01-01T00:00:00Z", 0)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
).map(str)


@given(st.text() | json_like | st.builds('{{"action": "x", "time": "{}"}}'.format, st.text()))
def test_whatever_a_notice_says_it_is_a_notice(text: str) -> None:
    notice = _spot_notice(text, NOW)
    assert notice.seconds is not None
    assert notice.seconds >= 0


class Told:
    """Stands for a metadata service that has these paths."""

    def __init__(self, **paths):
        self._paths = paths

    def get(self, path):
        return self._paths.get(path.rpartition("/")[2].replace("-", "_"))


def test_a_machine_knows_whether_it_has_a_public_address_which_is_charged():
    assert read_instance(Told(instance_id="i-1", public_ipv4="203.0.113.9")).has_address
    assert not read_instance(Told(instance_id="i-1")).has_address
