"""`parallelize doctor` against moto."""

import contextlib
import json
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO

import botocore.handlers
import pytest
from botocore.awsrequest import AWSResponse
from moto.ec2.models import ec2_backends

from parallelize_core.heartbeat import Heartbeat, WorkerState


class Body(BytesIO):
    """An answer's body, as botocore reads it."""

    def stream(self):
        yield self.read()


def findings(parallelize):
    code, out, _ = parallelize("doctor", "--json", "--run", "scans")
    return code, {one["check"]: one for one in json.loads(out)["findings"]}


def test_a_fresh_account_lacks_the_stack_and_is_told_how_to_make_it(account, parallelize):
    code, found = findings(parallelize)
    assert code == 2
    assert found["stack"]["verdict"] == "bad"
    assert found["stack"]["fix"] == "parallelize setup"
    assert found["credentials"]["verdict"] == "good"


@pytest.fixture
def old_workers(account, parallelize):
    """Two machines of another run that were started two hours ago, by id."""
    account.prepare("other")
    parallelize("launch", "2", "--run", "other")
    before = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    for reservation in ec2_backends["123456789012"]["eu-west-1"].reservations.values():
        for machine in reservation.instances:
            machine.launch_time = before
    return [machine["InstanceId"] for machine in account.machines("other")]


def beat(account, worker, seen):
    account.beat(
        "other",
        Heartbeat(worker=worker, state=WorkerState.BUSY, started=0, seen=seen, interval_seconds=30),
    )


def test_leftovers_of_other_runs_are_seen(account, parallelize, old_workers):
    for worker in old_workers:
        beat(account, worker, seen=time.time() - 3600)
    _, found = findings(parallelize)
    assert found["leftovers"]["verdict"] == "look"
    assert found["leftovers"]["text"].startswith("2 resources of 1 run")
    assert found["leftovers"]["fix"] == "parallelize kill --run other"


def test_killing_workers_that_work_is_not_proposed(account, parallelize, old_workers):
    for worker in old_workers:
        beat(account, worker, seen=time.time())
    _, found = findings(parallelize)
    assert found["leftovers"]["verdict"] == "good"
    assert "2 machines working" in found["leftovers"]["text"]
    assert found["leftovers"]["fix"] == ""


def test_an_account_without_leftovers_is_clean(account, parallelize):
    assert findings(parallelize)[1]["leftovers"]["verdict"] == "good"


def test_without_credentials_nothing_else_is_asked(account, parallelize, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, out, _ = parallelize("doctor", "--json")
    (finding,) = json.loads(out)["findings"]
    assert code == 4
    assert finding["text"] == "no AWS credentials found"


@contextlib.contextmanager
def refusing(code, message, date):
    """Let every call be refused in these words, as of this time; moto checks no signatures."""

    def refuse(**_):
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"<ErrorResponse>{error}</ErrorResponse>"
        headers = {"date": format_datetime(date, usegmt=True)}
        return AWSResponse("https://sts", 403, headers, Body(body.encode()))

    with pytest.MonkeyPatch.context() as patch:
        handlers = [("before-send", refuse), *botocore.handlers.BUILTIN_HANDLERS]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        yield


def test_a_wrong_clock_is_not_called_wrong_credentials_and_told_by_how_much(account, parallelize):
    there = datetime.now(UTC) + timedelta(hours=1)
    words = "Signature expired: 20261120T100000Z is now earlier than 20261120T105500Z"
    with refusing("SignatureDoesNotMatch", words, there):
        code, found = findings(parallelize)
    assert code == 2
    assert found["credentials"]["text"] == "this machine's clock is wrong"
    assert re.fullmatch(r"is (3599|3600|3601) s off", found["clock"]["text"])
    assert found.keys() == {"credentials", "clock"}


def test_credentials_that_are_wrong_are_no_reason_to_doubt_the_clock(account, parallelize):
    with refusing("InvalidClientTokenId", "The security token is invalid", datetime.now(UTC)):
        _, found = findings(parallelize)
    assert "does not accept these credentials" in found["credentials"]["text"]
    assert found["clock"]["verdict"] == "good"


def test_a_caller_whose_policies_cannot_be_simulated_is_said_and_is_no_error(account, parallelize):
    finding = findings(parallelize)[1]["permissions"]
    assert finding["verdict"] == "look"
    assert "cannot simulate the policies" in finding["text"]


def test_a_start_is_not_said_to_be_allowed_while_the_role_to_try_it_with_is_not_there(
    account, parallelize
):
    assert "RunInstances could not be tried" in findings(parallelize)[1]["permissions"]["text"]
    account.client("iam").create_instance_profile(InstanceProfileName="parallelize-agent-eu-west-1")
    assert "EC2's dry runs pass" in findings(parallelize)[1]["permissions"]["text"]


def test_an_image_for_other_processors_than_those_of_the_settings_is_bad(
    account, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7g.xlarge")
    _, found = findings(parallelize)
    assert found["image"]["verdict"] == "bad"
    assert "is for x86_64, not for c7g.xlarge" in found["image"]["text"]


def test_the_plain_image_is_looked_for_that_the_machines_can_run(
    account, parallelize, vendors, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI", "stock")
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7g.xlarge")
    _, found = findings(parallelize)
    assert vendors["stock", "arm64"] in found["image"]["text"]


def test_every_line_fits_on_a_terminal(account, parallelize):
    _, _, err = parallelize("doctor")
    assert max(map(len, err.splitlines())) <= 80
