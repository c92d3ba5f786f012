"""A short chaos run, and what shows that its judge and its means can be believed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from time import monotonic
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.chaos.bench import Plan, Verdict, run_plan
from tests.chaos.checker import SICK_EXIT, Evidence, Violation, Wrong, check
from tests.chaos.journal import Execution, Journal, Loss, recoveries
from tests.chaos.project import Expected
from tests.chaos.proxy import Door, Network, Trouble, Watched
from tests.chaos.schedule import OF_OBJECTS, SCHEDULED, Kind, make_schedule

from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.result import Attempt, Cause, Output, Result

SHORT = Plan(seed=7, jobs=60, faults=32, span_seconds=30, lease_seconds=8)

LAYOUT = RunLayout(Location("bucket"), "r")
KEYS = ("a", "b")
EXPECTED = {"a": Expected(outputs=2, attempt=1), "b": Expected(0, 3, Cause.COMMAND)}


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_false_whatever_happens_to_agents_queue_and_network(
    tmp_path: Path,
) -> None:
    verdict = run_plan(SHORT, tmp_path)
    assert verdict.violations == (), "\n".join(verdict.lines())
    assert sum(verdict.faults[kind] for kind in SCHEDULED) == SHORT.faults
    assert set(verdict.faults) == {*SCHEDULED, *OF_OBJECTS}


@pytest.mark.timeout(600)
def test_there_is_one_merge_over_all_results_whatever_happens(tmp_path: Path) -> None:
    plan = replace(SHORT, jobs=20, faults=24, span_seconds=24, then=True)
    verdict = run_plan(plan, tmp_path)
    assert verdict.violations == (), "\n".join(verdict.lines())
    assert verdict.merges > 0


def test_a_seed_gives_the_same_faults_again_and_another_seed_others() -> None:
    first = make_schedule(1, 50, 60, 4)
    assert make_schedule(1, 50, 60, 4) == first
    assert make_schedule(2, 50, 60, 4) != first


def test_a_schedule_is_in_order_within_its_time_and_has_every_kind() -> None:
    faults = make_schedule(3, 50, 60, 4)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert all(0 <= fault.at <= 60 for fault in faults)
    assert {fault.kind for fault in faults} == set(SCHEDULED)
    assert all(fault.seconds > 4 for fault in faults if fault.kind is Kind.PAUSE)


def content(number: int, nonce: str = "n1", worker: str = "i-1") -> bytes:
    return f"a {nonce} {number} /x/{worker}/w/jobs/00/0/scratch\n".encode()


def output(number: int, body: bytes) -> Output:
    return Output(
        key=f"a.{number}", size=len(body), sha256=hashlib.sha256(body).hexdigest(), etag="e"
    )


def result(key: str, outputs: tuple[Output, ...], **fields: Any) -> Result:
    facts: dict[str, Any] = {
        "run": "r", "key": key, "attempt": 1, "worker": "i-1", "started_at": "",
        "finished_at": "", "status": "succeeded", "outputs": outputs,
    }  # fmt: skip
    return Result(**facts | fields)


@pytest.fixture
def good() -> Evidence:
    """A run of two jobs, of which one was to fail, with nothing wrong."""
    bodies = [content(0), content(1)]
    broken = result("b", (), attempt=3, status="failed", cause=Cause.COMMAND)
    return Evidence(
        manifest=KEYS,
        results={
            LAYOUT.result("a"): result("a", (output(0, bodies[0]), output(1, bodies[1]))),
            LAYOUT.result("b"): broken,
        },
        contents={"a.0": bodies[0], "a.1": bodies[1]},
        attempts=(),
        heartbeats=(heartbeat("i-1", WorkerState.LEFT),),
    )


def heartbeat(worker: str, state: WorkerState) -> Heartbeat:
    return Heartbeat(worker=worker, state=state, started=0, seen=0, interval_seconds=1)


def violations(
    evidence: Evidence,
    killed: tuple[str, ...] = (),
    sick: tuple[str, ...] = (),
    unwitnessed: tuple[str, ...] = (),
) -> str:
    return "\n".join(map(str, check(evidence, LAYOUT, EXPECTED, killed, sick, unwitnessed)))


def charged(key: str, worker: str, exit_code: int = 1) -> Attempt:
    return Attempt(
        run="r", key=key, attempt=1, worker=worker, started_at="", finished_at="",
        cause=Cause.COMMAND, message=f"exit {exit_code}", exit_code=exit_code,
    )  # fmt: skip


def with_result(good: Evidence, key: str, **fields: Any) -> Evidence:
    place = LAYOUT.result(key)
    changed = good.results[place].model_copy(update=fields)
    return replace(good, results={**good.results, place: changed})


def test_the_checker_finds_nothing_in_a_good_run(good: Evidence) -> None:
    assert violations(good) == ""


def test_the_checker_finds_a_job_without_result(good: Evidence) -> None:
    only_a = {LAYOUT.result("a"): good.results[LAYOUT.result("a")]}
    assert violations(replace(good, results=only_a)) == "lost: b has no result"


def test_the_checker_finds_a_result_of_nothing(good: Evidence) -> None:
    extra = {**good.results, LAYOUT.result("c"): result("c", ())}
    assert "is the result of no input" in violations(replace(good, results=extra))


def test_the_checker_finds_a_missing_output(good: Evidence) -> None:
    assert "a.1 of a is missing" in violations(replace(good, contents={"a.0": content(0)}))


def test_the_checker_finds_an_output_that_another_execution_has_replaced(good: Evidence) -> None:
    mixed = {**good.contents, "a.1": content(1, "n2", "i-2")}
    found = violations(replace(good, contents=mixed))
    assert "a.1 of a is not what its result says" in found
    assert "the outputs of a are of 2 executions" in found


def test_the_checker_finds_an_output_of_no_result(good: Evidence) -> None:
    stray = {**good.contents, "a.2": content(2)}
    assert (
        violations(replace(good, contents=stray)) == "doubled: the output a.2 is named by no result"
    )


def test_the_checker_finds_a_false_failure_and_a_false_success(good: Evidence) -> None:
    failed = with_result(good, "a", status="failed", cause=Cause.INFRASTRUCTURE)
    assert "a failed with cause infrastructure" in violations(failed)
    succeeded = with_result(good, "b", status="succeeded", cause=None)
    assert "b succeeded with cause None" in violations(succeeded)


def test_the_checker_finds_an_interruption_that_was_charged(good: Evidence) -> None:
    assert "attempt 2 instead of 1" in violations(with_result(good, "a", attempt=2))
    assert "a was charged for command" in violations(replace(good, attempts=(charged("a", "i-1"),)))


def test_a_sick_worker_may_charge_a_file_before_anybody_can_know(good: Evidence) -> None:
    late = with_result(replace(good, attempts=(charged("a", "i-9", SICK_EXIT),)), "a", attempt=2)
    assert violations(late, sick=("i-9",)) == ""
    assert "wrongly charged: a was charged for command" in violations(late)


def test_the_checker_finds_a_sick_worker_that_has_charged_a_third_file(good: Evidence) -> None:
    # b is to fail in any case: what a sick worker charges to it counts, too.
    attempts = tuple(charged("b", "i-9", SICK_EXIT) for _ in range(3))
    few = violations(replace(good, attempts=attempts[:2]), sick=("i-9",))
    assert few == ""
    many = violations(replace(good, attempts=attempts), sick=("i-9",))
    assert many == "wrongly charged: i-9 is sick, and has charged 3 files"
    alone = violations(replace(good, attempts=attempts), sick=("i-9",), unwitnessed=("i-9",))
    assert alone == ""


def test_a_file_that_a_sick_worker_has_charged_may_use_no_more_attempts_than_that(
    good: Evidence,
) -> None:
    attempts = (charged("a", "i-9", SICK_EXIT),)
    late = with_result(replace(good, attempts=attempts), "a", attempt=3)
    assert violations(late, sick=("i-9",)) == (
        "wrongly charged: a ended with attempt 3 instead of 2"
    )


def test_a_copy_of_a_message_need_not_know_what_a_sick_worker_has_charged_to_the_other(
    good: Evidence,
) -> None:
    attempts = (charged("a", "i-9", SICK_EXIT),)
    first = with_result(replace(good, attempts=attempts), "a", attempt=1)
    assert violations(first, sick=("i-9",)) == ""


@pytest.mark.parametrize("kind", OF_OBJECTS)
def test_the_checker_wants_an_input_that_s3_refuses_to_fail_at_the_second_try(
    good: Evidence, kind: Kind
) -> None:
    expected = {**EXPECTED, "b": Expected(0, 2, Cause.INPUT, kind)}
    refused = with_result(good, "b", attempt=2, cause=Cause.INPUT)
    assert list(check(refused, LAYOUT, expected)) == []
    for wrong in ({"attempt": 1}, {"cause": Cause.INFRASTRUCTURE}, {"status": "succeeded"}):
        assert list(check(with_result(refused, "b", **wrong), LAYOUT, expected))


def test_the_verdict_counts_what_is_wrong_by_its_kind() -> None:
    verdict = Verdict(
        plan=SHORT, seconds=1, workers=1, faults={}, requests_hit={}, executions=1, recoveries=(),
        calms={}, charged_by_sick=0,
        violations=(Violation(Wrong.LOST, "b has no result"), Violation(Wrong.LOST, "c has none")),
    )  # fmt: skip
    assert verdict.lines()[-3:] == [
        "lost 2  doubled 0  false 0  wrongly charged 0  left behind 0",
        "lost: b has no result",
        "lost: c has none",
    ]


def test_the_checker_finds_a_worker_that_has_not_left_unless_it_was_killed(good: Evidence) -> None:
    busy = replace(good, heartbeats=(heartbeat("i-2", WorkerState.BUSY),))
    assert violations(busy) == "left behind: i-2 has not left: busy"
    assert violations(busy, killed=("i-2",)) == ""


def test_the_time_to_recover_is_from_the_loss_of_a_worker_to_the_next_start() -> None:
    executions = [
        Execution("a", "i-1", 1.0, None),
        Execution("a", "i-2", 7.5, 9.0),
        Execution("b", "i-1", 1.0, 2.0),
    ]
    journal = Journal(losses=[Loss("i-1", Kind.UNPLUG, 3.0)])
    assert [(r.key, r.seconds) for r in recoveries(executions, journal)] == [("a", 4.5)]


@pytest.mark.parametrize("at", [5.0, 2.0], ids=["after the loss", "while it ran"])
def test_a_job_whose_message_was_taken_away_has_no_time_to_recover(at: float) -> None:
    executions = [Execution("a", "i-1", 1.0, None), Execution("a", "i-2", 7.5, 9.0)]
    losses = [Loss("i-1", Kind.UNPLUG, 3.0)]
    taken = Journal(losses, taken={"a": [at]})
    assert list(recoveries(executions, taken)) == []
    assert list(recoveries(executions, Journal(losses, purges=[at]))) == []


class Echo(BaseHTTPRequestHandler):
    """Counts requests, and answers each like an empty listing or an empty receive."""

    protocol_version = "HTTP/1.1"
    seen: Counter[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer("sqs", json.dumps({"Messages": []}))

    def do_GET(self) -> None:
        listing = "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
        self._answer("s3", f"<?xml version='1.0'?>{listing}")

    def _answer(self, service: str, body: str) -> None:
        self.seen[service] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@cache
def session() -> boto3.Session:
    """One for all: the first client of each service reads megabytes of JSON."""
    return boto3.Session("key", "secret", region_name="us-east-1")


class Clouds:
    """A door to a server that counts, with impatient clients in front of it."""

    def __init__(self, door: Door, watched: Watched, seen: Counter[str], authority: Path) -> None:
        self.door = door
        self.watched = watched
        self.seen = seen
        self.hit: Counter[Kind] = Counter()
        once = Config(retries={"total_max_attempts": 1}, read_timeout=1)
        self._s3, self._sqs = (
            session().client(name, endpoint_url=door.endpoint, config=once, verify=str(authority))
            for name in ("s3", "sqs")
        )

    def impose(self, kind: Kind, seconds: float = 60) -> None:
        until = monotonic() + seconds
        self.door.impose(Trouble(kind, until, 1.0, Random(1), self.hit))

    def s3(self) -> str:
        return self._outcome(lambda: self._s3.list_objects_v2(Bucket="bucket"))

    def get(self, key: str) -> str:
        return self._outcome(lambda: self._s3.get_object(Bucket="bucket", Key=key))

    def sqs(self) -> str:
        url = f"{self.door.endpoint}/1/q"
        return self._outcome(lambda: self._sqs.receive_message(QueueUrl=url))

    def _outcome(self, call: Any) -> str:
        try:
            call()
        except ClientError as error:
            return error.response["Error"]["Code"]
        except BotoCoreError as error:
            return type(error).__name__
        return "ok"


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    seen: Counter[str] = Counter()
    handler = type("Handler", (Echo,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    with Network(endpoint, tmp_path) as network:
        yield Clouds(network.open_door(), network.watched, seen, network.authority)
    server.shutdown()
    server.server_close()


def test_a_door_lets_everything_through(clouds: Clouds) -> None:
    assert (clouds.s3(), clouds.sqs()) == ("ok", "ok")


@pytest.mark.parametrize(
    ("kind", "s3", "sqs"),
    [
        (Kind.THROTTLE, "SlowDown", "RequestThrottled"),
        (Kind.ERROR, "InternalError", "InternalFailure"),
        (Kind.BUSY_S3, "SlowDown", "ok"),
        (Kind.OUTAGE, "SlowDown", "ok"),
        (Kind.BUSY_SQS, "ok", "RequestThrottled"),
    ],
)
def test_a_door_answers_with_the_errors_of_each_service(
    clouds: Clouds, kind: Kind, s3: str, sqs: str
) -> None:
    clouds.impose(kind)
    assert (clouds.s3(), clouds.sqs()) == (s3, sqs)
    assert clouds.seen.total() == [s3, sqs].count("ok")


def test_a_lost_answer_is_to_a_request_that_was_carried_out(clouds: Clouds) -> None:
    clouds.impose(Kind.LOSE_ANSWER)
    assert clouds.s3() == "ConnectionClosedError"
    assert clouds.seen["s3"] == 1


def test_a_lost_request_never_arrives(clouds: Clouds) -> None:
    clouds.impose(Kind.LOSE_REQUEST)
    assert clouds.s3() == "ConnectionClosedError"
    assert clouds.seen["s3"] == 0


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.CORRUPT, Kind.GARBLE])
def test_an_answer_that_is_spoilt_is_noticed(clouds: Clouds, kind: Kind) -> None:
    clouds.impose(kind)
    assert clouds.s3() != "ok"
    assert clouds.seen["s3"] == 1


@pytest.mark.parametrize(
    ("kind", "s3", "sqs"),
    [(Kind.NO_S3, "ReadTimeoutError", "ok"), (Kind.NO_SQS, "ok", "ReadTimeoutError")],
)
def test_a_door_cuts_off_one_service_and_not_the_other(
    clouds: Clouds, kind: Kind, s3: str, sqs: str
) -> None:
    clouds.impose(kind)
    assert (clouds.s3(), clouds.sqs()) == (s3, sqs)


def test_an_answer_that_trickles_comes_whole_in_the_end(clouds: Clouds) -> None:
    clouds.impose(Kind.TRICKLE, seconds=0.9)
    assert clouds.s3() == "ok"
    assert clouds.hit[Kind.TRICKLE] == 1


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Kind.FORBIDDEN, "AccessDenied"), (Kind.ARCHIVED, "InvalidObjectState")],
)
def test_one_object_is_refused_through_every_door_and_no_other(
    clouds: Clouds, kind: Kind, code: str
) -> None:
    clouds.watched.refused = {"/bucket/cold": kind}
    assert (clouds.get("cold"), clouds.get("warm")) == (code, "ok")


@pytest.mark.parametrize("trouble", [Kind.SLOW, Kind.TRICKLE])
def test_one_object_is_refused_on_a_slow_way_too(clouds: Clouds, trouble: Kind) -> None:
    clouds.watched.refused = {"/bucket/cold": Kind.FORBIDDEN}
    clouds.impose(trouble, seconds=0.9)
    assert clouds.get("cold") == "AccessDenied"


def test_a_trouble_passes(clouds: Clouds) -> None:
    clouds.impose(Kind.ERROR, seconds=-1)
    assert clouds.s3() == "ok"
