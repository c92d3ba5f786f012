"""The agent as a process: how it starts, why it does not, and how a signal ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from tests.functional.agent.bench import SWIFT, Gate, until, zipped
from tests.functional.moto_server import moto_server

from parallelize_core.clients import Clients
from parallelize_core.config import AgentConfig
from parallelize_core.errors import MissingError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.manifest import Cursor, Entry, encode_part
from parallelize_core.run import Environment, Run
from parallelize_core.store import Store


@dataclass
class Site:
    """A run in an emulated AWS, and the agents that are started for it."""

    endpoint: str
    folder: Path
    clients: Clients
    config: AgentConfig
    store: Store

    def prepare(self, script: str, *keys: str, command: str = "./job.sh") -> None:
        layout = self.config.layout
        self.store.put("env.zip", zipped({"job.sh": f"#!/bin/sh\n{script}\n"}))
        run = Run(
            name="r",
            command=(command,),
            environment=Environment(bucket=self.config.bucket, key="env.zip", identity="1"),
            input=layout.input,
            output=layout.output,
            created_at="2026-01-01T00:00:00Z",
        )
        self.store.put(layout.run_json, run.encode())
        entries = [Entry(key=key, size=0, etag="") for key in keys]
        for entry in entries:
            self.store.put(layout.input.key(entry.key), b"")
        self.store.put(layout.manifest_part(0), encode_part(entries))
        sent = Cursor(sent=len(entries)).model_dump_json().encode()
        self.store.put(layout.cursor(0), sent)
        self.queue.send([entry.message("r").encode() for entry in entries])

    @property
    def queue(self):  # type: ignore[no-untyped-def]
        return self.clients.queue(self.config.queue_url)

    def start(self, config: str | None = None, **environ: str) -> subprocess.Popen[bytes]:
        path = self.folder / "agent.json"
        path.write_text(config or self.config.encode())
        return subprocess.Popen(
            [sys.executable, "-m", "parallelize_agent", "--config", path],
            env={**os.environ, "STATE_DIRECTORY": str(self.folder / "state"), **environ},
            stderr=subprocess.PIPE,
        )

    def heartbeat(self) -> Heartbeat | None:
        for item in self.store.list(self.config.layout.agents.prefix):
            try:
                return Heartbeat.decode(self.store.get(item.key))
            except MissingError:
                break
        return None


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def site(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    clients = Clients.make(boto3.Session(region_name="us-east-1"))
    bucket = f"b-{uuid.uuid4().hex}"
    clients.s3.create_bucket(Bucket=bucket)
    made = {
        "bucket": bucket,
        "lease_seconds": 2,
        "region": "us-east-1",
        "queue_url": clients.sqs.create_queue(QueueName=bucket)["QueueUrl"],
        "dead_letter_queue_url": clients.sqs.create_queue(QueueName=f"{bucket}-d")["QueueUrl"],
    }
    config = SWIFT.model_copy(update=made)
    return Site(endpoint, tmp_path, clients, config, clients.store(bucket))


Ended = Callable[[subprocess.Popen[bytes]], tuple[int, list[dict[str, str]]]]


@pytest.fixture
def ended() -> Ended:
    """Wait for an agent; return its exit code and its log."""

    def wait(agent: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, str]]]:
        _, stderr = agent.communicate(timeout=60)
        return agent.returncode, [json.loads(line) for line in stderr.splitlines()]

    return wait


def test_an_agent_whose_work_is_over_exits_with_success(site: Site, ended: Ended) -> None:
    site.prepare("echo 1 > out; echo out", "d/x")
    code, lines = ended(site.start())
    assert code == 0
    assert lines[-1]["reason"] == "every job has its result"
    assert site.store.get(site.config.layout.output.key("d/out")) == b"1\n"
    beat = site.heartbeat()
    assert beat
    assert (beat.state, beat.worker) == ("left", lines[-1]["worker"])


def test_sigterm_hands_the_work_back_and_is_a_success(site: Site, gate: Gate, ended: Ended) -> None:
    site.prepare(gate.wait, "x")
    agent = site.start()
    until(gate.arrived)
    agent.send_signal(signal.SIGTERM)
    code, lines = ended(agent)
    assert code == 0
    assert "SIGTERM" in lines[-1]["reason"]
    (again,) = site.queue.receive(10, 0, 30)
    assert again.receives == 1
    assert json.loads(again.body)["attempt"] == 1


def test_a_killed_agents_leftovers_are_gone_when_it_starts_again(
    site: Site, gate: Gate, ended: Ended
) -> None:
    site.prepare(gate.wait, "x")
    (site.folder / "tmp").mkdir()
    agent = site.start(TMPDIR=str(site.folder / "tmp"))
    until(gate.arrived)
    agent.kill()
    agent.communicate()
    assert list((site.folder / "tmp").iterdir()) == [], "nobody would ever take that away"
    scratch = list((site.folder / "state" / "jobs").rglob("scratch"))
    assert scratch
    gate.open()
    assert ended(site.start())[0] == 0
    assert not any(path.exists() for path in scratch)


def test_a_configuration_that_is_none_is_refused_in_words(site: Site, ended: Ended) -> None:
    code, lines = ended(site.start('{"v": 1, "run": "r"}'))
    assert code == 2
    assert "is not an agent configuration" in lines[-1]["what"]
    assert "bucket" in lines[-1]["why"]


def test_an_environment_that_is_broken_ends_the_agent_and_status_can_say_why(
    site: Site, ended: Ended
) -> None:
    site.prepare("true", "x")
    site.store.put("env.zip", b"this is not a zip file")
    code, lines = ended(site.start())
    assert code == 2
    beat = site.heartbeat()
    assert beat
    assert beat.state == "failed"
    assert lines[-1]["what"] in beat.reason
    assert site.queue.counts().visible == 1


def test_a_run_that_does_not_exist_is_an_error_of_the_services(site: Site, ended: Ended) -> None:
    code, lines = ended(site.start())
    assert code == 6
    assert "run.json" in lines[-1]["what"]


def test_a_bucket_that_does_not_exist_cannot_be_told_and_is_no_traceback(
    site: Site, ended: Ended
) -> None:
    config = site.config.model_copy(update={"bucket": "no-such-bucket-anywhere"})
    code, lines = ended(site.start(config.encode()))
    assert code == 2
    assert "no-such-bucket-anywhere" in lines[-1]["what"]
    assert not any("exception" in line for line in lines)
