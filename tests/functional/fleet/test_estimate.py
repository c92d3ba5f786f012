"""What `estimate` may start, and what it leaves alone, against moto."""

import json
import threading

import pytest
from tests.functional.fleet.conftest import BUCKET

from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.lane import EXTRA, Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names
from parallelize_core.pause import pause

ESTIMATE = ("estimate", "--sample", "4", "--run", "scans")


def waiting(account):
    url = account.client("sqs").get_queue_url(QueueName=Names("scans").queue)["QueueUrl"]
    name = "ApproximateNumberOfMessages"
    answer = account.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


@pytest.fixture
def prepared(account):
    """A run whose files are known, and none of them sent."""
    account.prepare("scans", sent=False)
    return account


@pytest.fixture
def busy_worker(prepared):
    """Somebody who gives every file its result as soon as the sample is on the queue."""
    stop = threading.Event()

    def work():
        while not stop.wait(0.05):
            if waiting(prepared):
                prepared.finish("scans")
                return

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_dry_run_sends_nothing_and_starts_nothing(prepared, parallelize):
    code, out, err = parallelize(*ESTIMATE, "--dry-run")
    assert (code, out) == (0, "")
    assert "4 random files" in err
    assert "6 would be left" in err
    assert waiting(prepared) == 0
    assert prepared.machines("scans") == []


def test_one_machine_of_its_own_is_started_beside_a_persistent_fleet(
    prepared, busy_worker, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_FLEET", "persistent")
    monkeypatch.setenv("PARALLELIZE_WORKERS_ON_DEMAND", "2")
    assert parallelize(*ESTIMATE)[0] == 0
    assert prepared.group("scans") is None
    [machine] = prepared.machines("scans")
    assert machine["InstanceLifecycle"] == "spot"


def test_what_the_sample_needs_of_other_machines_is_told(account, parallelize, tmp_path):
    """One job of the sample is moved by the worker, and waits in the large lane."""
    (tmp_path / "parallelize.toml").write_text(
        '[workers.large]\ntypes = ["r7i.4xlarge"]\n[workers.steady]\n'
    )
    queues = account.prepare("scans", sent=False, lanes=EXTRA)
    over = threading.Event()

    def work():
        while not over.wait(0.05):
            if waiting(account) == 4:
                account.finish("scans")
                queues.of(Lane.LARGE).send([JobMessage(run="scans", key="9.txt", size=1).encode()])
                return

    thread = threading.Thread(target=work)
    thread.start()
    code, out, err = parallelize(*ESTIMATE, "--json")
    over.set()
    thread.join()
    assert code == 0, err
    large, steady = json.loads(out)["lanes"]
    assert (large["lane"], large["moved"], steady["moved"]) == ("large", 1, 0)
    assert large["hourly_usd"] > 0
    assert large["files"]["high"] > large["files"]["low"] > 0
    assert [lane_of(machine) for machine in account.machines("scans")] == [None], "of no lane"


def lane_of(machine):
    return {tag["Key"]: tag["Value"] for tag in machine["Tags"]}.get("parallelize:lane")


def refused(prepared, parallelize):
    """Run the command; return its exit code and error. Nothing may have been started."""
    code, _, err = parallelize(*ESTIMATE)
    assert prepared.machines("scans") == []
    return code, err


def test_a_spent_budget_is_not_exceeded_for_a_sample(prepared, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_MAX_COST", "20")
    prepared.beat("scans", Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=0, seen=100 * 3600, interval_seconds=30,
        hourly_usd=0.25,
    ))  # fmt: skip
    code, err = refused(prepared, parallelize)
    assert code == 7
    assert "about $25.00 spent already" in err
    assert waiting(prepared) == 0


def test_a_paused_run_is_not_sampled(prepared, parallelize):
    pause(prepared.store, RunLayout(Location(BUCKET), "scans"), "too much has failed")
    code, err = refused(prepared, parallelize)
    assert code == 3
    assert "too much has failed" in err
    assert waiting(prepared) == 0


def test_a_sample_does_not_join_a_queue(account, parallelize):
    account.prepare("scans", files=7)
    code, err = refused(account, parallelize)
    assert code == 2
    assert "7 files on the queue already" in err
    assert waiting(account) == 7


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_sample_of_nothing_is_a_slip(prepared, parallelize, number):
    code, _, err = parallelize("estimate", "--sample", number, "--run", "scans")
    assert code == 2
    assert "--sample must be at least 1" in err
