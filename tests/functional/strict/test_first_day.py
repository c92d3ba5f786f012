"""What the layer has found: the first day with a real account, one surprise after the other."""

import asyncio

import pytest
from botocore import xform_name
from botocore.config import Config
from tests.functional.fleet.conftest import BUCKET
from tests.strict_aws.rules.alarms import NoAlarm
from tests.strict_aws.rules.groups import BusyGroup, DeletedGroup, NewPolicy
from tests.strict_aws.rules.images import UsedSnapshot
from tests.strict_aws.rules.logs import NewStream
from tests.strict_aws.rules.machines import EndedAtOnce, NewInstance, offered
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue
from tests.strict_aws.rules.roles import NewProfile
from tests.strict_aws.rules.templates import NewTemplate
from tests.strict_aws.rules.throttling import Throttling

from parallelize.bulk import WireStore
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.instances import terminate
from parallelize.image.catalog import delete_image, read_images
from parallelize.queues import delete_queues, make_queues
from parallelize.runs.state.snapshot import Reader
from parallelize.runs.state.stall_diagnosis import explain
from parallelize.runs.state.status import status_of
from parallelize.setting_tables import DEFAULT_TYPES
from parallelize.together import Together
from parallelize_agent.machine.group import hold
from parallelize_agent.reporting.cloud_log import CloudLog
from parallelize_core.clients import Clients
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names
from parallelize_core.pause import HELD_PROCESSES
from parallelize_core.translated import translated

PERSISTENT = ("--fleet", "persistent", "--run", "scans")


class LoopStore(WireStore):
    """A bucket whose calls are made at the same time, those of SQS by boto3."""

    def __init__(self, sqs):
        self.bucket, self.sqs = "", sqs

    is_quick = True

    async def ask_sqs(self, action, parameters):
        with translated("SQS"):
            return getattr(self.sqs, xform_name(action))(**parameters)

    def make(self, calls):
        async def work():
            await asyncio.gather(*(call(self) for call in calls))

        asyncio.run(work())


@pytest.fixture(params=["alone", "together"])
def calls(account, request):
    """How the calls that set queues up are made."""
    if request.param == "alone":
        return None
    return Together(LoopStore(Clients.make(account.session).sqs))


@pytest.fixture
def scans(account):
    return account.prepare("scans")


def refused(account, rule):
    """How often a rule has refused something."""
    return account.strict.refusals[rule.__name__]


@pytest.mark.parametrize("region", ["eu-north-1", "us-west-1", "ap-southeast-2"])
def test_the_default_types_can_be_launched_in_a_region_that_lacks_some(
    account, parallelize, monkeypatch, region
):
    absent = [kind for kind in DEFAULT_TYPES if kind not in offered(region)]
    assert absent
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.delenv("PARALLELIZE_WORKERS_TYPES")
    image = account.session.client("ec2", region_name=region)
    made = image.register_image(Name="workers", RootDeviceName="/dev/sda1")["ImageId"]
    image.create_tags(Resources=[made], Tags=[{"Key": "parallelize:version", "Value": "0.1.0"}])
    account.prepare("scans", sent=True)
    sqs = account.session.client("sqs", region_name=region)
    make_queues(sqs, Names("scans"), {"parallelize:run": "scans"})
    code, _, err = parallelize("launch", "1", "--force", "--run", "scans")
    assert code == 0, err
    assert f"not here {', '.join(absent)}: {region} does not have them" in err


def test_a_queue_is_used_when_sqs_knows_it(account, calls):
    ours = Clients.make(account.session).sqs
    queues = make_queues(ours, Names("new"), {"parallelize:run": "new"}, calls=calls)
    assert refused(account, NewQueue)
    assert queues.main.counts().total == 0


def test_queues_that_were_deleted_a_moment_ago_are_made_again(account, capsys, calls):
    ours, names, tags = Clients.make(account.session).sqs, Names("again"), {"owner": "ana"}
    make_queues(ours, names, tags)
    delete_queues(ours, names)
    assert make_queues(ours, names, tags, calls=calls).dead.counts().total == 0
    assert refused(account, DeletedQueue)
    assert "SQS keeps its name for 60 s" in capsys.readouterr().err


def test_a_fleet_waits_for_its_new_template(account, scans, parallelize):
    assert parallelize("launch", "2", "--run", "scans")[0] == 0
    rule = account.strict.rule(NewTemplate)
    assert rule.windows.any_open() == []
    assert len(account.machines("scans")) == 2


def test_launch_goes_on_with_what_is_missing_when_ec2_has_tokens_for_it(account, parallelize):
    account.prepare("many", files=40)
    account.strict.rule(Throttling).resources["CreateFleet"] = (25, 2.0)
    code, _, err = parallelize("launch", "40", "--run", "many")
    assert code == 0, err
    assert "EC2 is throttling calls; starting the rest in steps of 20" in err
    assert "started 20 of 40; the next in 10 s" in err
    assert len(account.machines("many")) == 40


def test_kill_goes_on_when_ec2_has_tokens_for_machines_to_end(account, scans, parallelize):
    account.strict.rule(Throttling).resources["TerminateInstances"] = (3, 0.02)
    for _ in range(2):
        parallelize("launch", "3", "--run", "scans")
        code, _, err = parallelize("kill", "--run", "scans")
        assert code == 0, err
    assert "waiting: EC2 is throttling calls" in err
    assert account.machines("scans") == []


def test_a_group_is_launched_again_while_the_former_is_still_being_deleted(
    account, scans, parallelize
):
    assert parallelize("launch", "2", *PERSISTENT)[0] == 0
    assert parallelize("kill", "--run", "scans")[0] == 0
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    assert code == 0
    assert "waiting: AWS is still deleting the run's former Auto Scaling group" in err
    assert refused(account, DeletedGroup)
    assert account.group("scans")["DesiredCapacity"] == 2


def test_a_group_that_follows_the_queue_is_made_though_no_policy_is_described_yet(
    account, scans, parallelize
):
    code, _, err = parallelize("launch", "4", "--autoscale", *PERSISTENT)
    assert code == 0, err
    assert account.strict.rule(NewPolicy).windows.is_open(("parallelize-scans", "wake"))


@pytest.mark.parametrize(("backlog", "size"), [(100, 1), (5, 2), (2, 4)])
def test_a_group_that_follows_the_queue_begins_with_machines_for_what_waits(
    account, scans, parallelize, monkeypatch, backlog, size
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_BACKLOG_PER_WORKER", str(backlog))
    code, _, err = parallelize("launch", "4", "--autoscale", *PERSISTENT)
    assert code == 0, err
    assert account.group("scans")["DesiredCapacity"] == size


@pytest.mark.parametrize("wanted", [4, 1])
def test_scale_outlasts_a_group_that_is_busy(account, scans, parallelize, wanted):
    assert parallelize("launch", "3", *PERSISTENT)[0] == 0
    assert parallelize("scale", str(wanted), "--run", "scans")[0] == 0
    assert refused(account, BusyGroup)
    assert account.group("scans")["DesiredCapacity"] == wanted


@pytest.fixture
def busy(account, scans, parallelize):
    """A group that is starting or ending machines, as it may be whenever somebody calls."""
    assert parallelize("launch", "2", *PERSISTENT)[0] == 0
    rule = account.strict.rule(BusyGroup)
    rule.windows.open("parallelize-scans", rule.seconds)
    account.strict.refusals.clear()
    return account


def is_held(account):
    found = {one["ProcessName"] for one in account.group("scans")["SuspendedProcesses"]}
    return set(HELD_PROCESSES) <= found


def test_a_second_launch_outlasts_a_group_that_is_busy(busy, parallelize):
    code, _, err = parallelize("launch", "4", *PERSISTENT)
    assert code == 0, err
    assert refused(busy, BusyGroup)
    assert busy.group("scans")["DesiredCapacity"] == 4


def test_stop_holds_a_group_that_is_busy(busy, parallelize):
    code, _, err = parallelize("stop", "--run", "scans")
    assert code == 0, err
    assert refused(busy, BusyGroup)
    assert is_held(busy)


def test_a_worker_holds_a_group_that_is_busy(busy):
    hold(ComputeClients.make(busy.session).autoscaling, "parallelize-scans", lambda: True)
    assert refused(busy, BusyGroup)
    assert is_held(busy)


@pytest.mark.filterwarnings("ignore:Tried to parse")
@pytest.mark.parametrize("words", [(), ("--fleet", "persistent")])
def test_a_launch_outlasts_the_profile_of_a_stack_that_is_new(account, scans, parallelize, words):
    assert parallelize("setup", "--yes")[0] == 0
    code, _, err = parallelize("launch", "1", "--run", "scans", *words)
    assert code == 0, err
    assert refused(account, NewProfile) or "waiting: EC2 does not know the workers' instance" in err
    assert len(account.machines("scans")) == 1


def test_kill_outlasts_a_machine_that_is_described_and_not_known_everywhere(
    account, scans, parallelize
):
    ec2 = ComputeClients.make(account.session).ec2
    rule = account.strict.rule(NewInstance)
    started = parallelize("launch", "1", "--run", "scans")[1].split()
    rule.unchanged.open(started[0], 5)
    terminate(ec2, started)
    assert refused(account, NewInstance)
    assert account.machines("scans") == []


def test_kill_of_a_run_without_alarms_is_no_error(account, scans, parallelize):
    code, _, err = parallelize("kill", "--run", "scans")
    assert code == 0, err
    assert refused(account, NoAlarm)


def test_kill_takes_the_alarms_along_that_are_there(account, scans, parallelize):
    assert parallelize("launch", "1", "--run", "scans")[0] == 0
    cloudwatch = account.client("cloudwatch")
    assert len(cloudwatch.describe_alarms()["MetricAlarms"]) == 2
    assert parallelize("kill", "--run", "scans")[0] == 0
    assert refused(account, NoAlarm)
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_an_image_is_deleted_with_its_snapshot_though_that_is_in_use_for_a_while(account):
    ec2 = ComputeClients.make(account.session).ec2
    (image,) = read_images(ec2)
    delete_image(ec2, image)
    assert refused(account, UsedSnapshot)
    left = account.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert image.snapshots[0] not in {one["SnapshotId"] for one in left}


def test_a_workers_first_lines_are_taken_by_a_stream_that_is_new(account):
    logs = account.client("logs")
    logs.create_log_group(logGroupName="/parallelize/agents")
    ours = account.session.client("logs", config=Config(user_agent_extra="parallelize"))
    copy = CloudLog(ours, "/parallelize/agents", "scans/i-1")
    copy.add("hello")
    copy.start()
    copy.close(60)
    assert refused(account, NewStream)
    (line,) = logs.get_log_events(logGroupName="/parallelize/agents", logStreamName="scans/i-1")[
        "events"
    ]
    assert line["message"] == "hello"


def test_a_launch_into_a_full_subnet_says_so_and_blames_no_capacity(
    account, parallelize, monkeypatch
):
    account.prepare("many", files=40)
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    small = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/28", AvailabilityZone="eu-west-1a")
    monkeypatch.setenv("PARALLELIZE_AWS_SUBNETS", small["Subnet"]["SubnetId"])
    code, _, err = parallelize("launch", "20", "--fallback", "--run", "many")
    assert code == 5, err
    assert "the subnets have too few free addresses; started 0 of 20 workers" in err
    assert "no capacity" not in err


def test_a_disk_is_as_large_as_the_images_snapshot(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_DISK", "8GiB")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 0, err
    assert "15 GiB, as large as the image's" in err


@pytest.mark.parametrize(
    ("reason", "exit_code", "told"),
    [
        (EndedAtOnce.KEY, 4, "may not use the key of their volumes"),
        (EndedAtOnce.VOLUMES, 5, "the quota of volumes in eu-west-1 is used up"),
        (EndedAtOnce.SPOT, 5, "AWS took them back"),
    ],
)
def test_launch_says_why_ec2_ended_machines_as_they_started(
    account, scans, parallelize, reason, exit_code, told
):
    account.strict.rule(EndedAtOnce).end_next(reason, 2)
    code, _, err = parallelize("launch", "3", "--run", "scans")
    assert code == exit_code
    assert "EC2 ended 2 of 3 workers as they started" in err
    assert told in " ".join(err.split())
    assert reason[1] in " ".join(err.split())


def why(account):
    snapshot = Reader(account.store, RunLayout(Location(BUCKET), "scans")).snapshot()
    return explain(ComputeClients.make(account.session), Names("scans"), status_of(snapshot))


def test_status_says_why_ec2_ended_machines_before_their_first_heartbeat(
    account, scans, parallelize
):
    parallelize("launch", "1", "--run", "scans")
    [machine] = account.machines("scans")
    rule = account.strict.rule(EndedAtOnce)
    rule.end("eu-west-1", machine["InstanceId"], rule.KEY)
    assert why(account) == (
        f"EC2 ended 1 machine before the first heartbeat: {machine['InstanceId']}, {rule.KEY[1]}"
    )


def test_status_blames_ec2_for_no_machine_that_somebody_has_ended(account, scans, parallelize):
    parallelize("launch", "1", "--run", "scans")
    parallelize("kill", "--run", "scans")
    assert why(account) is None
