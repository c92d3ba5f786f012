"""Transcripts: written line by line as the calls are made, and read again."""

import io
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from parallelize.live.redaction import Redactor
from parallelize.live.transcript import (
    Header,
    Line,
    Recorder,
    Refused,
    Said,
    Transcript,
    read,
)
from parallelize_core.errors import DecodeError
from parallelize_core.transport import endpoints

HEADER = Header(
    program="parallelize 0.1.0", region="eu-west-1", aws=True, started="2026-11-29T00:00:00+00:00",
    run="live-bcdfghjkmnpq",
)  # fmt: skip
LINE = Line(
    step="queues", at=0.5, took=0.1, service="sqs", operation="ListQueues", params={},
    error=Refused(code="AccessDenied", status=403),
)  # fmt: skip

SAID = Said(step="queues", good=True, said="ten messages in a batch: taken")


def test_what_was_written_is_read_again():
    file = io.StringIO()
    transcript = Transcript(file, HEADER)
    transcript.add(LINE)
    transcript.add(SAID)
    assert read(file.getvalue().splitlines()) == (HEADER, [LINE], [SAID])
    assert file.getvalue().startswith('{"schema":1,')


def test_a_line_is_there_as_soon_as_the_call_is_answered(tmp_path):
    path = tmp_path / "transcript.jsonl"
    with path.open("w") as file:
        Transcript(file, HEADER).add(LINE)
        assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '{"schema":2}', "[]"])
def test_what_is_no_transcript_is_refused(text):
    with pytest.raises(DecodeError, match="not a transcript"):
        read(text.splitlines())


def test_a_call_without_any_answer_is_written_down_with_what_went_wrong():
    lines: list[Any] = []
    recorder = Recorder(Redactor(HEADER.run), lines.append)
    session = boto3.Session("key", "secret", region_name="eu-west-1")
    recorder.listen(session)
    recorder.step = "queues"
    once = Config(retries={"total_max_attempts": 1})
    sqs = session.client("sqs", endpoint_url="http://127.0.0.1:9", config=once)
    with pytest.raises(EndpointConnectionError):
        sqs.list_queues(QueueNamePrefix="somebody's")
    (line,) = lines
    assert (line.step, line.operation, line.answer) == ("queues", "ListQueues", None)
    assert line.params == {"QueueNamePrefix": "<QueueNamePrefix 1>"}
    assert line.error == Refused(code="EndpointConnectionError")


def test_what_is_said_of_a_step_names_nothing_of_the_account():
    lines: list[Any] = []
    recorder = Recorder(Redactor(HEADER.run, ["our-bucket"]), lines.append)
    recorder.step = "machine"
    recorder.say("i-0123456789abcdef0 of 123456789012 read our-bucket: closed", good=True)
    told = "<Name 1> of <Name 2> read <Name 3>: closed"
    assert lines == [Said(step="machine", good=True, said=told)]


def test_a_request_that_was_only_made_to_see_where_it_goes_is_no_call():
    lines: list[Any] = []
    session = boto3.Session("key", "secret", region_name="eu-west-1")
    Recorder(Redactor(HEADER.run), lines.append).listen(session)
    sqs = session.client("sqs")
    sqs.meta.events.register_last("before-send.sqs", endpoints._answer_nothing)
    sqs.list_queues()
    assert lines == []
