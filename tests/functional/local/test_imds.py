"""The metadata service is as strict as EC2's, and what SDKs make of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from botocore.credentials import InstanceMetadataProvider
from botocore.utils import InstanceMetadataFetcher

from parallelize.local.facts import GROUP_TAG, InstanceFacts, Notices, metadata_of
from parallelize.local.imds import MetadataServer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
FORWARDED = "X-Forwarded-For"


class Source:
    """An instance whose notices a test can change."""

    def __init__(self) -> None:
        self.notices = Notices()
        self.facts = InstanceFacts(
            id="i-0123456789abcdef0",
            type="c7i.large",
            image="ami-1",
            zone="us-east-1b",
            lifecycle="spot",
            private_ip="10.0.0.1",
            tags={"parallelize:run": "demo"},
            user_data='{"run":"demo"}\udcff',
        )

    def metadata(self) -> dict[str, str]:
        return metadata_of(self.facts, self.notices, NOW)


class Client:
    """HTTP without opinions: status and body."""

    def __init__(self, endpoint: str) -> None:
        self.address = urlsplit(endpoint).netloc

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()

    def token(self, ttl: str = "60") -> str:
        status, token = self.request("PUT", "/latest/api/token", {TTL: ttl})
        assert status == 200
        return token.decode()

    def get(self, path: str) -> tuple[int, bytes]:
        headers = {"X-aws-ec2-metadata-token": self.token()}
        return self.request("GET", f"/latest/{path}", headers)

    def read(self, path: str) -> str:
        status, body = self.get(path)
        assert status == 200
        return body.decode()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture(scope="module")
def running_server() -> Iterator[MetadataServer]:
    server = MetadataServer(Source())
    yield server
    server.close()


@pytest.fixture
def server(running_server: MetadataServer, source: Source) -> MetadataServer:
    running_server.source = source
    return running_server


@pytest.fixture
def client(server: MetadataServer) -> Client:
    return Client(server.endpoint)


@pytest.mark.parametrize("ttl", [None, "", "0", "-1", "21601", "soon"])
def test_a_token_needs_a_sensible_lifetime(client: Client, ttl: str | None) -> None:
    headers = {} if ttl is None else {TTL: ttl}
    assert client.request("PUT", "/latest/api/token", headers)[0] == 400


def test_no_token_is_given_through_a_proxy(client: Client) -> None:
    headers = {TTL: "60", FORWARDED: "192.0.2.1"}
    assert client.request("PUT", "/latest/api/token", headers)[0] == 403


@pytest.mark.parametrize("headers", [{}, {"X-aws-ec2-metadata-token": "made-up"}])
def test_nothing_is_told_without_a_valid_token(client: Client, headers: dict[str, str]) -> None:
    assert client.request("GET", "/latest/meta-data/instance-id", headers)[0] == 401


def test_a_token_expires(server: MetadataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = server.issue_token("60")
    assert server.accepts(token)
    now = 1e12
    monkeypatch.setattr("parallelize.local.imds.time.monotonic", lambda: now)
    assert not server.accepts(token)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("meta-data/instance-id", "i-0123456789abcdef0"),
        ("meta-data/instance-type", "c7i.large"),
        ("meta-data/instance-life-cycle", "spot"),
        ("meta-data/placement/region", "us-east-1"),
        ("meta-data/placement/availability-zone", "us-east-1b"),
        ("meta-data/local-ipv4", "10.0.0.1"),
        ("meta-data/tags/instance/parallelize:run", "demo"),
        ("meta-data/placement/", "availability-zone\nregion"),
        ("meta-data/iam/security-credentials/", "parallelize-agent"),
        ("", "dynamic/\nmeta-data/\nuser-data"),
    ],
)
def test_an_instance_can_read_who_it_is(client: Client, path: str, content: str) -> None:
    assert client.read(path) == content


def test_user_data_may_be_any_bytes(client: Client) -> None:
    assert client.get("user-data") == (200, b'{"run":"demo"}\xff')


@pytest.mark.parametrize(
    "path",
    [
        "meta-data/spot/instance-action",
        "meta-data/events/recommendations/rebalance",
        "meta-data/autoscaling/target-lifecycle-state",
        "meta-data/instance",
        "meta-data/instance-id/more",
    ],
)
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert client.get(path)[0] == 404


def test_a_notice_is_seen_by_the_next_request(client: Client, source: Source) -> None:
    source.notices = Notices(interruption=NOW + timedelta(minutes=2), rebalance=NOW)
    assert json.loads(client.read("meta-data/spot/instance-action")) == {
        "action": "terminate",
        "time": "2026-01-02T03:06:05Z",
    }
    assert client.read("meta-data/spot/termination-time") == "2026-01-02T03:06:05Z"
    assert json.loads(client.read("meta-data/events/recommendations/rebalance")) == {
        "noticeTime": "2026-01-02T03:04:05Z"
    }


def test_the_identity_document_agrees_with_the_rest(client: Client) -> None:
    document = json.loads(client.read("dynamic/instance-identity/document"))
    assert document["instanceId"] == client.read("meta-data/instance-id")
    assert document["region"] == client.read("meta-data/placement/region")


def test_an_instance_of_a_group_knows_its_lifecycle_state(source: Source) -> None:
    source.facts.tags[GROUP_TAG] = "group"
    assert source.metadata()["meta-data/autoscaling/target-lifecycle-state"] == "InService"


def test_an_instance_without_user_data_has_none(source: Source) -> None:
    facts = InstanceFacts(**{**vars(source.facts), "user_data": None})
    assert "user-data" not in metadata_of(facts, Notices(), NOW)


def test_botocore_takes_its_credentials(server: MetadataServer, source: Source) -> None:
    fetcher = InstanceMetadataFetcher(base_url=server.endpoint, timeout=5, num_attempts=1)
    credentials = InstanceMetadataProvider(fetcher).load()
    assert credentials is not None
    assert credentials.get_frozen_credentials().token == source.facts.id
    role = json.loads(source.metadata()["meta-data/iam/security-credentials/parallelize-agent"])
    assert credentials.access_key == role["AccessKeyId"]
    assert role["Expiration"] == "2026-01-02T09:04:05Z"
