"""The calls that are made, beside the stack's policies: nobody needs more, and nobody has more."""

import asyncio
import json
from pathlib import Path

import boto3
import pytest
from tests.functional.agent.threaded import ThreadedQueue, ThreadedStore
from tests.functional.fleet.calls import (
    REGION,
    needs,
    recorded,
    recorded_answers,
    template_contents,
)
from tests.functional.fleet.iam import actions, allows, deploy, unused

from parallelize_agent import services
from parallelize_agent.assembly import Assembly
from parallelize_agent.machine.metadata import Instance
from parallelize_agent.shutdown import ShutdownReason
from parallelize_core.clients import Clients, RequestCounts, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.lane import Lane
from parallelize_core.names import FIRST

# moto deploys what it knows of the template, and says what it does not.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two inputs, one of which fails, a command that leaves an output, a merge."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "good.txt").write_text("good")
    (tmp_path / "inputs" / "bad.txt").write_text("bad")
    (tmp_path / "env").mkdir()
    job = tmp_path / "env" / "job.sh"
    job.write_text('#!/bin/sh\ngrep -q good "$1" || exit 65\ncp "$1" out.txt\necho out.txt\n')
    merge = tmp_path / "env" / "merge.sh"
    merge.write_text('#!/bin/sh\ncp "$1" all.txt\necho all.txt\n')
    for script in (job, merge):
        script.chmod(0o755)
    (tmp_path / "parallelize.toml").write_text(
        '[run]\nname = "scans"\ncommand = "./job.sh"\nenv = "env/"\n'
        'then = "./merge.sh"\nthen_partial = true\n'
        'notify = "ana@example.org"\n'
        '[workers]\nami = "stock"\n'
        "[agent]\npoll = 0\ndrain_samples = 1\ndrain_interval = 0\nlease = 30\n"
    )
    return tmp_path


def work(config: AgentConfig, folder: Path) -> None:
    """Be a worker until the run is over."""
    instance = Instance("i-0123", "c7i.xlarge", "eu-west-1a")
    log = services.make_cloud_log(config, instance, RequestCounts())
    assert log
    log.start()
    log.add("a line")
    assert asyncio.run(life(config, instance, folder)).error is None
    log.close(60)


async def life(config: AgentConfig, instance: Instance, folder: Path) -> ShutdownReason:
    """Live a worker's life by boto3's calls, which are those that the loop's clients make."""
    clients = Clients.make(make_session(config.region))
    assembly = Assembly(
        config=config,
        instance=instance,
        work_dir=folder,
        open_store=lambda bucket: ThreadedStore(clients.store(bucket)),
        open_rare=clients.store,
        open_client=services.opener(config, instance, RequestCounts()),
        queue=ThreadedQueue(clients.queue(config.queue_url)),
        dead_letters=ThreadedQueue(clients.queue(config.dead_letter_queue_url)),
        publish=services.make_publisher(config, instance, RequestCounts()),
        means=services.find_means(config, instance, RequestCounts()),
    )
    worker = await assembly.worker()
    return await worker.run()


@pytest.mark.parametrize("stack", [FIRST, "lab"])
def test_the_calls_of_a_whole_run_are_what_the_policies_allow_and_no_less(
    account, project, parallelize, wheels, tmp_path, monkeypatch, stack
):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "auto")
    monkeypatch.setenv("PARALLELIZE_STACK", stack)
    policies = deploy(account, parallelize)
    with recorded() as submitting:
        for words in (["prep"], ["enqueue"]):
            code, _, err = parallelize(*words)
            assert code == 0, err
        with monkeypatch.context() as patch:
            patch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
            code, _, err = parallelize("prep", "--dry-run")
            assert code == 0, err
    _, printed, _ = parallelize("launch", "--print-config")
    with recorded() as working:
        work(AgentConfig.decode(printed, "stdout"), tmp_path / "work")
    with recorded() as fetching:
        assert parallelize("download", "out")[0] == 1  # one of the two files has failed
        parallelize("status", "--json")
        parallelize("failures", "--json")
        parallelize("retry")
    with recorded() as cleaning:
        code, _, err = parallelize("clean", "--yes", "--force")
        assert code == 0, err
    assert (project / "out" / "out.txt").read_text() == "good"
    assert "out.txt" in (project / "out" / "all.txt").read_text()
    objects = [call for call in cleaning if call.service in {"s3", "sqs"}]
    check_exact(policies["submitter"], submitting + fetching + objects, SUBMITTER_SELDOM)
    check_exact(policies["agent"], working, AGENT_SELDOM)


AGENT_SELDOM = {
    # Renewal needs a job as long as a lease, parts a file of 16 MiB, claims one of 12 hours.
    "sqs:ChangeMessageVisibility", "s3:AbortMultipartUpload", "s3:DeleteObject",
    # Only in a group.
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses",
}  # fmt: skip
SUBMITTER_SELDOM = {
    "s3:AbortMultipartUpload",
    # Only of a bucket that keeps versions: functional/strict/test_buckets.py.
    "s3:DeleteObjectVersion", "s3:ListBucketVersions",
    # Only for a run that was paused, or that stands still: test_persistent, test_stall_diagnosis.
    "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities",
    "autoscaling:ResumeProcesses", "ec2:DescribeInstances",
}  # fmt: skip


def check_exact(policy, calls, seldom):
    """Every call is allowed, and what the policy allows is used, apart from what is seldom."""
    wanted = {need for call in calls for need in needs(call)}
    refused = {
        need for need in wanted
        if not allows([policy], need.action, need.resource, dict(need.context))
    }  # fmt: skip
    assert refused == set()
    assert actions(policy) - {need.action for need in wanted} <= seldom


LAUNCHER_SELDOM = {
    # Once in an account, in the name of the first comer.
    "iam:CreateServiceLinkedRole",
    # doctor --request-quota: moto takes no such request, see test_quota_request.
    "servicequotas:RequestServiceQuotaIncrease",
    # doctor: moto's caller is no user of IAM's, and moto has no simulator.
    "iam:SimulatePrincipalPolicy",
}
SELDOM_RESOURCES = {
    # An image's snapshots are not in any call of ours; EC2 asks for them.
    ("StartFrom", "ec2:RunInstances", "snapshot/*"),
    ("StartFrom", "ec2:CreateFleet", "snapshot/*"),
}
LIFE = (
    "launch 2 --run one", "launch 1 --ami ssm:/parallelize/ami --max-cost 9 --run one",
    "launch 1 --ami stock --run one", "launch 1 --ami stock:ubuntu --run one",
    "launch 1 --ami stock:amazon --run one", "scale 1 --run one",
    "launch 1 --lane steady --force --run one", "kill --run one",
    "launch 2 --fleet persistent --autoscale --run two",
    "launch 3 --fleet persistent --autoscale --run two", "launch 3 --fleet persistent --run two",
    "scale 3 --run two", "scale 1 --run two", "stop --run two", "kill --run two",
)  # fmt: skip


@pytest.fixture
def launching(account, parallelize, vendors, monkeypatch):
    """What launchers need for all that they do, and the policies, with the run's own bucket."""
    found = deploy(account, parallelize)
    monkeypatch.setenv("PARALLELIZE_WORKERS_KEY_NAME", "ana")
    account.client("ec2").create_key_pair(KeyName="ana")
    account.client("ssm").put_parameter(Name="/parallelize/ami", Value=account.image, Type="String")
    account.prepare("one", lanes=[Lane.STEADY])
    account.prepare("two")
    with recorded_answers() as (calls, seen):
        parallelize("doctor", "--run", "one")
        for words in LIFE:
            # moto keeps one policy of each name, and the groups of two lanes have one of the same.
            lanes = "[workers.steady]\n" if words.endswith("one") else ""
            Path("parallelize.toml").write_text(lanes)
            code, _, err = parallelize(*words.split())
            assert code == 0, (words, err)
        with monkeypatch.context() as patch:
            patch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
            # Three types, or EC2 is asked for no score.
            patch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c6i.xlarge,m6i.xlarge")
            code, _, err = parallelize("launch", "1", "--dry-run", "--run", "one")
            assert code == 0, err
    template_contents(calls, seen)
    roles = {
        profile["InstanceProfileName"]: profile["Roles"][0]["Arn"]
        for profile in account.client("iam").list_instance_profiles()["InstanceProfiles"]
    }
    wanted = {need for call in calls for need in needs(call, seen)}
    return found["launcher"], {
        n._replace(resource=roles.get(n.resource, n.resource)) for n in wanted
    }


def test_a_launchers_calls_are_allowed_with_the_resources_and_tags_that_they_name(launching):
    policy, wanted = launching
    refused = {n for n in wanted if not allows([policy], n.action, n.resource, dict(n.context))}
    assert refused == set()


def test_doctor_looks_for_signs_of_life_with_a_launchers_rights(account, parallelize):
    policy = deploy(account, parallelize)["launcher"]
    account.prepare("one")
    parallelize("launch", "1", "--run", "one")
    with recorded_answers() as (calls, seen):
        parallelize("doctor", "--run", "one")
    wanted = {
        need for call in calls if call.operation != "RunInstances" for need in needs(call, seen)
    }
    assert any(need.resource.endswith("/runs/one/run.json") for need in wanted)
    assert {
        n for n in wanted if not allows([policy], n.action, n.resource, dict(n.context))
    } == set()


def test_nothing_is_granted_to_launchers_that_no_call_of_theirs_takes(launching):
    policy, wanted = launching
    taken = [(need.action, need.resource, dict(need.context)) for need in wanted]
    left = {
        (sid, action, resource)
        for sid, action, resource in unused(policy, taken)
        if action not in LAUNCHER_SELDOM
    }
    superfluous = {one for one in left if not seldom_resource(*one)}
    assert superfluous == set()
    assert actions(policy) - {need.action for need in wanted} == LAUNCHER_SELDOM


def seldom_resource(*grant):
    return any(
        grant[:2] == seldom[:2] and grant[2].endswith(seldom[2]) for seldom in SELDOM_RESOURCES
    )


def test_a_statement_that_is_missing_is_noticed(launching):
    policy, wanted = launching
    for lost in ("EndOurs", "GiveWorkersTheirRole", "OurTemplates", "TagWhatIsBeingMade"):
        less = [one for one in policy["Statement"] if one["Sid"] != lost]
        assert len(less) == len(policy["Statement"]) - 1
        assert any(
            not allows([{"Statement": less}], n.action, n.resource, dict(n.context)) for n in wanted
        ), lost


def test_a_machine_without_our_tag_could_not_be_ended_by_the_same_call(launching):
    policy, wanted = launching
    ended = [need for need in wanted if need.action == "ec2:TerminateInstances"]
    assert ended
    assert not any(allows([policy], need.action, need.resource) for need in ended)


def test_the_recorder_sees_calls_of_new_sessions(account):
    with recorded() as calls:
        boto3.Session(region_name=REGION).client("sqs").list_queues()
    assert [(call.service, call.operation) for call in calls] == [("sqs", "ListQueues")]
    json.dumps([call.params for call in calls])
