"""What passes by itself is outlasted for its time, and everything else is told at once."""

import time

import pytest
from botocore.exceptions import ClientError
from tests.strict_aws.clock import Clock

from parallelize_core import outlast as waits
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, ThrottledError, code_of
from parallelize_core.outlast import (
    BUSY_GROUP,
    DELETED_GROUP,
    DELETED_QUEUE,
    NEW_QUEUE,
    Passing,
    outlast,
)
from parallelize_core.transport import answers
from parallelize_core.transport.answers import Reply, ReplyError

ALL = [one for one in vars(waits).values() if isinstance(one, Passing) and one.codes]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock(lambda: 0.0)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", clock.now)
    return clock


def failing(*codes, message="no"):
    """Make a call that fails with each code once, and then gives "done"."""
    left = list(codes)

    @translated("AWS")
    def call():
        if left:
            error = {"Code": left.pop(0), "Message": message}
            raise ClientError({"Error": error}, "Operation")
        return "done"

    return call


@pytest.mark.parametrize("passing", ALL, ids=lambda one: one.what)
def test_each_answer_that_passes_is_outlasted(passing):
    for code in passing.codes:
        assert outlast(passing, failing(code, code, message=passing.words)) == "done"


def test_older_names_of_sqs_are_the_same_answer():
    assert outlast(NEW_QUEUE, failing("AWS.SimpleQueueService.NonExistentQueue")) == "done"


@pytest.mark.parametrize("passing", [NEW_QUEUE, DELETED_QUEUE], ids=lambda one: one.what)
def test_it_is_outlasted_whether_boto3_makes_the_call_or_our_own_connection(passing):
    (code, *_) = passing.codes
    left = [code, code]

    def call():
        if left:
            refusal = ReplyError(
                Reply(400, {}, b'{"__type": "com.amazonaws.sqs#%b"}' % left.pop().encode())
            )
            raise answers.translated(refusal, "the queue q") from refusal
        return "done"

    assert outlast(passing, call) == "done"


@pytest.mark.parametrize("passing", ALL, ids=lambda one: one.what)
def test_it_is_told_when_its_time_is_over_and_not_before(passing, clock):
    (code, *_) = passing.codes
    with pytest.raises(ParallelizeError) as told:
        outlast(passing, failing(*[code] * 1000, message=passing.words))
    assert code_of(told.value) == code
    assert passing.seconds <= clock.slept <= passing.seconds + waits.MAX_PAUSE_SECONDS


@pytest.mark.parametrize("code", ["Throttling", "ThrottlingException", "RequestThrottled"])
def test_refusals_for_the_number_of_calls_are_outlasted_as_long_as_what_is_meant(code, clock):
    told = []
    assert outlast(BUSY_GROUP, failing(*[code] * 6), told.append) == "done"
    assert told == ["waiting: AWS is throttling calls"]
    clock.slept = 0
    with pytest.raises(ThrottledError):
        outlast(BUSY_GROUP, failing(*[code] * 1000))
    assert BUSY_GROUP.seconds <= clock.slept <= BUSY_GROUP.seconds + waits.MAX_PAUSE_SECONDS


def test_another_error_is_told_at_once(clock):
    with pytest.raises(ParallelizeError):
        outlast(BUSY_GROUP, failing("AccessDenied"))
    assert clock.slept == 0


def test_a_name_that_is_taken_for_good_is_told_at_once(clock):
    message = "AutoScalingGroup by this name already exists"
    with pytest.raises(ParallelizeError):
        outlast(DELETED_GROUP, failing("AlreadyExists", message=message))
    assert clock.slept == 0


def test_an_answer_that_comes_too_early_is_asked_for_again():
    answers = iter(["none", "none", "two"])
    assert outlast(BUSY_GROUP, lambda: next(answers), early=lambda one: one == "none") == "two"


def test_who_waits_is_told_once_what_for_and_only_if_it_takes_long():
    told = []
    outlast(BUSY_GROUP, failing("ScalingActivityInProgress"), told.append)
    assert told == []
    outlast(BUSY_GROUP, failing(*["ScalingActivityInProgress"] * 8), told.append)
    assert told == ["waiting: the Auto Scaling group is starting or ending machines"]
