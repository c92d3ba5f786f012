"""Fleets with real agents: a group that replaces the lost and empties itself; stop, scale, cost."""

import base64
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.e2e.conftest import Shell, wait_until

from parallelize.local.records import CloudState

pytestmark = pytest.mark.timeout(400)  # on a busy machine; alone it takes a fraction of this

FILES = 6


@pytest.fixture
def run(shell: Shell) -> str:
    """A run that is enqueued, whose jobs wait until the file `go` is there."""
    name = shell.folder.name[:40].strip("_-")
    for folder in ("inputs", "env"):
        (shell.folder / folder).mkdir()
    for number in range(FILES):
        (shell.folder / "inputs" / f"{number}.txt").write_text("x" * number)
    script = shell.folder / "env" / "job.sh"
    script.write_text(
        f'#!/bin/sh\nuntil [ -e "{shell.folder}/go" ]; do sleep 0.1; done\n'
        'wc -c <"$1" >size\necho size\n'
    )
    script.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text(
        f'[run]\nname = "{name}"\ncommand = "./job.sh"\nenv = "env/"\n'
        '[output]\nname = "{hash}"\n[workers]\nslots = 1\n'
    )
    shell.run("local", "start")
    shell.run("prep", "--local")
    shell.run("enqueue", "--local")
    return name


def client(shell: Shell, service: str) -> Any:
    state = CloudState.read(Path(shell.environ["XDG_STATE_HOME"], "parallelize", "local"))
    assert state is not None
    return boto3.client(
        service, endpoint_url=state.endpoint, region_name="us-east-1",
        aws_access_key_id="local", aws_secret_access_key=state.secret,
    )  # fmt: skip


@pytest.fixture
def group(shell: Shell, run: str) -> Any:
    """How the run's Auto Scaling group is, each time it is asked."""
    autoscaling = client(shell, "autoscaling")

    def look() -> Any:
        name = f"parallelize-{run}"
        (found,) = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ]
        return found

    return look


def members(group: Any) -> set[str]:
    return {member["InstanceId"] for member in group()["Instances"]}


def let_go(shell: Shell) -> None:
    Path(shell.folder / "go").touch()


def test_a_lost_worker_is_replaced_and_the_workers_that_are_done_take_the_group_to_zero(
    shell: Shell, group: Any
) -> None:
    shell.run("launch", "2", "--fleet", "persistent", "--local")
    busy = shell.wait_for(
        lambda status: next((one for one in status["workers"] if one["running"]), None)
    )
    shell.run("local", "kill", busy["id"])
    wait_until(lambda: len(members(group)) == 2 and busy["id"] not in members(group))
    let_go(shell)
    shell.wait_for(lambda status: status["state"] == "drained")
    wait_until(lambda: group()["DesiredCapacity"] == 0)
    assert members(group) == set()
    assert shell.status()["done"] == FILES


def test_workers_that_cannot_read_their_configuration_leave_the_group_and_say_why(
    shell: Shell, run: str, group: Any
) -> None:
    # As if a newer client had launched an older image. Otherwise the group would replace them,
    # and the replacements, for as long as somebody pays.
    earlier = {machine["id"] for machine in shell.machines()}
    shell.run("launch", "2", "--fleet", "persistent", "--autoscale", "--local")
    assert group()["DesiredCapacity"] == 1  # one is enough for so few files
    policy = group()["MixedInstancesPolicy"]  # moto forgets it when the size is changed
    shell.wait_for(lambda status: status["workers"])
    shell.run("scale", "0", "--local")
    # While another worker lives, one that fails does not hold the group.
    shell.wait_for(lambda status: {one["state"] for one in status["workers"]} == {"left"})
    (before,) = {machine["id"] for machine in shell.machines()} - earlier
    launch_from_the_future(shell, group, policy)

    def late() -> list[Any]:
        return [worker for worker in shell.status()["workers"] if worker["id"] != before]

    wait_until(lambda: len(late()) == 2)
    wait_until(lambda: group()["DesiredCapacity"] == 0)
    assert {worker["state"] for worker in late()} == {"failed"}
    assert all("from_the_future" in worker["reason"] for worker in late())
    assert "Launch" in {one["ProcessName"] for one in group()["SuspendedProcesses"]}


def launch_from_the_future(shell: Shell, group: Any, policy: Any) -> None:
    """Let the group start two workers whose user data says something that agents do not know."""
    ec2, autoscaling = client(shell, "ec2"), client(shell, "autoscaling")
    named = policy["LaunchTemplate"]["LaunchTemplateSpecification"]
    which = {"LaunchTemplateId": named["LaunchTemplateId"]}
    versions = ec2.describe_launch_template_versions(**which)["LaunchTemplateVersions"]
    data = versions[0]["LaunchTemplateData"]
    config = json.loads(base64.b64decode(data["UserData"])) | {"from_the_future": 1}
    data["UserData"] = base64.b64encode(json.dumps(config).encode()).decode()
    made = ec2.create_launch_template_version(**which, LaunchTemplateData=data)
    number = str(made["LaunchTemplateVersion"]["VersionNumber"])
    policy["LaunchTemplate"]["LaunchTemplateSpecification"] = {**which, "Version": number}
    autoscaling.update_auto_scaling_group(
        AutoScalingGroupName=group()["AutoScalingGroupName"],
        MixedInstancesPolicy=policy, MaxSize=2, DesiredCapacity=2,
    )  # fmt: skip


def test_a_stopped_run_finishes_what_it_has_begun_and_leaves_the_rest(
    shell: Shell, run: str
) -> None:
    shell.run("launch", "1", "--local")
    shell.wait_for(lambda status: status["running"])
    shell.run("stop", "--local")
    shell.wait_for(lambda status: status["workers"][0]["state"] == "draining")
    let_go(shell)
    wait_until(lambda: all(one["state"] == "terminated" for one in mine(shell)))
    status = shell.status()
    assert 0 < status["done"] < FILES
    assert status["done"] + status["waiting"] == FILES
    assert "stopped with parallelize stop" in status["why"]
    shell.run("enqueue", "--local", code=3)  # nothing new to send, but the run goes on
    shell.run("launch", "1", "--local")
    shell.wait_for(lambda status: status["state"] == "drained")


def mine(shell: Shell) -> list[Any]:
    workers = {worker["id"] for worker in shell.status()["workers"]}
    return [machine for machine in shell.machines() if machine["id"] in workers]


def test_a_run_that_reaches_its_cost_limit_is_paused_by_its_workers(shell: Shell, run: str) -> None:
    # The emulator's spot price is $0.00001 an hour: the limit is reached within the first seconds.
    shell.environ["PARALLELIZE_AGENT_HEARTBEAT"] = "1s"
    try:
        shell.run("launch", "1", "--max-cost", "0.000000001", "--force", "--local")
        shell.wait_for(lambda status: "cost limit" in (status["why"] or ""))
    finally:
        del shell.environ["PARALLELIZE_AGENT_HEARTBEAT"]
        let_go(shell)
    wait_until(lambda: all(one["state"] == "terminated" for one in mine(shell)))
    shell.run("launch", "1", "--local", code=3)


def test_a_machine_that_is_killed_with_the_run_leaves_another_runs_machine_alone(
    shell: Shell, run: str
) -> None:
    (mine_id,) = shell.run("launch", "1", "--local").split()
    shell.run("kill", "--run", "another", "--local")
    states = {machine["id"]: machine["state"] for machine in shell.machines()}
    assert states[mine_id] == "running"
    shell.run("kill", "--local")
    wait_until(lambda: {m["id"]: m["state"] for m in shell.machines()}[mine_id] == "terminated")
