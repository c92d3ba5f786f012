"""`retry`: a failed job gets another go, with the environment as it is now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.functional.client.conftest import Project, cut_off, with_store

from parallelize.operations import retry
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.retry import retry_jobs
from parallelize.runs.record.ownership import load_run
from parallelize.runs.record.run_record import drafted, publish
from parallelize.runs.results import results
from parallelize.runs.results.results import failed_results, read_result
from parallelize.runs.state.attempts import read_attempts
from parallelize_core.config import DrainSettings
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.manifest import part_places, read_parts
from parallelize_core.result import Attempt
from parallelize_core.store import Store

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


def test_failures_that_are_too_many_to_be_read_one_by_one_keep_their_logs(
    failed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SINGLE_READS", 1)
    for key in ("bad one.txt", "deep/bad.txt"):
        before = read_result(failed.store, failed.layout, key)
        assert before
        logged = before.model_copy(update={"log": f"said by {key}\n"})
        failed.store.put(failed.layout.result(key), logged.encode())
    assert failed.call("retry") == 0
    assert waiting(failed) == ["bad one.txt", "deep/bad.txt"]
    [attempt] = read_attempts(failed.context, "deep/bad.txt")
    assert attempt.log == "said by deep/bad.txt\n"


def test_the_manifest_is_read_once_however_many_jobs_are_sent_again(
    failed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CHUNK", 1)
    store = CountingStore(failed.store)
    assert retry_jobs(with_store(failed.context, store)).sent == 2
    assert waiting(failed) == ["bad one.txt", "deep/bad.txt"]
    [(_, part)] = part_places(failed.store, failed.layout)
    assert store.asked["get", part] == 1


def waiting(project: Project) -> list[str]:
    """The keys on the queue, waiting out the delay of retried messages."""
    queue = project.context.queues.main
    keys: list[str] = []
    while len(keys) < project.context.queues.main.counts().total:
        keys += [JobMessage.decode(m.body).key for m in queue.receive(10, 10, 60)]
    return sorted(keys)


def still_failed(project: Project) -> list[str]:
    return [result.key for result in failed_results(project.store, project.layout)]


@pytest.fixture
def silent(project: Project) -> Project:
    """A run of three, of which two have succeeded without an output."""
    project.add("a.txt", "b.txt", "good.txt")
    project.call("prep")
    project.call("enqueue")
    queue = project.context.queues.main
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    project.finish("a.txt")
    project.finish("b.txt")
    project.finish("good.txt", "good.csv")
    return project


def test_files_that_produced_no_output_are_done_once_more_when_that_is_said(
    silent: Project, capsys: Captured
) -> None:
    assert silent.call("retry") == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "2 files succeeded but produced no output: a.txt and 1 more" in told
    assert "parallelize retry --silent" in told
    assert silent.call("retry", "--silent") == 0
    assert waiting(silent) == ["a.txt", "b.txt"]
    assert not list(silent.store.list(silent.layout.silences.prefix))
    assert silent.call("retry", "--silent") == 3


def test_one_that_is_named_is_taken_at_once_unless_outputs_are_not_needed(
    silent: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert silent.call("retry", "a.txt") == 0
    assert waiting(silent) == ["a.txt"]
    monkeypatch.setenv("PARALLELIZE_RUN_REQUIRE_OUTPUT", "false")
    assert silent.call("prep") == 0
    assert silent.call("retry", "b.txt") == 2


def test_failures_are_told_with_those_that_produced_no_output_beside_them(
    silent: Project, capsys: Captured
) -> None:
    capsys.readouterr()
    assert silent.call("failures") == 0
    told = capsys.readouterr().err
    assert "no file has failed" in told
    assert "2 files succeeded but produced no output: a.txt and 1 more" in told


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


def test_a_file_that_is_no_input_is_refused_and_nothing_changes(
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
    there = failed.head_of("bad one.txt")
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


class CountingStore:
    """A bucket, and how often each method was called with each key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = Counter[tuple[str, object]]()

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._store, name)

        def call(*given: Any, **named: Any) -> Any:
            self.asked[name, given[0]] += 1
            return made(*given, **named)

        return call if callable(made) else made


class OvertakenStore:
    """A bucket in which another client does something just before the n-th call about a result."""

    def __init__(self, store: Store, place: str, nth: int, other: Callable[[], None]) -> None:
        self._store = store
        self._place = place
        self._left = nth
        self._other = other

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._store, name)

        def call(*given: Any, **named: Any) -> Any:
            if given[:1] == (self._place,):
                self._left -= 1
                if self._left == 0:
                    self._other()
            return made(*given, **named)

        return call


@pytest.mark.parametrize("nth", [2, 3, 4])
@pytest.mark.parametrize("outcome", ["succeeded", "failed again"])
def test_a_result_that_another_client_s_retry_has_brought_is_not_deleted(
    failed: Project, capsys: Captured, nth: int, outcome: str
) -> None:
    def other() -> None:
        if outcome == "succeeded":
            failed.finish("bad one.txt", "bad one.csv")
        else:
            failed.finish("bad one.txt", failed=True, etag="of a later version")

    store = OvertakenStore(failed.store, failed.layout.result("bad one.txt"), nth, other)
    done = retry_jobs(with_store(failed.context, store), ["bad one.txt"])
    result = read_result(failed.store, failed.layout, "bad one.txt")
    assert result is not None
    assert result.status == outcome.partition(" ")[0]
    assert (done.sent, failed.context.queues.main.counts().total) == (0, 0)
    assert "1 job left alone" in capsys.readouterr().err
    assert ("bad one.txt" in still_failed(failed)) is (outcome != "succeeded")


@pytest.mark.parametrize("nth", [2, 3, 4])
def test_a_result_that_another_client_has_just_taken_away_is_sent_all_the_same(
    failed: Project, nth: int
) -> None:
    place = failed.layout.result("bad one.txt")
    # That client may have been killed before it sent a message; twice does no harm.
    store = OvertakenStore(failed.store, place, nth, lambda: failed.store.delete([place]))
    assert retry_jobs(with_store(failed.context, store), ["bad one.txt"]).sent == 1


def spoil(project: Project, how: str) -> None:
    place = project.layout.output.key("good.csv")
    if how == "gone":
        project.store.delete([place])
    elif how == "cut short":
        project.store.put(place, b"output")
    else:
        project.store.put(place, b"something else", metadata={"parallelize-input": "x"})


@pytest.mark.parametrize("how", ["gone", "cut short", "replaced"])
def test_a_file_that_has_succeeded_is_taken_when_its_output_is_gone_or_spoilt(
    failed: Project, how: str
) -> None:
    spoil(failed, how)
    assert failed.call("retry", "good.txt") == 0
    assert waiting(failed) == ["good.txt"]
    assert read_result(failed.store, failed.layout, "good.txt") is None
    assert failed.store.head(failed.layout.output.key("good.csv")) is None


def test_a_file_whose_outputs_are_as_they_were_written_is_taken_only_with_again(
    failed: Project, capsys: Captured
) -> None:
    assert failed.call("retry", "good.txt") == 2
    assert "parallelize retry --again good.txt" in " ".join(capsys.readouterr().err.split())
    assert failed.call("retry", "--again", "good.txt") == 0
    assert waiting(failed) == ["good.txt"]
    assert failed.store.head(failed.layout.output.key("good.csv")), "until it is replaced"


def test_a_file_without_a_result_is_taken_only_with_again(failed: Project) -> None:
    failed.add("new.txt")
    failed.call("prep")
    assert failed.call("retry", "new.txt") == 2
    assert failed.call("retry", "--again", "new.txt") == 0
    assert waiting(failed) == ["new.txt"]


def test_again_is_for_files_that_are_named(failed: Project) -> None:
    assert failed.call("retry", "--again") == 2
    assert failed.context.queues.main.counts().total == 0


@pytest.mark.parametrize("how", ["gone", "replaced"])
def test_download_names_the_command_that_makes_a_spoilt_output_again(
    failed: Project, tmp_path: Path, capsys: Captured, how: str
) -> None:
    spoil(failed, how)
    capsys.readouterr()
    assert failed.call("download", str(tmp_path / "out"), "--json") == 1
    told = capsys.readouterr()
    assert "parallelize retry -- good.txt" in told.err
    assert [one["redo"] for one in json.loads(told.out)["refused"]] == ["good.txt"]
    assert failed.call("retry", "--", "good.txt") == 0


def etags(project: Project) -> dict[str, str]:
    return {entry.key: entry.etag for part in read_parts(project.store, project.layout)
            for entry in part.entries}  # fmt: skip


@pytest.mark.parametrize("writes", range(6))
def test_a_corrected_input_is_sent_as_it_is_now_wherever_a_retry_was_cut_off(
    failed: Project, writes: int
) -> None:
    (failed.folder / "inputs" / "bad one.txt").write_text("corrected")
    assert failed.call("prep") == 0
    with suppress(ConnectionAbortedError):
        retry_jobs(cut_off(failed.context, writes), ["bad one.txt"])
    if "bad one.txt" in still_failed(failed):
        retry_jobs(failed.context, ["bad one.txt"])
    elif not failed.context.queues.main.counts().total:
        send_jobs(failed.context, drain=DrainSettings(samples=1))
    there = failed.head_of("bad one.txt")
    (message,) = failed.context.queues.main.receive(10, 10, 60)
    assert there is not None
    assert JobMessage.decode(message.body).etag == there.etag == etags(failed)["bad one.txt"]
    assert failed.call("prep") == 0, "nothing has changed since"


def test_an_input_in_s3_that_was_corrected_is_known_without_a_prep(project: Project) -> None:
    lake = f"lake-{project.run}/"
    project.store.put(f"{lake}a.csv", b"bad")
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write(f'inputs = "s3://{project.context.bucket}/{lake}"\n')
    assert project.call("prep") == 0
    project.finish("a.csv", failed=True, etag=etags(project)["a.csv"])
    etag = project.store.put(f"{lake}a.csv", b"corrected")
    assert project.call("retry") == 0
    assert etags(project) == {"a.csv": etag}


def test_a_record_of_the_run_whose_answer_was_lost_is_known_again(failed: Project) -> None:
    class Losing:
        def __getattr__(self, name: str) -> Any:
            return getattr(failed.store, name)

        def put(self, key: str, body: bytes, *given: Any, **named: Any) -> str | None:
            failed.store.put(key, body, *given, **named)
            return failed.store.put(key, body, *given, **named)

    failed.write_script("#!/bin/sh\n# another\n")
    with drafted(failed.context) as draft:
        assert publish(Losing(), failed.context, draft)  # type: ignore[arg-type]
    assert load_run(failed.store, failed.context).environment == draft.run.environment
