"""Workers that were interrupted say so in their last heartbeats, and steer the next launch."""

import time

import pytest

from parallelize_agent.machine.metadata import Instance, identify
from parallelize_agent.machine.notices import read_notice
from parallelize_core.config import AgentConfig
from parallelize_core.heartbeat import WorkerState

CONFIG = AgentConfig(
    run="scans", bucket="b", queue_url="https://q", dead_letter_queue_url="https://d"
)


class Notified:
    """A metadata service with a spot notice."""

    def get(self, path):
        notice = '{"action": "terminate", "time": "2026-11-29T10:00:00Z"}'
        return notice if path.endswith("instance-action") else None


def last_word(worker, zone, *, interrupted):
    """What a worker writes last, after a notice or when all is done."""
    instance = Instance(worker, type="c7i.xlarge", zone=zone, market="spot")
    reason = read_notice(Notified()).reason if interrupted else "every job has its result"
    changes = {"state": WorkerState.LEFT, "reason": reason, "seen": time.time()}
    return identify(CONFIG, instance).model_copy(update=changes)


@pytest.mark.parametrize("words", [(), ("--max-cost", "9")], ids=["heartbeats", "snapshot"])
def test_a_pool_that_took_two_machines_back_starts_no_third(account, parallelize, words):
    account.prepare("scans")
    for worker, zone in (("i-1", "a"), ("i-2", "a"), ("i-3", "b")):
        account.beat("scans", last_word(worker, f"eu-west-1{zone}", interrupted=zone == "a"))
    code, _, err = parallelize("launch", "3", *words, "--force", "--run", "scans")
    assert code == 0, err
    assert "left out c7i.xlarge in eu-west-1a: 2 of 2 workers interrupted within 6 h" in err
    pools = {
        (one["InstanceType"], one["Placement"]["AvailabilityZone"])
        for one in account.machines("scans")
    }
    assert ("c7i.xlarge", "eu-west-1a") not in pools


def test_a_heartbeat_tells_the_market_of_its_machine():
    assert last_word("i-1", "eu-west-1a", interrupted=True).market == "spot"
