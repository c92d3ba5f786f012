"""What `run` starts: as many workers as are missing, and those that leave are missing."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from tests.functional.client.conftest import Project

from parallelize.context import open_context
from parallelize.fleet import instances
from parallelize.lanes import LOCAL_JOB_SECONDS
from parallelize.operations.crew import LOOKS_ALONE, Judge, billed, launch_missing
from parallelize.operations.run import carry_through, prepare
from parallelize.operations.status import make_reader, make_rest
from parallelize.options import Common
from parallelize.runs.record.ownership import find_run
from parallelize.runs.state.status import status_of
from parallelize_core.config import AgentConfig, SteadyStart
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.pause import pause


@pytest.fixture
def enqueued(project: Project) -> Project:
    project.add("a.txt", "b.txt", "c.txt")
    project.call("prep")
    project.call("enqueue")
    return project


def started(project: Project) -> int:
    before = len(billed(project.context))
    launch_missing(project.context, status_of(make_reader(project.context).snapshot()))
    return len(billed(project.context)) - before


def beat(project: Project, worker: str, state: WorkerState) -> None:
    heartbeat = Heartbeat(
        worker=worker, state=state, started=0, seen=time.time(), interval_seconds=30
    )
    project.store.put(project.layout.heartbeat(worker), heartbeat.encode())


def test_workers_that_are_there_already_are_not_started_again(enqueued: Project) -> None:
    assert started(enqueued) == 2, "workers.count"
    assert started(enqueued) == 0


def test_workers_elsewhere_count_too(enqueued: Project) -> None:
    beat(enqueued, "w-1", WorkerState.BUSY)
    assert started(enqueued) == 1


def test_workers_that_are_about_to_leave_are_replaced(enqueued: Project) -> None:
    beat(enqueued, "w-1", WorkerState.DRAINING)
    beat(enqueued, "w-2", WorkerState.LEFT)
    assert started(enqueued) == 2


def look(project: Project, judge: Judge) -> list[bool]:
    """What the judge says each time when it looks as often as it needs to be sure."""
    reader = make_reader(project.context)
    return [judge(status_of(reader.snapshot())) for _ in range(LOOKS_ALONE)]


def relied_on(project: Project) -> Judge:
    """A judge of a run whose workers were there before, and have left since."""
    for worker in ("w-1", "w-2"):
        beat(project, worker, WorkerState.BUSY)
    relied = launch_missing(project.context, status_of(make_reader(project.context).snapshot()))
    for worker in ("w-1", "w-2"):
        beat(project, worker, WorkerState.LEFT)
    return Judge(project.context, relied=relied)


def test_workers_that_leave_before_they_see_the_new_jobs_are_replaced_once(
    enqueued: Project,
) -> None:
    judge = relied_on(enqueued)
    assert look(enqueued, judge) == [False] * LOOKS_ALONE
    assert len(billed(enqueued.context)) == 2

    ec2 = enqueued.context.client("ec2")
    instances.terminate(ec2, [one.id for one in instances.find(ec2, enqueued.context.names)])
    assert look(enqueued, judge)[-1], "nobody is left, and these were told of all jobs"


def test_workers_launched_by_this_command_are_not_replaced(enqueued: Project) -> None:
    assert look(enqueued, Judge(enqueued.context, relied=False))[-1]
    assert len(billed(enqueued.context)) == 0


def test_nobody_is_launched_for_a_run_that_was_paused_meanwhile(enqueued: Project) -> None:
    judge = relied_on(enqueued)
    pause(enqueued.store, enqueued.layout, "tired")
    assert look(enqueued, judge)[-1]
    assert len(billed(enqueued.context)) == 0


def rests(project: Project) -> list[bool]:
    """Return for each of `LOOKS_ALONE` looks whether a watch says that the run has come to rest."""
    rest, reader = make_rest(project.context), make_reader(project.context)
    return [rest(status_of(reader.snapshot())) for _ in range(LOOKS_ALONE)]


def test_a_watched_run_that_is_paused_rests_when_its_last_worker_has_left(
    enqueued: Project,
) -> None:
    assert not any(rests(enqueued)), "somebody may launch workers for it"
    started(enqueued)
    pause(enqueued.store, enqueued.layout, "tired")
    assert not any(rests(enqueued)), "they boot, and will read that it is paused"
    ec2 = enqueued.context.client("ec2")
    instances.terminate(ec2, [one.id for one in instances.find(ec2, enqueued.context.names)])
    beat(enqueued, "w-1", WorkerState.DRAINING)
    assert not any(rests(enqueued))
    beat(enqueued, "w-1", WorkerState.LEFT)
    assert rests(enqueued) == [False] * (LOOKS_ALONE - 1) + [True]


@pytest.fixture
def steady(project: Project) -> Project:
    """A run of which one job waits in the steady lane, whose other workers are at work."""
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write("\n[workers.steady]\n")
    del project.context  # it has read the settings already
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.call("enqueue")
    beat(project, "w-1", WorkerState.BUSY)
    message = JobMessage(run=project.run, key="a.txt", size=1)
    project.context.queues.of(Lane.STEADY).send([message.encode()])
    return project


def test_workers_of_a_lane_are_started_once_when_jobs_wait_in_it(steady: Project) -> None:
    assert look(steady, Judge(steady.context)) == [False] * LOOKS_ALONE
    assert [machine.lane for machine in billed(steady.context)] == [Lane.STEADY]


def test_workers_that_run_launches_are_told_that_steady_ones_are_started(steady: Project) -> None:
    beat(steady, "w-1", WorkerState.LEFT)
    assert started(steady) == 1
    assert told_steady_start(steady) == SteadyStart(workers=1, job_seconds=LOCAL_JOB_SECONDS)


def test_workers_that_nobody_watches_are_not_told_so(steady: Project) -> None:
    assert steady.call("launch", "1", "--force") == 0
    assert told_steady_start(steady) is None


def told_steady_start(project: Project) -> SteadyStart | None:
    """Return what the first of the run's machines is told of the steady lane."""
    return told_first(project).steady_start


def told_first(project: Project) -> AgentConfig:
    """Return the configuration of the first of the run's machines."""
    (machine, *_) = billed(project.context)
    answer = project.context.client("ec2").describe_instance_attribute(
        InstanceId=machine.id, Attribute="userData"
    )
    text = base64.b64decode(answer["UserData"]["Value"]).decode()
    return AgentConfig.decode(text, "user data")


def test_the_number_of_workers_on_the_command_line_is_none_of_a_lane(steady: Project) -> None:
    context = open_context(Common(), {"workers.count": 2})
    message = JobMessage(run=steady.run, key="b.txt", size=1)
    context.queues.of(Lane.STEADY).send([message.encode()])
    assert look(steady, Judge(context)) == [False] * LOOKS_ALONE
    assert [machine.lane for machine in billed(context)] == [Lane.STEADY]


def test_a_lane_whose_workers_cannot_be_started_ends_no_run(steady: Project) -> None:
    refused = {"fleet": "persistent", "shutdown_behavior": "stop"}
    workers = steady.context.settings.workers.model_copy(update=refused)
    settings = steady.context.settings.model_copy(update={"workers": workers})
    said: list[str] = []
    context = replace(
        steady.context, resolved=steady.context.resolved._replace(settings=settings),
        tell=said.append,
    )  # fmt: skip
    assert look(steady, Judge(context)) == [False] * LOOKS_ALONE
    assert len([line for line in said if "no workers for the steady lane" in line]) == 1


def test_for_what_waits_in_a_lane_no_other_workers_are_started(steady: Project) -> None:
    queue = steady.context.queues.main
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    queues = steady.context.queues
    queues.of(Lane.STEADY).send([JobMessage(run=steady.run, key="b.txt", size=1).encode()])
    beat(steady, "w-1", WorkerState.LEFT)
    assert started(steady) == 0


@dataclass
class Preparing:
    """The first part of `run --local`; calls `launched` once the workers are launched."""

    project: Project
    launched: Callable[[], None]
    told: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        self.told.append(line)
        if "launched" in line:
            self.at_work = billed(self.project.context)
            self.launched()

    def run(self, error: type[BaseException]) -> None:
        context = replace(self.project.context, tell=self.tell)
        with pytest.raises(error):
            carry_through(context, make_reader(context), self.project.folder / "out", local=True)


def test_workers_wait_for_a_run_that_is_being_prepared(project: Project) -> None:
    project.add("a.txt", "b.txt", "c.txt")

    def look() -> None:
        assert find_run(project.store, project.layout.run_json) is None
        assert told_first(project).run_within_seconds
        raise LookupError

    preparing = Preparing(project, look)
    preparing.run(LookupError)


def test_ctrl_c_while_inputs_are_sent_ends_the_workers_that_wait(project: Project) -> None:
    project.add("a.txt", "b.txt")

    def interrupt() -> None:
        raise KeyboardInterrupt

    preparing = Preparing(project, interrupt)
    preparing.run(KeyboardInterrupt)
    assert len(preparing.at_work) == 2
    assert billed(project.context) == []
    prepared, launched = prepare(project.context, None, local=True)
    assert (prepared.added, launched) == (2, True), "it goes on"
    assert len(billed(project.context)) == 2


def test_an_input_that_cannot_be_sent_ends_the_workers_that_wait(project: Project) -> None:
    project.add("a.txt", "b.txt")
    preparing = Preparing(project, (project.folder / "inputs" / "b.txt").unlink)
    preparing.run(OSError)
    assert len(preparing.at_work) == 2
    assert billed(project.context) == []


def test_workers_of_a_run_that_exists_are_launched_when_all_is_sent(enqueued: Project) -> None:
    enqueued.add("d.txt", "e.txt")
    prepared, launched = prepare(enqueued.context, None, local=True)
    assert (prepared.added, launched) == (2, False)
    assert billed(enqueued.context) == []


def test_jobs_are_sent_to_the_workers_that_wait_and_to_no_others(project: Project) -> None:
    project.add("a.txt", "b.txt")
    prepare(project.context, None, local=True)
    assert len(billed(project.context)) == 2
    project.call("enqueue")
    assert started(project) == 0
