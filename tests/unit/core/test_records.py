"""Records that cross a process boundary: what is written is read, and garbage is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parallelize_core.config import MAX_USER_DATA_BYTES, AgentConfig
from parallelize_core.errors import DecodeError, ParallelizeError, UsageError
from parallelize_core.heartbeat import Heartbeat, Peaks, WorkerState
from parallelize_core.layout import Location
from parallelize_core.result import Attempt, Cause, Output, Result
from parallelize_core.run import Environment, Limits, Run

RUN = Run(
    name="scans",
    command=("./job.sh", "--fast"),
    environment=Environment(bucket="bucket", key="environment/1.zip", identity="1"),
    input=Location("bucket", "in/"),
    output=Location("other", ""),
    limits=Limits(timeout_seconds=1800, require_output=True),
    created_at="2026-11-20T21:39:02Z",
)
RESULT = Result(
    run="scans",
    key="a/ü.tif",
    attempt=2,
    worker="i-1",
    started_at="2026-11-20T21:39:02Z",
    finished_at="2026-11-20T21:40:02Z",
    status="succeeded",
    exit_code=0,
    outputs=(Output(key="a/ü.csv", size=3, sha256="0" * 64, etag="e"),),
)
HEARTBEAT = Heartbeat(
    worker="i-1", state=WorkerState.BUSY, started=1.0, seen=100.0, interval_seconds=30,
    leaving=90.0,
    peaks=Peaks(
        cpus=4, cpu=0.5, memory_bytes=1, memory_total_bytes=2, disk_bytes=3, disk_total_bytes=4
    ),
)  # fmt: skip
CONFIG = AgentConfig(
    run="scans",
    bucket="bucket",
    queue_url="http://queue",
    dead_letter_queue_url="http://dead",
    slots="2x",
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)

Decode = Callable[[bytes], object]
DECODERS: list[Decode] = [
    Run.decode,
    Attempt.decode,
    Result.decode,
    Heartbeat.decode,
    lambda body: AgentConfig.decode(body, "user data"),
]


@pytest.mark.parametrize("record", [RUN, RESULT, HEARTBEAT], ids=lambda r: type(r).__name__)
def test_a_record_reads_as_it_was_written(record: Run | Result | Heartbeat) -> None:
    assert type(record).decode(record.encode()) == record


def test_a_configuration_reads_as_it_was_written_and_fits_in_user_data() -> None:
    text = CONFIG.encode()
    assert AgentConfig.decode(text, "user data") == CONFIG
    assert len(text.encode()) < MAX_USER_DATA_BYTES


@pytest.mark.parametrize("record", [RUN, RESULT, HEARTBEAT], ids=lambda r: type(r).__name__)
def test_a_record_of_a_newer_client_with_one_more_field_is_read(
    record: Run | Result | Heartbeat,
) -> None:
    newer = json.loads(record.encode()) | {"invented_later": True}
    assert type(record).decode(json.dumps(newer).encode()) == record


def test_a_heartbeat_of_an_agent_that_knew_no_peaks_is_read() -> None:
    older = json.loads(HEARTBEAT.encode())
    del older["peaks"], older["leaving"]
    read = Heartbeat.decode(json.dumps(older).encode())
    assert (read.peaks, read.leaving) == (None, None)
    assert read.worker == HEARTBEAT.worker


@pytest.mark.parametrize("record", [RUN, RESULT, HEARTBEAT], ids=lambda r: type(r).__name__)
def test_a_record_of_another_version_is_refused(record: Run | Result | Heartbeat) -> None:
    other = json.loads(record.encode()) | {"v": 9}
    with pytest.raises(DecodeError):
        type(record).decode(json.dumps(other).encode())


@pytest.mark.parametrize("decode", DECODERS)
@given(body=st.binary() | st.text().map(lambda text: json.dumps(text).encode()))
def test_garbage_is_refused_by_an_error_of_ours(decode: Decode, body: bytes) -> None:
    with pytest.raises(UsageError):
        decode(body)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"v":' + b"9" * 10_000 + b"}"])
def test_a_record_made_to_hurt_is_refused(decode: Decode, body: bytes) -> None:
    with pytest.raises(UsageError):
        decode(body)


def test_of_a_newer_clients_configuration_an_agent_knows_at_least_whose_it_is() -> None:
    newer = json.loads(CONFIG.encode()) | {"v": 2, "invented_later": True, "slots": {"cpu": 1}}
    known = AgentConfig.decode_identity(json.dumps(newer))
    assert known
    assert known.layout == CONFIG.layout


@given(body=st.binary() | JSON.map(json.dumps))
@example(body=b"[" * 100_000)
@example(body='{"run": 1}')
def test_of_garbage_an_agent_knows_nothing_and_does_not_break(body: bytes | str) -> None:
    assert AgentConfig.decode_identity(body) is None


def test_a_mistyped_setting_of_the_agent_is_refused_and_named() -> None:
    wrong = json.loads(CONFIG.encode()) | {"lease_second": 60}
    with pytest.raises(UsageError) as caught:
        AgentConfig.decode(json.dumps(wrong), "worker.json")
    assert "worker.json" in caught.value.what
    assert "lease_second" in (caught.value.why or "")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lease_seconds", 12 * 60 * 60 + 1),
        ("poll_seconds", 21),
        ("transfers", 0),
        ("max_runtime_seconds", 0),
        ("drain", {"samples": 0}),
    ],
)
def test_a_setting_beyond_what_sqs_or_sense_allows_is_refused(setting: str, value: object) -> None:
    wrong = json.loads(CONFIG.encode()) | {setting: value}
    with pytest.raises(UsageError, match=setting):
        AgentConfig.decode(json.dumps(wrong), "worker.json")


@pytest.mark.parametrize("cause", Cause)
def test_only_what_the_job_itself_did_counts_as_an_attempt(cause: Cause) -> None:
    assert cause.charged == (cause not in {"interrupted", "infrastructure"})


@pytest.mark.parametrize("state", WorkerState)
def test_a_worker_counts_as_alive_until_it_has_ended(state: WorkerState) -> None:
    beat = HEARTBEAT.model_copy(update={"state": state})
    assert beat.alive(now=101.0) == (state not in {"left", "failed"})


def test_a_worker_that_missed_three_heartbeats_counts_as_dead() -> None:
    assert HEARTBEAT.alive(now=190.0)
    assert not HEARTBEAT.alive(now=190.1)


def tree(kind: type[ParallelizeError]) -> list[type[ParallelizeError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize("kind", tree(ParallelizeError), ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_that_scripts_can_rely_on(
    kind: type[ParallelizeError],
) -> None:
    assert 1 <= kind.exit_code <= 7


def test_an_error_says_what_why_and_how_to_mend_it_in_this_order() -> None:
    assert str(UsageError("what", "why", "mend")) == "what\nwhy\nfix: mend"
    assert str(UsageError("what")) == "what"
