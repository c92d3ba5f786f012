"""The emulator is held to what was recorded: each transcript in `transcripts`, call by call.

A file that somebody sends in is put there, and the emulator is made to answer as it says. The one
that is there was recorded behind the strict layer: no account has been asked yet.
"""

import re
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.conformance.replay import Step, filled, machines_of, replay
from tests.conformance.replay import states as seen_states
from tests.functional.fleet.conftest import (  # noqa: F401 - fixtures
    account,
    descriptions_read_once,
    give_parameter,
)
from tests.strict_aws.rules.groups import DeletedGroup
from tests.strict_aws.rules.logs import NewStream
from tests.strict_aws.rules.machines import EndedAtOnce, NewInstance
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue
from tests.strict_aws.rules.storage import BucketOwner, NewBucket
from tests.strict_aws.rules.templates import NewTemplate

from parallelize.fleet import tags
from parallelize.live.transcript import Header, Line, read

CALLS, MACHINE = "strict-layer", "strict-layer-machine"
"""What the project has recorded itself: `doctor --live`, and the same with `--machine`."""

TRANSCRIPTS = sorted(Path(__file__).with_name("transcripts").glob("*.jsonl"))
OURS = Config(user_agent_extra="parallelize", retries={"total_max_attempts": 1})


@pytest.fixture
def again(account, queues_by_the_clock):  # noqa: F811 - a fixture
    """Replay a transcript, with some rules of the layer switched off."""

    def play(path: Path, *without: type) -> list[Step]:
        header, lines, _ = read(path.read_text().splitlines())
        account.strict.rules = [one for one in account.strict.rules if type(one) not in without]
        furnish(account, header, lines)
        account.strict.world.clock.stop()

        def client(service: str) -> Any:
            return boto3.client(service, header.region, config=OURS)

        return replay(lines, client, lambda *seen: let_happen(account, header.region, *seen))

    return play


def furnish(account, header: Header, lines: list[Line]) -> None:  # noqa: F811
    """Let there be what the transcript found there: images, a group of the stack, a bucket."""
    ec2 = account.session.client("ec2", region_name=header.region)
    for line in lines:
        if line.operation == "GetParameter":
            image = ec2.register_image(Name=line.params["Name"])["ImageId"]
            give_parameter(account, line.params["Name"], image, header.region)
        elif line.operation == "DescribeImages" and "Owners" in line.params:
            image = ec2.register_image(Name="worker", RootDeviceName="/dev/sda1")["ImageId"]
            ec2.create_tags(Resources=[image], Tags=[{"Key": tags.VERSION, "Value": "1"}])
        elif line.operation == "DescribeSecurityGroups":
            (name,) = filled(line.params, {})["Filters"][0]["Values"]
            ec2.create_security_group(GroupName=name, Description="of workers")
    furnish_bucket(account.session.client("s3", region_name="us-east-1"), lines)


def furnish_bucket(s3: Any, lines: list[Line]) -> None:
    """Let objects be there that are read and that no call before has written: a worker's."""
    written = set()
    for line in lines:
        told = filled(line.params, {})
        if line.operation.startswith(("Put", "Create", "Complete")):
            written |= {told.get("Key"), told.get("Bucket")}
        if line.operation == "HeadBucket" and line.answer and told["Bucket"] not in written:
            s3.create_bucket(Bucket=told["Bucket"])
        if line.operation == "GetObject" and line.answer and told["Key"] not in written:
            s3.put_object(**told, Body=b"a worker's")


def let_happen(account, region: str, line: Line, answer: Any) -> None:  # noqa: F811
    """Let the machines end that an answer tells of as ended: no call has done it."""
    for one in machines_of(answer or {}):
        if one["State"]["Name"] == "terminated":
            why = one["StateReason"]
            reason = (why["Code"], why.get("Message", ""))
            account.strict.rule(EndedAtOnce).end(region, one["InstanceId"], reason)


def told(steps: list[Step]) -> str:
    return "\n".join(map(str, steps))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_emulator_answers_as_recorded(again, path):
    steps = again(path)
    sys.stdout.write(told(steps) + "\n")
    assert [str(step) for step in steps if not step.same] == []


@pytest.mark.parametrize(
    ("stem", "rule", "operation", "then"),
    [
        (CALLS, NewQueue, "GetQueueAttributes", "AWS.SimpleQueueService.NonExistentQueue"),
        (CALLS, DeletedQueue, "CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently"),
        (CALLS, BucketOwner, "GetObject", "AccessDenied"),
        (CALLS, NewBucket, "PutPublicAccessBlock", "NoSuchBucket"),
        (CALLS, DeletedGroup, "CreateAutoScalingGroup", "AlreadyExists"),
        (CALLS, NewTemplate, "CreateAutoScalingGroup", "ValidationError"),
        (CALLS, NewStream, "PutLogEvents", "ResourceNotFoundException"),
        (MACHINE, NewQueue, "SetQueueAttributes", "AWS.SimpleQueueService.NonExistentQueue"),
        (MACHINE, NewTemplate, "CreateFleet", "1 Errors"),
        (MACHINE, NewInstance, "DescribeInstances", "done"),
    ],
)
def test_a_rule_that_is_switched_off_is_missed_by_the_replay(again, stem, rule, operation, then):
    (path,) = (path for path in TRANSCRIPTS if path.stem == stem)
    missed = {(step.line.operation, step.then): str(step) for step in again(path, rule)
              if not step.same}  # fmt: skip
    assert f"{then:<40} HERE" in missed[operation, then]


def test_the_life_of_a_machine_is_told_from_the_call_to_the_power_off():
    (path,) = (path for path in TRANSCRIPTS if path.stem == MACHINE)
    _, lines, said = read(path.read_text().splitlines())
    files, metadata, times, end, left = [one.said for one in said if one.good]
    assert files == "3 of 3 files processed"
    assert metadata == "the metadata service, from a job: closed"
    assert re.fullmatch(r"after the call: .*first file \d+ s, off \d+ s", times)
    assert end == "its last state: terminated, Client.UserInitiatedShutdown"
    assert left == "left: nothing"
    assert not any(line.operation == "TerminateInstances" for line in lines)
    states = [state for line in lines for state in seen_states(line.answer or {})]
    assert [*dict.fromkeys(states)] == ["running", "terminated Client.UserInitiatedShutdown"]
