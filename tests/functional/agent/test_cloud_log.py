"""The copy of the agent's log in CloudWatch Logs, against moto, Stubber and a real agent."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from tests.functional.moto_server import moto_server

from parallelize_agent.reporting.cloud_log import (
    EVENT_OVERHEAD_BYTES,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    MAX_LINE_CHARACTERS,
    MAX_WAITING,
    CloudLog,
    batches,
    without_words_of_commands,
)
from parallelize_core.config import AgentConfig

GROUP, STREAM = "/parallelize/agents", "scans/i-1"
NEVER = 3600.0
"""Only the end sends."""


def make_client(**more):
    return boto3.client(
        "logs", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b", **more
    )


@pytest.fixture
def client():
    with mock_aws():
        logs = make_client()
        logs.create_log_group(logGroupName=GROUP)
        yield logs


def lines(client, stream=STREAM):
    found = client.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)
    return [one["message"] for one in found["events"]]


def copied(client, *given, group=GROUP):
    copy = CloudLog(client, group, STREAM, NEVER)
    copy.start()
    for line in given:
        copy.add(line)
    copy.close(60)
    return copy


def test_the_last_lines_are_sent_when_the_agent_leaves(client):
    copied(client, "one", "two")
    assert lines(client) == ["one", "two"]


def test_an_agent_that_was_restarted_goes_on_in_its_stream(client):
    copied(client, "before")
    copied(client, "after")
    assert lines(client) == ["before", "after"]


def test_a_flood_drops_the_oldest_lines_and_says_how_many(client):
    copied(client, *(str(number) for number in range(MAX_WAITING + 5)))
    first, *rest = lines(client)
    assert json.loads(first) == {"event": "log lines dropped", "lines": 5}
    assert rest[-1] == str(MAX_WAITING + 4)
    assert len(rest) == MAX_WAITING - 1


def test_a_line_that_never_ends_is_cut(client):
    copied(client, "x" * (MAX_LINE_CHARACTERS + 1))
    assert [len(line) for line in lines(client)] == [MAX_LINE_CHARACTERS]


def test_without_its_group_nothing_is_sent_and_nothing_is_raised(client):
    copied(client, "one", group="/another")
    assert [group["logGroupName"] for group in
            client.describe_log_groups()["logGroups"]] == [GROUP]  # fmt: skip


def test_what_could_not_be_sent_is_sent_later():
    client, sent = make_client(), threading.Event()
    place = {"logGroupName": GROUP, "logStreamName": STREAM}
    with Stubber(client) as stub:
        stub.add_response("create_log_stream", {}, place)
        stub.add_client_error("put_log_events", "ServiceUnavailableException", "", 503)
        stub.add_response("put_log_events", {}, {**place, "logEvents": ANY})
        client.meta.events.register("after-call.*.PutLogEvents", lambda **_: sent.set())
        copy = CloudLog(client, GROUP, STREAM, 0.01)
        copy.add("one")
        copy.start()
        assert sent.wait(20)
        copy.close()
        stub.assert_no_pending_responses()


def event(text, times=1):
    return {"timestamp": 0, "message": text * times}


events = st.lists(
    st.builds(event, st.text(min_size=1, max_size=3), st.integers(1, 200_000)), max_size=30
)


@given(events)
def test_batches_are_what_putlogevents_takes_and_lose_nothing(given):
    found = list(batches(given))
    assert [one for batch in found for one in batch] == given
    for batch in found:
        size = sum(len(one["message"].encode()) + EVENT_OVERHEAD_BYTES for one in batch)
        assert size <= MAX_BATCH_BYTES or len(batch) == 1
        assert batch


def test_a_batch_has_no_more_events_than_putlogevents_takes():
    given = [event("x")] * (MAX_BATCH_EVENTS + 1)
    assert [len(batch) for batch in batches(given)] == [MAX_BATCH_EVENTS, 1]


def test_what_a_command_said_stays_on_the_machine():
    line = {"event": "job settled", "key": "a", "why": "exit 1: password=x", "command": ("a",)}
    assert without_words_of_commands(line) == {"event": "job settled", "key": "a"}


@pytest.fixture
def endpoint():
    with moto_server() as url:
        yield url
        urlopen(Request(f"{url}/moto-api/reset", method="POST"))


@pytest.fixture
def agent(endpoint, tmp_path):
    """Run an agent that cannot work; answer its exit code, its log, and the copy of its log."""
    logs = make_client(endpoint_url=endpoint)
    logs.create_log_group(logGroupName=GROUP)
    config = AgentConfig(
        run="nowhere", bucket="none", region="eu-west-1", log_group=GROUP,
        queue_url=f"{endpoint}/q", dead_letter_queue_url=f"{endpoint}/d",
    )  # fmt: skip
    file = tmp_path / "agent.json"
    file.write_text(config.encode())

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "parallelize_agent", "--config", file, *words],
            env={"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a",
                 "AWS_SECRET_ACCESS_KEY": "b"},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        (stream,) = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
        assert stream["logStreamName"].startswith("nowhere/")
        copies = map(json.loads, lines(logs, stream["logStreamName"]))
        return done.returncode, done.stderr, list(copies)

    return run


def test_an_agent_that_fails_has_said_so_in_the_log_before_it_is_gone(agent):
    code, printed, copies = agent()
    assert code == 2, printed
    local = [json.loads(line) for line in printed.splitlines()]
    assert [line["event"] for line in copies] == [line["event"] for line in local]
    assert copies[-1]["event"] == "failed"
    assert all(datetime.fromisoformat(line["timestamp"]).tzinfo == UTC for line in copies)


def test_an_agent_that_crashes_leaves_its_traceback(agent):
    code, _, copies = agent("--work-dir", "/dev/null/work")
    assert code == 1
    assert copies[-1]["event"] == "crashed"
    assert "NotADirectoryError" in copies[-1]["exception"]
