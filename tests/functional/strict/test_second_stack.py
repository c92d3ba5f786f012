"""A second stack beside the first, in one account and region: neither sees the other's runs."""

from pathlib import Path

import pytest
from tests.functional.fleet.calls import needs, recorded_answers, template_contents
from tests.functional.fleet.iam import allows
from tests.functional.fleet.test_needed_rights import LIFE

from parallelize_core.lane import Lane
from parallelize_core.names import Names

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

LAB = ("--stack", "lab")
ACCOUNT = "123456789012"
BUCKETS = {
    "parallelize": f"parallelize-{ACCOUNT}-eu-west-1-an",
    "lab": f"lab-{ACCOUNT}-eu-west-1-an",
}


@pytest.fixture
def stacks(account, parallelize, monkeypatch):
    """The policies of both stacks, by stack and role, after a `setup` of each."""
    monkeypatch.delenv("PARALLELIZE_BUCKET")
    for words in ((), LAB):
        code, _, err = parallelize("setup", "--yes", *words)
        assert code == 0, err
    return {name: policies(account, name) for name in BUCKETS}


def policies(account, stack):
    iam = account.client("iam")
    found = {}
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        owner, role = policy["PolicyName"].split("-")[:2]
        if owner == stack:
            version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")
            found[role] = version["PolicyVersion"]["Document"]
    return found


def test_everything_that_a_second_stack_makes_has_its_name(account, stacks):
    names = Names("", "lab")
    profiles = account.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert {one["InstanceProfileName"] for one in profiles} == {
        "parallelize-agent-eu-west-1", "lab-agent-eu-west-1",
    }  # fmt: skip
    assert set(BUCKETS.values()) <= {
        one["Name"] for one in account.client("s3").list_buckets()["Buckets"]
    }
    topics = {one["TopicArn"] for one in account.client("sns").list_topics()["Topics"]}
    assert {topic.rpartition(":")[2] for topic in topics} == {"parallelize-alarms", names.topic}
    logs = account.client("logs").describe_log_groups()["logGroups"]
    assert {one["logGroupName"] for one in logs} == {"/parallelize/agents", names.log_group}
    groups = account.client("ec2").describe_security_groups()["SecurityGroups"]
    ours = {one["GroupName"] for one in groups if one["GroupName"] != "default"}
    assert {name.partition("-worker-vpc-")[0] for name in ours} == {"parallelize", "lab"}


def prepared(account, stack, run, lanes=()):
    """Let a run of this name be in the stack's own bucket and queues."""
    account.prepare(run, stack=stack, bucket=BUCKETS[stack], lanes=lanes)


def test_a_run_of_one_stack_is_not_seen_by_the_other(account, stacks, parallelize):
    for stack in BUCKETS:
        prepared(account, stack, "scans")
    assert parallelize("launch", "2", "--run", "scans")[0] == 0
    assert parallelize("launch", "1", "--run", "scans", *LAB)[0] == 0
    code, _, err = parallelize("kill", "--run", "scans", *LAB)
    assert code == 0
    assert "1 worker ended" in err
    assert [tag(one, "parallelize:managed") for one in account.machines("scans")] == ["true"] * 2


def tag(machine, name):
    return next(one["Value"] for one in machine["Tags"] if one["Key"] == name)


def test_a_worker_of_the_second_stack_has_its_role_group_and_log(account, stacks, parallelize):
    prepared(account, "lab", "scans")
    code, _, err = parallelize("launch", "1", "--run", "scans", *LAB)
    assert code == 0, err
    (version,) = account.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="lab-scans"
    )["LaunchTemplateVersions"]
    data = version["LaunchTemplateData"]
    assert data["IamInstanceProfile"] == {"Name": "lab-agent-eu-west-1"}
    _, out, _ = parallelize("launch", "--print-config", "--run", "scans", *LAB)
    assert '"stack": "lab"' in out
    assert '"log_group": "/lab/agents"' in out
    assert f"/{ACCOUNT}/lab-scans-dead" in out


@pytest.fixture
def life(account, stacks, parallelize):
    """What a launcher of the second stack needs for all that launchers do."""
    account.client("ssm").put_parameter(Name="/parallelize/ami", Value=account.image, Type="String")
    for run in ("one", "two"):
        prepared(account, "lab", run, lanes=[Lane.STEADY])
    Path("parallelize.toml").write_text("[workers.steady]\n")
    with recorded_answers() as (calls, seen):
        parallelize("doctor", "--run", "one", *LAB)
        for words in (one for one in LIFE if "--ami stock" not in one):
            code, _, err = parallelize(*words.split(), *LAB)
            assert code == 0, (words, err)
    template_contents(calls, seen)
    profiles = account.client("iam").list_instance_profiles()["InstanceProfiles"]
    roles = {one["InstanceProfileName"]: one["Roles"][0]["Arn"] for one in profiles}
    wanted = {need for call in calls for need in needs(call, seen)}
    return {need._replace(resource=roles.get(need.resource, need.resource)) for need in wanted}


def test_the_second_stacks_launcher_may_do_its_part(stacks, life):
    launcher = [stacks["lab"]["launcher"]]
    refused = {
        need for need in life
        if not allows(launcher, need.action, need.resource, dict(need.context))
    }  # fmt: skip
    assert refused == set()


SHARED = {
    # What EC2 has for everybody, or what says nothing of a run.
    "ec2:CreateTags", "ssm:GetParameter",
}  # fmt: skip


def test_the_first_stacks_launcher_may_do_nothing_of_it(stacks, life):
    first = [stacks["parallelize"]["launcher"]]
    changing = {
        need for need in life
        if need.resource != "*" and need.action not in SHARED
        and not need.resource.partition(":ec2:")[2].partition(":")[2].startswith(PLACES)
    }  # fmt: skip
    allowed = {
        need for need in changing
        if allows(first, need.action, need.resource, dict(need.context))
    }  # fmt: skip
    assert changing
    assert allowed == set()


PLACES = (f"{ACCOUNT}:subnet", f"{ACCOUNT}:security-group", f"{ACCOUNT}:key-pair", ":image")
"""Where and from what anybody may start machines who may start any."""


def test_deleting_the_second_stack_leaves_the_first_and_its_workers(account, stacks, parallelize):
    prepared(account, "parallelize", "scans")
    parallelize("launch", "1", "--run", "scans")
    code, _, err = parallelize("setup", "--delete", "--yes", *LAB)
    assert code == 0, err
    assert len(account.machines("scans")) == 1
    roles = account.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert [one["InstanceProfileName"] for one in roles] == ["parallelize-agent-eu-west-1"]
    assert parallelize("setup", "--delete", "--yes")[0] == 2


@pytest.mark.parametrize("name", ["parallelize-lab", "Lab", "1lab", "a" * 15, "lab_"])
def test_a_name_that_could_be_taken_for_anothers_is_refused(account, parallelize, name):
    code, _, err = parallelize("setup", "--dry-run", "--stack", name)
    assert code == 2
    assert "cannot name a stack" in err
