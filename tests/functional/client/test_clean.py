"""`clean`: all of the run goes, nothing else does, and nobody is surprised."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from tests.functional.client.conftest import Project

from parallelize.operations.clean import await_good_byes, clean, make_plan, remove
from parallelize_core.errors import MissingError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import InMemoryStore

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def enqueued(project: Project) -> Project:
    project.add("a.txt")
    project.call("prep")
    project.call("enqueue")
    project.finish("a.txt", "a.csv")
    return project


def objects(project: Project) -> list[str]:
    return [item.key for item in project.store.list(project.layout.root.prefix)]


def beat(project: Project, state: WorkerState) -> None:
    heartbeat = Heartbeat(
        worker="w-1", state=state, started=0, seen=time.time(), interval_seconds=30
    )
    project.store.put(project.layout.heartbeat("w-1"), heartbeat.encode())


def test_queues_and_objects_go_and_those_of_others_stay(
    enqueued: Project, capsys: Captured
) -> None:
    other = f"runs/{enqueued.run}-other/run.json"
    enqueued.store.put(other, b"{}")
    count = len(objects(enqueued))
    capsys.readouterr()
    assert enqueued.call("clean", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["deleted"]["objects"] == count
    assert objects(enqueued) == []
    assert enqueued.store.head(other) is not None
    with pytest.raises(MissingError):
        _ = enqueued.context.queues


def test_an_operation_tells_its_context_what_it_has_to_say_and_prints_nothing(
    enqueued: Project, capsys: Captured
) -> None:
    heard: list[str] = []
    context = replace(enqueued.context, tell=heard.append)
    capsys.readouterr()
    clean(context, make_plan(context, keep_outputs=False))
    assert "left: no machine, no group, no volume (verified)" in heard
    assert capsys.readouterr() == ("", "")


def test_a_second_clean_has_nothing_to_do(enqueued: Project) -> None:
    enqueued.call("clean", "--yes")
    assert enqueued.call("clean", "--yes") == 3


def test_outputs_can_be_kept(enqueued: Project) -> None:
    assert enqueued.call("clean", "--yes", "--keep-outputs") == 0
    assert objects(enqueued) == [enqueued.layout.output.key("a.csv")]


def test_without_a_terminal_it_takes_a_yes(enqueued: Project, capsys: Captured) -> None:
    assert enqueued.call("clean") == 2
    assert "fix: --yes" in capsys.readouterr().err
    assert objects(enqueued)


def test_workers_on_ec2_are_ended_first(enqueued: Project, capsys: Captured) -> None:
    (instance,) = enqueued.context.client("ec2").run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, TagSpecifications=[
            {"ResourceType": "instance",
             "Tags": [{"Key": k, "Value": v} for k, v in enqueued.context.tags.items()]},
        ],
    )["Instances"]  # fmt: skip
    capsys.readouterr()
    assert enqueued.call("clean", "--dry-run") == 0
    assert f"would end worker {instance['InstanceId']}" in capsys.readouterr().err
    assert enqueued.call("clean", "--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ended"], told["left"]) == ([instance["InstanceId"]], [])


def test_what_workers_write_until_they_have_left_goes_too(
    enqueued: Project, capsys: Captured
) -> None:
    plan = make_plan(enqueued.context, keep_outputs=False)
    beat(enqueued, WorkerState.LEFT)
    enqueued.finish("late.txt", "late.csv")
    remove(enqueued.context, plan)
    assert objects(enqueued) == []


def test_it_waits_for_the_last_words_of_those_that_it_ends() -> None:
    store, layout = InMemoryStore(), RunLayout(Location("bucket"), "r")
    looks = []

    def say(worker: str, state: WorkerState) -> None:
        seen = Heartbeat(worker=worker, state=state, started=0, seen=time.time(),
                         interval_seconds=30)  # fmt: skip
        store.put(layout.heartbeat(worker), seen.encode())

    def wait(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            say("i-1", WorkerState.LEFT)

    say("i-1", WorkerState.BUSY)
    say("elsewhere", WorkerState.BUSY)
    await_good_byes(store, layout, ["i-1", "i-2"], 60, wait)
    assert len(looks) == 2


def test_it_waits_no_longer_than_it_is_told_to() -> None:
    store, layout = InMemoryStore(), RunLayout(Location("bucket"), "r")
    mute = Heartbeat(worker="i-1", state=WorkerState.BUSY, started=0, seen=time.time(),
                     interval_seconds=30)  # fmt: skip
    store.put(layout.heartbeat("i-1"), mute.encode())
    await_good_byes(store, layout, ["i-1"], 0, wait=lambda _: pytest.fail("it waited"))


def test_live_workers_elsewhere_forbid_it(enqueued: Project, capsys: Captured) -> None:
    beat(enqueued, WorkerState.BUSY)
    assert enqueued.call("clean", "--yes") == 2
    assert "1 active worker outside EC2" in capsys.readouterr().err
    assert enqueued.call("clean", "--yes", "--force") == 0


def test_workers_that_have_left_do_not(enqueued: Project) -> None:
    beat(enqueued, WorkerState.LEFT)
    assert enqueued.call("clean", "--yes") == 0


def test_a_dry_run_deletes_nothing(enqueued: Project, capsys: Captured) -> None:
    before = objects(enqueued)
    capsys.readouterr()
    assert enqueued.call("clean", "--dry-run") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "not AWS" not in line]
    assert all(line.startswith("(dry run)") for line in told)
    assert objects(enqueued) == before
