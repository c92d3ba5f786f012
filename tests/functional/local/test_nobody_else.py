"""Every server of ours on loopback is its owner's alone: not another user's, and no web page's."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.functional.local.helpers import client_arguments

import parallelize
import parallelize_agent
from parallelize import cli
from parallelize.dashboard.server import Dashboard
from parallelize.dashboard.site import Answer
from parallelize.local.cloud import LocalCloud, attach, check_own, start
from parallelize.local.imds import TTL_HEADER, MetadataServer
from parallelize.local.loopback import ROOT, End, is_owners, listed_end, told_end
from parallelize_core.aws_errors import translated
from parallelize_core.errors import AccessError, UsageError

PYTHON = "/usr/bin/python3"
STRANGER = 54321
"""A user that nothing belongs to."""


@dataclass(frozen=True)
class Door:
    """A server: its port, and a request that its owner may make."""

    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, **headers: str) -> tuple[int, str]:
        """Make the request with more headers, or others."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request(self.method, self.path, headers={**self.headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


class Machine:
    """What a metadata service tells of."""

    def metadata(self) -> dict[str, str]:
        return {"meta-data/instance-id": "i-1"}


class EmptySite:
    """A dashboard without a run."""

    def answer(self, path: str, query: object) -> Answer:
        return Answer(200, "text/plain", "here")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def metadata() -> Iterator[Door]:
    server = MetadataServer(Machine())
    yield Door(
        int(server.endpoint.rpartition(":")[2]), "PUT", "/latest/api/token", {TTL_HEADER: "60"}
    )
    server.close()


@pytest.fixture(scope="module")
def dashboard() -> Iterator[Door]:
    with Dashboard(EmptySite()) as server:  # type: ignore[arg-type]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Door(server.server_port, "GET", f"/{server.token}/")
        server.shutdown()
        thread.join()


@pytest.fixture
def control(cloud: LocalCloud) -> Door:
    authorization = {"Authorization": f"Bearer {cloud.state.token}"}
    return Door(cloud.state.port, "GET", "/_parallelize/instances", authorization)


@pytest.fixture(params=["control", "dashboard", "metadata"])
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.getfixturevalue(request.param)
    return found


SERVERS = {"local/server.py", "local/imds.py", "dashboard/server.py"}
"""The modules of the doors."""


def test_no_server_of_ours_is_left_out_here() -> None:
    packages = [Path(module.__file__ or "").parent for module in (parallelize, parallelize_agent)]
    opens = re.compile(r"HTTPServer\b|create_server\(|start_server\(|\.bind\((?!\))")
    found = {
        str(path.relative_to(package))
        for package in packages
        for path in package.rglob("*.py")
        if opens.search(path.read_text(encoding="utf-8"))
    }
    assert found == SERVERS


def test_its_owner_gets_in(door: Door) -> None:
    assert door.ask()[0] == 200
    assert door.ask(Host=f"localhost:{door.port}")[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:80", ""])
def test_a_web_page_is_refused(door: Door, origin: str) -> None:
    assert door.ask(Origin=origin)[0] == 403


FOREIGN_HOSTS = [
    "evil.example", "127.0.0.1.evil.example", "[::1]", "0.0.0.0", "", "127.1", "2130706433",
    "localhost.", "a.localhost", "[::ffff:127.0.0.1]", "127.0.0.1:80, evil.example",
    "me@127.0.0.1", "127.0.0.1:80/evil.example", "127.0.0.1:port",
]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_was_made_to_lead_here_is_refused(door: Door, host: str) -> None:
    assert door.ask(Host=host)[0] == 403


def test_a_browser_that_asks_first_is_not_allowed(door: Door) -> None:
    connection = HTTPConnection("127.0.0.1", door.port, timeout=30)
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    with closing(connection):
        connection.request("OPTIONS", door.path, headers=asked)
        answer = connection.getresponse()
        assert answer.status >= 400
        assert answer.getheader("Access-Control-Allow-Origin") is None


def test_it_is_on_no_other_address_of_the_machine(door: Door) -> None:
    """Any address of 127.0.0.0/8 is this machine's, and a server on all has them all."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", door.port), 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_of_the_machine_is_not_answered(door: Door) -> None:
    code = f"""
        import http.client
        c = http.client.HTTPConnection("127.0.0.1", {door.port}, timeout=30)
        try:
            c.request({door.method!r}, {door.path!r}, headers={door.headers!r})
            print("answered", c.getresponse().status)
        except OSError as error:
            print("refused")
    """
    asked = subprocess.run(
        [PYTHON, "-I", "-c", textwrap.dedent(code)],
        user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", text=True, stdout=subprocess.PIPE,
        check=True,
    )  # fmt: skip
    assert asked.stdout == "refused\n"


def test_a_connection_of_which_nobody_knows_is_nobodys() -> None:
    assert not is_owners(("127.0.0.1", 1), ("127.0.0.1", 2))


def test_a_connection_that_its_maker_has_closed_is_nobodys() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        peer = client.getsockname()
        connection, _ = server.accept()
        with closing(connection):
            assert is_owners(peer, server.getsockname())
            client.close()
            assert not is_owners(peer, server.getsockname())


WAYS = (told_end, listed_end)


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_to_ask_whose_a_connection_is_know_it(
    way: Callable[[tuple[str, int], tuple[str, int]], End | None],
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        peer = client.getsockname()
        connection, _ = server.accept()
        with closing(connection):
            inode = os.fstat(client.fileno()).st_ino
            assert way(peer, server.getsockname()) == End(os.geteuid(), inode)
            client.close()
            assert way(peer, server.getsockname()) is None


@pytest.mark.parametrize("way", WAYS)
def test_who_listens_on_a_port_has_not_made_a_connection_from_it(
    way: Callable[[tuple[str, int], tuple[str, int]], End | None],
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert way(server.getsockname(), ("127.0.0.1", 2)) is None


SERVICES = {
    "s3": lambda client: client.list_buckets(),
    "sqs": lambda client: client.list_queues(),
    "ec2": lambda client: client.describe_instances(),
    "autoscaling": lambda client: client.describe_auto_scaling_groups(),
    "sts": lambda client: client.get_caller_identity(),
}


@pytest.mark.parametrize("service", SERVICES)
def test_the_emulated_services_take_the_key_of_the_state_file(
    cloud: LocalCloud, service: str
) -> None:
    answer = SERVICES[service](boto3.client(service, **client_arguments(cloud)))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.OK


@pytest.mark.parametrize("service", SERVICES)
def test_the_emulated_services_take_no_other_key(cloud: LocalCloud, service: str) -> None:
    arguments = {**client_arguments(cloud), "aws_secret_access_key": "local"}
    client = boto3.client(service, **arguments)
    with pytest.raises(ClientError) as refused:
        SERVICES[service](client)
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    with pytest.raises(AccessError, match="parallelize local start"), translated(service):
        SERVICES[service](client)


KEYS = ["plain", "a b/ü+&=?#%25~", "//double//", "trailing/", "*'()!", "界/\u202e", "x" * 900]


@pytest.mark.parametrize("key", KEYS)
def test_an_object_of_any_name_is_reached_with_the_key(cloud: LocalCloud, key: str) -> None:
    s3 = boto3.client("s3", **client_arguments(cloud))
    s3.create_bucket(Bucket="names")
    s3.put_object(Bucket="names", Key=key, Body=b"content", Metadata={"sha256": "a  b"})
    assert s3.get_object(Bucket="names", Key=key)["Body"].read() == b"content"
    listed = s3.list_objects_v2(Bucket="names", Prefix=key, Delimiter="/")
    assert listed["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_body_that_was_not_signed_is_refused(cloud: LocalCloud) -> None:
    """A signature says what is asked for, so it cannot be made to ask for something else."""
    sent = _recorded(cloud)
    assert _send(cloud, sent) == 200
    assert _send(cloud, sent.replace(b"MaxResults=5", b"MaxResults=6")) == 403
    assert _send(cloud, re.sub(rb"(?m)^Host: .*$", b"Host: localhost:1\r", sent)) == 403


def _recorded(cloud: LocalCloud) -> bytes:
    """Return a request as a client of EC2 signs it."""
    client = boto3.client("ec2", **client_arguments(cloud))
    found: list[bytes] = []

    def keep(request: object, **_: object) -> None:
        headers = dict(request.headers.items())  # type: ignore[attr-defined]
        headers.setdefault("Host", f"127.0.0.1:{cloud.state.port}")
        lines = [f"{name}: {_text(value)}" for name, value in headers.items()]
        body: bytes = request.body  # type: ignore[attr-defined]
        head = "\r\n".join(["POST / HTTP/1.1", *lines, "Connection: close", "", ""])
        found.append(head.encode() + (body if isinstance(body, bytes) else str(body).encode()))

    client.meta.events.register("before-send.ec2", keep)
    client.describe_instances(MaxResults=5)
    return found[0]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _send(cloud: LocalCloud, request: bytes) -> int:
    with closing(socket.create_connection(("127.0.0.1", cloud.state.port), 30)) as connection:
        connection.sendall(request)
        answer = connection.makefile("rb").read()
    return int(answer.split(b" ", 2)[1])


def test_what_is_not_signed_at_all_is_refused(cloud: LocalCloud) -> None:
    for path in ("/", "/names", "/names/plain", "/moto-api/", "/moto-api/data.json"):
        assert Door(cloud.state.port, "GET", path).ask()[0] == 403
    assert Door(cloud.state.port, "POST", "/moto-api/reset").ask()[0] == 403


def test_no_argument_of_a_process_and_no_file_for_all_has_the_key(cloud: LocalCloud) -> None:
    secret = cloud.state.secret.encode()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _there(path)]
    assert not any(secret in command for command in commands)
    open_to_all = [p for p in cloud.state_dir.rglob("*") if p.is_file() and p.stat().st_mode & 0o44]
    assert not any(secret in path.read_bytes() for path in open_to_all)


def test_no_log_and_no_answer_for_people_has_the_key(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Logs are sent to others who help, and what a command prints is read over a shoulder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    where = tmp_path / "parallelize" / "local"
    where.parent.mkdir()
    where.symlink_to(cloud.state_dir)
    boto3.client("sqs", **client_arguments(cloud)).list_queues()
    for words in (["local", "status"], ["local", "status", "--json"], ["doctor", "--local"]):
        cli.run(words)
    printed = capsys.readouterr()
    logs = [path.read_text(errors="replace") for path in cloud.state_dir.rglob("*.log")]
    assert logs
    assert str(cloud.state.port) in printed.out
    assert not any(cloud.state.secret in text for text in [printed.out, printed.err, *logs])


def _there(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


if sys.platform != "linux":
    pytest.skip("only Linux tells whose a connection is", allow_module_level=True)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_state_that_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    for use in (attach, start):
        with pytest.raises(UsageError, match="cannot be kept in") as caught:
            use(state)
        assert caught.value.fix == f"chmod go-w {state}"
    assert list(state.iterdir()) == []


def test_a_state_of_another_user_is_not_believed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == ROOT:  # whose folders are anybody's to believe
        os.chown(state, STRANGER, -1)
    check_own(state, state.stat().st_uid)
    with pytest.raises(UsageError, match="cannot be kept in") as caught:
        check_own(state, STRANGER + 1)
    assert "belongs to another user" in (caught.value.why or "")
