"""`retry`: a failed job gets another go, with the environment as it is now."""

from __future__ import annotations

import json

import pytest
from tests.functional.client.conftest import Project, cut_off

from parallelize.commands.enqueue import send_jobs
from parallelize.commands.logs import read_attempts
from parallelize.commands.retry import retry_jobs
from parallelize.runs.record import load_run
from parallelize.runs.results import failed_results
from parallelize_core.config import DrainSettings
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.result import Attempt

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def failed(project: Project) -> Project:
    """A run of three, two of which have failed; nothing is on its queue."""
    project.add("bad one.txt", "deep/bad.txt", "good.txt")
    project.call("prep")
    project.call("enqueue")
    queue = project.context.queues.main
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    project.finish("bad one.txt", failed=True)
    project.finish("deep/bad.txt", failed=True)
    project.finish("good.txt", "good.csv")
    return project


def waiting(project: Project) -> list[str]:
    """The keys on the queue, waiting out the delay of retried messages."""
    queue = project.context.queues.main
    keys: list[str] = []
    while len(keys) < project.context.queues.main.counts().total:
        keys += [JobMessage.decode(m.body).key for m in queue.receive(10, 10, 60)]
    return sorted(keys)


def still_failed(project: Project) -> list[str]:
    return [result.key for result in failed_results(project.store, project.layout)]


def test_all_failed_jobs_are_sent_again_after_a_delay(failed: Project, capsys: Captured) -> None:
    assert failed.call("retry", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 2
    assert failed.context.queues.main.counts().delayed == 2
    assert still_failed(failed) == []
    assert list(failed.store.list(failed.layout.failures.prefix)) == []
    assert waiting(failed) == ["bad one.txt", "deep/bad.txt"]


def test_the_attempt_that_had_failed_last_can_still_be_read(failed: Project) -> None:
    (before,) = read_attempts(failed.context, "deep/bad.txt")
    assert failed.call("retry") == 0
    (after,) = read_attempts(failed.context, "deep/bad.txt")
    assert after.model_dump() == before.model_dump(include=set(Attempt.model_fields))


@pytest.mark.parametrize("name", ["deep/bad.txt", "inputs/deep/bad.txt", "bad.txt"])
def test_a_named_file_alone_is_sent_again(failed: Project, name: str) -> None:
    assert failed.call("retry", name) == 0
    assert still_failed(failed) == ["bad one.txt"]
    assert failed.context.queues.main.counts().total == 1


def test_a_file_that_has_not_failed_is_refused_and_nothing_changes(
    failed: Project, capsys: Captured
) -> None:
    assert failed.call("retry", "deep/bad.txt", "deep/bda.txt") == 2
    assert "did you mean deep/bad.txt?" in capsys.readouterr().err
    assert len(still_failed(failed)) == 2


def test_without_failures_there_is_nothing_to_do(project: Project) -> None:
    project.add("a.txt")
    project.call("prep")
    assert project.call("retry") == 3


def test_a_mended_script_is_the_one_that_is_used(failed: Project, capsys: Captured) -> None:
    before = load_run(failed.store, failed.context).environment
    failed.write_script("#!/bin/sh\n# mended\n")
    assert failed.call("retry") == 0
    assert load_run(failed.store, failed.context).environment != before
    assert "have changed: the new ones are used" in capsys.readouterr().err


def test_a_script_that_is_broken_now_is_refused_and_nothing_changes(failed: Project) -> None:
    failed.write_script("no first line\n")
    assert failed.call("retry") == 2
    assert len(still_failed(failed)) == 2


def test_a_mended_input_is_sent_with_its_new_version(failed: Project) -> None:
    (failed.folder / "inputs" / "bad one.txt").write_text("mended")
    assert failed.call("prep") == 0
    assert failed.call("retry", "bad one.txt") == 0
    there = failed.store.head(failed.layout.input.key("bad one.txt"))
    (message,) = failed.context.queues.main.receive(10, 10, 60)
    assert there is not None
    assert JobMessage.decode(message.body).etag == there.etag


def test_only_their_own_messages_leave_the_dead_letter_queue(failed: Project) -> None:
    dead = failed.context.queues.dead
    job = JobMessage(run=failed.run, key="bad one.txt", size=1)
    bodies = [
        DeadLetter(reason="exit 1", worker="w", body=job.encode()).encode(),
        job.model_copy(update={"key": "deep/bad.txt"}).encode(),
        "not a job at all",
    ]
    dead.send(bodies)
    assert failed.call("retry", "bad one.txt") == 0
    assert sorted(message.body for message in dead.receive(10, 0, 60)) == sorted(bodies[1:])


@pytest.mark.parametrize("writes", range(4))
def test_a_retry_that_was_cut_off_loses_nothing(failed: Project, writes: int) -> None:
    context = failed.context
    cut = cut_off(context, writes)
    if writes < 3:  # the record and two deletes; after them only the message is left to send
        with pytest.raises(ConnectionAbortedError):
            retry_jobs(cut, ["bad one.txt"])
    else:
        retry_jobs(cut, ["bad one.txt"])
    if "bad one.txt" in still_failed(failed):
        retry_jobs(context, ["bad one.txt"])
    elif not context.queues.main.counts().total:
        send_jobs(context, drain=DrainSettings(samples=1))
    assert waiting(failed) == ["bad one.txt"]


def test_a_dry_run_names_the_jobs_and_changes_nothing(failed: Project, capsys: Captured) -> None:
    capsys.readouterr()
    assert failed.call("retry", "--dry-run") == 0
    told = capsys.readouterr().err.splitlines()
    assert "(dry run) would send bad one.txt again" in told
    assert len(still_failed(failed)) == 2
