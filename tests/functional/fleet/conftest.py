"""An account in moto with an image, a prepared run and its queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore import loaders
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models import ec2_backends
from moto.s3.models import s3_backends
from moto.ssm.models import ssm_backends
from tests.functional.agent.threaded import ThreadedQueue, ThreadedStore
from tests.strict_aws.layer import Layer
from tests.strict_aws.plugin import leave_out_no_values

from parallelize import cli
from parallelize.fleet.bundle import PLATFORMS, wheel_folder
from parallelize.fleet.distributions import AMAZON, DEBIAN, UBUNTU
from parallelize.local.daemon import parse_all_user_data
from parallelize.queues import Queues, make_queues
from parallelize_core.clients import Clients
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Cursor, Entry, encode_part, read_parts
from parallelize_core.names import FIRST, Names
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo, Store
from parallelize_core.transport.listing import ListingPage

Made = TypeVar("Made")

REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = "bucket"
SYSTEMS = {"stock": DEBIAN, "stock:ubuntu": UBUNTU, "stock:amazon": AMAZON}


@dataclass
class Account:
    """What a test needs of the emulated account."""

    session: boto3.Session
    image: str
    strict: Layer
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.session.client(service)
        return self.clients[service]

    @property
    def store(self) -> Store:
        return Clients(self.client("s3"), self.client("sqs")).store(BUCKET)

    def prepare(
        self,
        run: str,
        files: int = 10,
        *,
        sent: bool = True,
        stack: str = FIRST,
        bucket: str = BUCKET,
        lanes: Sequence[Lane] = (),
    ) -> Queues:
        """Do what prep and enqueue would have done for a run; not `sent`, nothing is queued."""
        layout = RunLayout(Location(bucket), run)
        store = Clients(self.client("s3"), self.client("sqs")).store(bucket)
        record = Run(
            name=run, command=("job.sh",), input=layout.input, output=layout.output,
            created_at="2026-11-20T00:00:00Z",
        )  # fmt: skip
        store.put(layout.run_json, record.encode())
        entries = [Entry(key=f"{n}.txt", size=1, etag="e") for n in range(files)]
        store.put(layout.manifest_part(0), encode_part(entries))
        store.put(layout.cursor(0), Cursor(sent=files if sent else 0).model_dump_json().encode())
        queues = make_queues(self.client("sqs"), Names(run, stack), {"parallelize:run": run}, lanes)
        if sent:
            queues.main.send([JobMessage(run=run, key=e.key, size=1).encode() for e in entries])
        return queues

    def finish(self, run: str) -> None:
        """Do what agents would have done: a result for each file, and no message left."""
        layout = RunLayout(Location(BUCKET), run)
        for part in read_parts(self.store, layout):
            for entry in part.entries:
                record = Result(
                    run=run, key=entry.key, attempt=1, worker="i-1", status="succeeded",
                    started_at="2026-11-20T00:00:00Z", finished_at="2026-11-20T00:00:01Z",
                )  # fmt: skip
                self.store.put(layout.result(entry.key), record.encode())
        self.client("sqs").purge_queue(
            QueueUrl=self.client("sqs").get_queue_url(QueueName=Names(run).queue)["QueueUrl"]
        )

    def beat(self, run: str, heartbeat: Heartbeat) -> None:
        layout = RunLayout(Location(BUCKET), run)
        key = layout.heartbeat(heartbeat.worker)
        self.store.put(key, heartbeat.encode())
        # As if S3 had got it at that time: the worker's clock is right.
        seen = datetime.fromtimestamp(heartbeat.seen, UTC).replace(tzinfo=None)
        s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key].last_modified = seen

    def run(self, run: str) -> Run:
        return Run.decode(self.store.get(RunLayout(Location(BUCKET), run).run_json))

    def machines(self, run: str, *states: str) -> list[Any]:
        found = self.client("ec2").describe_instances(
            Filters=[{"Name": "tag:parallelize:run", "Values": [run]}]
        )
        wanted = states or ("pending", "running")
        return [
            item
            for reservation in found["Reservations"]
            for item in reservation["Instances"]
            if item["State"]["Name"] in wanted
        ]

    def group(self, run: str) -> Any:
        groups = self.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"parallelize-{run}"]
        )["AutoScalingGroups"]
        return groups[0] if groups else None


class BotoStore(ThreadedStore):
    """A bucket for a loop by boto3's calls, which moto answers in this process."""

    async def list_between(
        self, prefix: str, after: str, upto: str
    ) -> AsyncIterator[list[ObjectInfo]]:
        found = [info async for info in self.list(prefix)]
        yield [info for info in found if info.key > after and (not upto or info.key <= upto)]

    async def get_version(self, key: str) -> tuple[bytes, str]:
        there, body = await self.head(key), await self.get(key)
        return body, there.etag if there else ""

    async def first_page(self, prefix: str, delimiter: str = "") -> ListingPage:
        found = [info async for info in self.list(prefix, folder_only=bool(delimiter))]
        names = self.store.folders(prefix) if delimiter else ()
        return ListingPage(found, "", [f"{prefix}{name}/" for name in names])


class BotoWire:
    """A loop whose calls are boto3's, so that moto answers them and policies can be compared."""

    is_quick = False

    def __init__(self, session: Callable[[], boto3.Session], _terms: object, _: object) -> None:
        self._clients = Clients.make(session())

    def client(self, _: object, make: Callable[[], Any]) -> Any:
        return make()

    def run(self, work: Callable[[Any], Coroutine[Any, Any, Made]]) -> Made:
        return asyncio.run(work(self))

    def store(self, bucket: str) -> BotoStore:
        return BotoStore(self._clients.store(bucket))

    def queue(self, url: str) -> ThreadedQueue:
        return ThreadedQueue(self._clients.queue(url))


@pytest.fixture(autouse=True)
def boto_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's loop speak to an account that only boto3 finds."""
    monkeypatch.setattr("parallelize.context.Wire", BotoWire)


@pytest.fixture(autouse=True, scope="session")
def descriptions_read_once() -> Iterator[None]:
    """Let all sessions share what botocore knows of the services: reading EC2's takes 0.2 s."""
    shared = loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: shared)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_value_is_no_value() -> None:
    """Let moto render the stack's template as CloudFormation does."""
    leave_out_no_values()


@pytest.fixture(autouse=True, scope="session")
def every_version_starts_machines() -> None:
    """Let a group start later versions of its template, as AWS and the local cloud do."""
    parse_all_user_data()


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strict: Layer) -> Iterator[Account]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.setenv("PARALLELIZE_BUCKET", BUCKET)
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c6i.xlarge")
    with mock_aws():
        session = boto3.Session(region_name=REGION)
        ec2 = session.client("ec2")
        image = ec2.register_image(Name="parallelize", RootDeviceName="/dev/sda1")["ImageId"]
        ec2.create_tags(Resources=[image], Tags=[{"Key": "parallelize:version", "Value": "0.1.0"}])
        place = {"LocationConstraint": REGION}
        session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        yield Account(session, image, strict)


@pytest.fixture
def parallelize(capsys: pytest.CaptureFixture[str]):
    """Run a command line; answer its exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = cli.run(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client looks for wheels before it asks pip, with one that holds nothing for each.

    What the real wheels do on a real machine is seen in tests/image.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "parallelize"
    for python in {system.python for system in SYSTEMS.values()}:
        for architecture in PLATFORMS:
            folder = wheel_folder(python, architecture, cache)
            folder.mkdir(parents=True)
            (folder / f"one-1.0-{python}-{architecture}.whl").write_bytes(b"a wheel")
    return cache


@pytest.fixture
def vendors(account: Account, wheels: Path) -> dict[tuple[str, str], str]:
    """The newest image of each vendor, by `workers.ami` and architecture."""
    found = {}
    for ami, system in SYSTEMS.items():
        for architecture, parameter in system.parameters.items():
            name = f"{system.title} {architecture}"
            image = account.client("ec2").register_image(Name=name)["ImageId"]
            # Which it does not take from the request.
            ec2_backends[ACCOUNT][REGION].amis[image].architecture = architecture
            give_parameter(account, parameter, image)
            found[ami, architecture] = image
    return found


def give_parameter(account: Account, name: str, image: str, region: str = REGION) -> None:
    """Let moto have an image under a name that only AWS may give."""
    ssm = account.session.client("ssm", region_name=region)
    ssm.put_parameter(Name="/our/image", Value=image, Type="String")
    with suppress(ClientError):
        # It loads what it knows of Amazon's own when it is first asked.
        ssm.get_parameter(Name=name)
    known = ssm_backends["123456789012"][region]._parameters
    known[name] = known.pop("/our/image")
