"""The life of a persistent fleet where AWS is slow: late metadata, late deletion, unseen deaths."""

import pytest
from tests.functional.strict.test_first_day import PERSISTENT, refused, why
from tests.strict_aws.rules.groups import BusyGroup, DeletedGroup
from tests.strict_aws.rules.machines import EndedAtOnce
from tests.strict_aws.rules.templates import NewTemplate

from parallelize.fleet.clients import ComputeClients
from parallelize_agent.machine.group import is_member, leave


def members(account):
    return [one["InstanceId"] for one in account.group("scans")["Instances"]]


@pytest.fixture
def fleet(account, parallelize):
    """A group of two, whose template EC2 did not know yet, and which was busy at first."""
    account.prepare("scans")
    code, _, err = parallelize("launch", "2", *PERSISTENT)
    assert code == 0, err
    assert refused(account, NewTemplate)
    assert refused(account, BusyGroup)
    return account


def test_it_lives_through_unseen_deaths_late_metadata_and_its_own_slow_deletion(fleet, parallelize):
    # EC2 ends a machine before its first word; the group starts another, and status tells of both.
    lost = members(fleet)[0]
    rule = fleet.strict.rule(EndedAtOnce)
    fleet.client("ec2").terminate_instances(InstanceIds=[lost])
    rule.end("eu-west-1", lost, rule.VOLUMES)
    assert lost not in members(fleet)
    assert len(members(fleet)) == 2
    fleet.strict.world.clock.sleep(5)
    assert why(fleet).startswith("2 machines boot")
    assert why(fleet).endswith(
        f"; EC2 ended 1 machine before the first heartbeat: {lost}, {rule.VOLUMES[1]}"
    )

    # Workers whose metadata service never knew of the group leave it all the same, one by one.
    autoscaling = ComputeClients.make(fleet.session).autoscaling
    for left, worker in zip((1, 0), members(fleet), strict=True):
        assert is_member(True, "", lambda: None)
        assert leave(autoscaling, worker)
        assert fleet.group("scans")["DesiredCapacity"] == left
    assert fleet.machines("scans") == []

    # It is launched once more, killed, and launched while AWS still deletes the former.
    for size in (2, 3):
        code, _, err = parallelize("launch", str(size), *PERSISTENT)
        assert code == 0, err
        assert fleet.group("scans")["DesiredCapacity"] == len(fleet.machines("scans")) == size
        assert parallelize("kill", "--run", "scans")[0] == 0
        assert fleet.machines("scans") == []
    assert "still deleting the run's former Auto Scaling group" in err
    assert refused(fleet, DeletedGroup)
