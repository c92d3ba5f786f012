"""The emulator is held to what was recorded: each transcript in `transcripts`, call by call.

A file that somebody sends in is put there, and the emulator is made to answer as it says. The one
that is there was recorded behind the strict layer: no account has been asked yet.
"""

import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from tests.conformance.replay import Step, replay
from tests.functional.fleet.conftest import (  # noqa: F401 - fixtures
    account,
    descriptions_read_once,
    give_parameter,
)
from tests.strict_aws.rules.groups import DeletedGroup
from tests.strict_aws.rules.logs import NewStream
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue
from tests.strict_aws.rules.storage import BucketOwner, NewBucket
from tests.strict_aws.rules.templates import NewTemplate

from parallelize.live.transcript import Header, Line, read

TRANSCRIPTS = sorted(Path(__file__).with_name("transcripts").glob("*.jsonl"))
OURS = Config(user_agent_extra="parallelize", retries={"total_max_attempts": 1})


@pytest.fixture
def again(account, queues_by_the_clock):  # noqa: F811 - a fixture
    """Replay a transcript, with some rules of the layer switched off."""

    def play(path: Path, *without: type) -> list[Step]:
        header, lines = read(path.read_text().splitlines())
        account.strict.rules = [one for one in account.strict.rules if type(one) not in without]
        furnish(account, header, lines)
        account.strict.world.clock.stop()
        return replay(lines, lambda service: boto3.client(service, header.region, config=OURS))

    return play


def furnish(account, header: Header, lines: list[Line]) -> None:  # noqa: F811
    """Let the images be there that the transcript looked up by a public parameter."""
    for line in lines:
        if line.operation == "GetParameter":
            ec2 = account.session.client("ec2", region_name=header.region)
            image = ec2.register_image(Name=line.params["Name"])["ImageId"]
            give_parameter(account, line.params["Name"], image, header.region)


def told(steps: list[Step]) -> str:
    return "\n".join(map(str, steps))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_emulator_answers_as_recorded(again, path):
    steps = again(path)
    sys.stdout.write(told(steps) + "\n")
    assert [str(step) for step in steps if not step.same] == []


@pytest.mark.parametrize(
    ("rule", "operation", "code"),
    [
        (NewQueue, "GetQueueAttributes", "AWS.SimpleQueueService.NonExistentQueue"),
        (DeletedQueue, "CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently"),
        (BucketOwner, "GetObject", "AccessDenied"),
        (NewBucket, "PutPublicAccessBlock", "NoSuchBucket"),
        (DeletedGroup, "CreateAutoScalingGroup", "AlreadyExists"),
        (NewTemplate, "CreateAutoScalingGroup", "ValidationError"),
        (NewStream, "PutLogEvents", "ResourceNotFoundException"),
    ],
)
def test_a_rule_that_is_switched_off_is_missed_by_the_replay(again, rule, operation, code):
    (path,) = (path for path in TRANSCRIPTS if path.stem == "strict-layer")
    missed = {(step.line.operation, step.then): str(step) for step in again(path, rule)
              if not step.same}  # fmt: skip
    assert f"{code:<40} HERE" in missed[operation, code]
