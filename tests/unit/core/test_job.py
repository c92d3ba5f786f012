"""The message that stands for one input file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key, any_key

from parallelize_core import keys
from parallelize_core.errors import DecodeError
from parallelize_core.job import MAX_MESSAGE_BYTES, JobMessage

messages = st.builds(
    JobMessage,
    run=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80),
    key=accepted_key,
    size=st.integers(0, 5 * 1024**4),
    etag=st.text("0123456789abcdef-", max_size=40),
    stored=st.sampled_from(["", f"{'0a' * 32}/0mark"]),
    sha256=st.sampled_from(["", "0b" * 32]),
    attempt=st.integers(1, 1000),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def decode_or_refuse(body: str) -> JobMessage | None:
    try:
        return JobMessage.decode(body)
    except DecodeError as error:
        raw = error.raw
    assert raw == body
    return None


@given(messages)
def test_a_message_survives_the_queue(message: JobMessage) -> None:
    assert JobMessage.decode(message.encode()) == message


@given(messages)
def test_a_message_is_small_and_of_characters_that_sqs_takes(message: JobMessage) -> None:
    body = message.model_copy(update={"run": "run"}).encode()
    assert len(body.encode()) < MAX_MESSAGE_BYTES
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    assert all(
        c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
        for c in body
    )


@given(st.text())
def test_any_text_is_a_job_or_is_refused_with_the_text(body: str) -> None:
    decode_or_refuse(body)


@given(st.binary())
def test_any_bytes_read_as_text_are_a_job_or_are_refused(raw: bytes) -> None:
    decode_or_refuse(raw.decode("utf-8", "surrogateescape"))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "v": json_values,
            "run": st.just("run") | json_values,
            "key": any_key | json_values,
            "size": st.integers() | json_values,
            "etag": st.text() | json_values,
            "attempt": st.integers() | json_values,
            "more": json_values,
        },
    )
)
def test_a_body_that_looks_like_a_job_never_brings_a_bad_key(fields: dict[str, object]) -> None:
    message = decode_or_refuse(json.dumps(fields))
    if message is not None:
        assert keys.refusal(message.key) is None
        assert message.size >= 0
        assert message.attempt >= 1


@pytest.mark.parametrize(
    "body", ["", "[]", "[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "\ud800", "{}"]
)
def test_a_body_made_to_hurt_is_refused(body: str) -> None:
    with pytest.raises(DecodeError, match="not a job"):
        JobMessage.decode(body)


def test_a_message_of_another_version_is_refused_and_says_so() -> None:
    with pytest.raises(DecodeError) as caught:
        JobMessage.decode('{"v":2,"run":"r","key":"k","size":1}')
    assert caught.value.why is not None
    assert caught.value.why.startswith("v:")


def test_the_next_attempt_is_the_same_job() -> None:
    first = JobMessage(run="r", key="k", size=1, etag="e")
    assert first.next_attempt() == JobMessage(run="r", key="k", size=1, etag="e", attempt=2)


def test_what_ran_out_of_memory_gets_twice_its_peak_and_then_all_of_a_worker() -> None:
    message = JobMessage(run="r", key="x", size=1)
    second = message.with_more_memory(10**9)
    assert (second.attempt, second.memory_bytes, second.needs_all) == (2, 2 * 10**9, False)
    assert second.alone, "an agent that does not know the field runs it alone"
    third = JobMessage.decode(second.encode()).with_more_memory(2 * 10**9)
    assert (third.attempt, third.memory_bytes, third.needs_all) == (3, 0, True)


def test_what_ran_out_of_memory_with_an_unknown_peak_gets_all_of_a_worker() -> None:
    assert JobMessage(run="r", key="x", size=1).with_more_memory(0).needs_all


def test_a_message_says_nothing_of_memory_and_checkpoints_if_there_is_nothing_to_say() -> None:
    message = JobMessage(run="r", key="x", size=1)
    assert not {"memory_bytes", "resumes"} & json.loads(message.encode()).keys()
    assert JobMessage.decode(message.resuming().encode()).resumes
