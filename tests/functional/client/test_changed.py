"""What has changed since it was processed: asked about, and done again only if that is wanted."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from io import StringIO

import pytest
from tests.functional.client.conftest import Project, cut_off

from parallelize.context import Context, open_context
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.prep import prepare
from parallelize.operations.redo import redo_late
from parallelize.options import Common
from parallelize.runs.record.ownership import load_run
from parallelize.runs.results import superseded
from parallelize.runs.results.results import read_result
from parallelize_core.config import DrainSettings
from parallelize_core.job import JobMessage
from parallelize_core.manifest import read_parts
from parallelize_core.merge import MERGE, MergeRecord, digest_of
from parallelize_core.result import Result
from parallelize_core.store import IF_ABSENT

Captured = pytest.CaptureFixture[str]

FILES = ("a.txt", "b.txt", "c.txt")
ANOTHER = "#!/bin/sh\n# another\n"


@pytest.fixture
def done(project: Project) -> Project:
    """A run of three files that have succeeded; nothing is on its queue."""
    project.add(*FILES)
    project.call("prep")
    project.call("enqueue")
    empty(project)
    for name in FILES:
        project.finish(name, f"{name}.csv")
    return project


def empty(project: Project) -> None:
    queue = project.context.queues.main
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])


def sent(project: Project) -> dict[str, str]:
    """The keys and ETags on the queue, waiting out the delay of what was sent again."""
    queue = project.context.queues.main
    found: dict[str, str] = {}
    while len(found) < queue.counts().total:
        messages = [JobMessage.decode(m.body) for m in queue.receive(10, 10, 60)]
        found |= {message.key: message.etag for message in messages}
    return found


def results(project: Project) -> set[str]:
    there = {name: read_result(project.store, project.layout, name) for name in FILES}
    return {name for name, result in there.items() if result}


def kept(project: Project) -> list[str]:
    found = superseded.read_superseded(project.store, project.layout)
    return sorted(result.key for _, old in found for result in old)


def change(project: Project, name: str) -> None:
    (project.folder / "inputs" / name).write_text("changed")


def redoing(project: Project) -> Context:
    return open_context(Common(), {"run.changed": "redo"})


def test_what_has_not_changed_is_left_alone(done: Project) -> None:
    os.utime(done.folder / "env" / "job.sh", (1, 1))
    assert done.call("prep", "--changed", "fail") == 0
    assert results(done) == set(FILES)


def test_a_changed_script_is_an_error_that_tells_how_many_files_it_concerns(
    done: Project, capsys: Captured
) -> None:
    done.write_script(ANOTHER)
    before = load_run(done.store, done.context)
    assert done.call("prep") == 2
    told = capsys.readouterr().err
    assert "error: 3 finished files are out of date" in told
    assert "3 because the command, its environment or the naming of outputs has changed" in told
    assert "--changed redo" in told
    assert load_run(done.store, done.context) == before, "nothing was sent"


def test_the_mode_of_a_script_counts_as_a_change(done: Project) -> None:
    (done.folder / "env" / "helper").write_text("")
    assert done.call("prep", "--changed", "keep") == 0
    for name in FILES:
        done.store.delete([done.layout.result(name)])
        done.finish(name, f"{name}.csv")
    assert done.call("prep") == 0
    (done.folder / "env" / "helper").chmod(0o700)
    assert done.call("prep") == 2


def test_a_changed_script_is_used_for_all_files_if_that_is_said(
    done: Project, capsys: Captured
) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo", "--json") == 0
    assert json.loads(capsys.readouterr().out)["again"] == 3
    assert results(done) == set()
    assert set(sent(done)) == set(FILES)
    assert kept(done) == [*FILES]


def test_outputs_are_kept_if_that_is_said_and_it_is_asked_again_the_next_time(
    done: Project,
) -> None:
    done.write_script(ANOTHER)
    before = load_run(done.store, done.context)
    assert done.call("prep", "--changed", "keep") == 0
    assert results(done) == set(FILES)
    assert load_run(done.store, done.context).recipe != before.recipe, "new files are done so"
    assert done.call("prep") == 2
    done.write_script("#!/bin/sh\n")
    assert done.call("prep") == 0, "now they are what they should be"


def test_one_changed_input_is_one_job_and_waits_for_nothing(
    done: Project, capsys: Captured
) -> None:
    change(done, "b.txt")
    assert done.call("prep") == 2
    told = capsys.readouterr().err
    assert "1 finished file is out of date" in told
    assert "changed inputs: b.txt" in told
    assert done.call("prep", "--changed", "redo") == 0
    there = done.head_of("b.txt")
    assert there is not None
    (message,) = done.context.queues.main.receive(10, 0, 60)
    assert JobMessage.decode(message.body).etag == there.etag
    assert results(done) == {"a.txt", "c.txt"}


def test_an_input_that_is_kept_stays_in_s3_as_it_was_processed(done: Project) -> None:
    change(done, "b.txt")
    assert done.call("prep", "--changed", "keep") == 0
    assert done.content_of("b.txt") == b"content of b.txt"
    assert done.call("prep") == 2, "it is asked again"


def test_an_input_that_changes_before_its_job_was_sent_is_just_taken(project: Project) -> None:
    project.add("a.txt")
    project.call("prep")
    change(project, "a.txt")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    there = project.head_of("a.txt")
    assert there is not None
    assert sent(project) == {"a.txt": there.etag}


def test_for_an_input_that_changes_while_its_job_waits_there_is_a_new_message(
    project: Project,
) -> None:
    project.add("a.txt")
    project.call("prep")
    project.call("enqueue")
    empty(project)
    change(project, "a.txt")
    assert project.call("prep") == 0
    there = project.head_of("a.txt")
    assert there is not None
    assert sent(project) == {"a.txt": there.etag}


def test_failed_files_are_no_reason_to_ask_and_are_done_with_the_others(project: Project) -> None:
    project.add("a.txt")
    project.call("prep")
    project.call("enqueue")
    empty(project)
    project.finish("a.txt", failed=True)
    project.write_script(ANOTHER)
    assert project.call("prep") == 0
    assert results(project) == {"a.txt"}
    assert project.call("prep", "--changed", "redo") == 0
    assert results(project) == set()
    assert kept(project) == [], "nothing of it is worth keeping"
    assert set(sent(project)) == {"a.txt"}


def test_a_result_of_a_former_version_is_asked_about(done: Project, capsys: Captured) -> None:
    old = read_result(done.store, done.layout, "a.txt")
    assert old is not None
    plain = old.model_copy(update={"content": "", "recipe": ""})
    done.store.put(done.layout.result("a.txt"), plain.encode())
    run = load_run(done.store, done.context)
    former = run.model_copy(update={"recipe": ""})
    done.store.put(done.layout.run_json, former.encode())
    assert done.call("prep") == 2
    told = capsys.readouterr().err
    assert "1 finished file is out of date" in told
    assert "1 because it was made by an older version, which did not record how" in told


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "left"), [
    ("redo\n", 0, set()), ("keep\n", 0, set(FILES)), ("\n", 2, set(FILES)), ("", 2, set(FILES)),
])  # fmt: skip
def test_at_a_terminal_the_user_is_asked(
    done: Project, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, left: set[str]
) -> None:
    done.write_script(ANOTHER)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", Terminal())
    assert done.call("prep") == code
    assert results(done) == left


def test_at_a_terminal_too_it_is_an_error_if_that_was_said(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    done.write_script(ANOTHER)
    monkeypatch.setattr("sys.stdin", Terminal("redo\n"))
    monkeypatch.setattr("sys.stderr", Terminal())
    assert done.call("prep", "--changed", "fail") == 2


def test_a_dry_run_tells_and_takes_nothing_away(done: Project, capsys: Captured) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--dry-run") == 0
    assert "3 finished files are out of date" in capsys.readouterr().err
    assert done.call("prep", "--dry-run", "--changed", "redo") == 0
    assert "would process 3 finished files again" in capsys.readouterr().err
    assert results(done) == set(FILES)


@pytest.mark.parametrize("writes", range(16))
def test_wherever_it_is_cut_off_no_result_is_lost_and_no_old_one_counts_as_new(
    done: Project, writes: int
) -> None:
    done.write_script(ANOTHER)
    change(done, "b.txt")
    with suppress(ConnectionAbortedError):
        prepare(cut_off(redoing(done), writes))
    assert results(done) | set(kept(done)) == set(FILES)
    old = results(done)
    if old:
        assert done.call("prep") == 2, "what is left is not taken for new"
    assert done.call("prep", "--changed", "redo") == 0
    assert results(done) == set()
    if not done.context.queues.main.counts().total:
        send_jobs(done.context, drain=DrainSettings(samples=1))
    assert done.context.queues.main.counts().total >= max(1, len(old))
    there = done.head_of("b.txt")
    assert there is not None
    entries = {e.key: e.etag for part in read_parts(done.store, done.layout) for e in part.entries}
    assert entries["b.txt"] == there.etag


def test_a_result_that_came_meanwhile_is_not_taken_away(done: Project) -> None:
    class Overtaken:
        def __getattr__(self, name: str) -> object:
            return getattr(done.store, name)

        def delete_version(self, key: str, etag: str) -> bool:
            if key == done.layout.result("a.txt"):
                done.store.put(key, newer.encode())
            return done.store.delete_version(key, etag)

    found = read_result(done.store, done.layout, "a.txt")
    assert found is not None
    newer = found.model_copy(update={"worker": "another"})
    done.write_script(ANOTHER)
    context = cut_off(redoing(done), 0)
    object.__setattr__(context, "cut", Overtaken())
    prepare(context)
    assert read_result(done.store, done.layout, "a.txt") == newer
    assert set(sent(done)) == {"b.txt", "c.txt"}


def test_what_gave_way_is_removed_once_there_is_something_new(done: Project) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo") == 0
    outputs = {name: done.layout.output.key(f"{name}.csv") for name in FILES}
    done.finish("a.txt", "a.txt.parquet")
    done.finish("b.txt", "b.txt.csv")
    assert done.call("prep") == 0
    assert done.store.head(outputs["a.txt"]) is None, "the new result does not name it"
    assert done.store.head(outputs["b.txt"]) is not None
    assert done.store.head(outputs["c.txt"]) is not None, "there is no new one yet"
    assert kept(done) == [*FILES]
    done.finish("c.txt", "c.txt.csv")
    assert done.call("prep") == 0
    assert kept(done) == []


def test_old_results_that_another_prep_has_removed_meanwhile_are_no_error(done: Project) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo") == 0
    for name in FILES:
        done.finish(name, f"{name}.csv")
    listed = [*done.store.list(done.layout.superseded.prefix)]
    run = load_run(done.store, done.context)
    superseded.sweep(done.context, run)
    assert (len(listed), kept(done)) == (1, [])
    superseded.sweep(done.context, run, listed)


def test_a_success_that_made_nothing_replaces_no_old_output(done: Project) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo") == 0
    for name in FILES:
        done.finish(name)
    assert done.call("prep") == 0
    assert done.store.head(done.layout.output.key("a.txt.csv")) is not None
    assert kept(done) == [*FILES]


def test_an_output_of_another_job_in_the_place_of_an_old_one_stays(done: Project) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo") == 0
    done.store.delete([done.layout.output.key("a.txt.csv")])
    done.finish("a.txt", "a.txt.parquet")
    done.finish("b.txt", "a.txt.csv")  # the same bytes as the old one of a.txt
    done.finish("c.txt", "c.txt.csv")
    assert done.call("prep") == 0
    assert done.store.head(done.layout.output.key("a.txt.csv")) is not None


def test_what_was_executed_before_stays_in_the_log(done: Project, capsys: Captured) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "redo") == 0
    capsys.readouterr()
    assert done.call("logs", "a.txt") == 0
    assert "attempt 1 on w" in capsys.readouterr().out


def test_a_new_file_with_a_result_of_a_command_that_was_cut_off_is_looked_at(
    done: Project,
) -> None:
    """Such a result may be a copy that was made before the run knew of the file."""
    done.add("d.txt")
    stray = Result(
        run=done.run, key="d.txt", attempt=1, worker="w", started_at="", finished_at="",
        status="succeeded", recipe="other", content="00" * 32,
    )  # fmt: skip
    done.store.put(done.layout.result("d.txt"), stray.encode(), IF_ABSENT)
    assert done.call("prep") == 2


def test_jobs_that_had_begun_before_a_change_are_done_again_at_the_end(done: Project) -> None:
    prepared = prepare(open_context(Common()))
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "keep") == 0
    old = read_result(done.store, done.layout, "a.txt")
    assert old is not None
    late = old.model_copy(update={"worker": "slow"})
    done.store.put(done.layout.result("a.txt"), late.encode())
    known = {i.etag for i in done.store.list(done.layout.results.prefix)}
    kept_on_purpose = {
        item.etag
        for item in done.store.list(done.layout.results.prefix)
        if item.key != done.layout.result("a.txt")
    }
    assert not prepared.outdated
    assert not redo_late(done.context, known)
    assert redo_late(done.context, kept_on_purpose)
    assert results(done) == {"b.txt", "c.txt"}
    assert set(sent(done)) == {"a.txt"}


def test_what_workers_of_a_former_version_leave_is_not_done_again_for_ever(
    done: Project,
) -> None:
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "keep") == 0
    for name in FILES:
        old = read_result(done.store, done.layout, name)
        assert old is not None
        former = old.model_copy(update={"content": "", "recipe": "", "worker": "of old"})
        done.store.put(done.layout.result(name), former.encode())
    assert not redo_late(done.context, ())
    assert results(done) == set(FILES)


def test_finished_files_are_done_again_on_purpose(done: Project) -> None:
    prepare(open_context(Common()), again=["b.txt"])
    assert results(done) == {"a.txt", "c.txt"}
    prepare(open_context(Common()), again=[])
    assert results(done) == set()
    assert set(sent(done)) == set(FILES)
    assert kept(done) == [*FILES]


def test_a_file_that_is_done_again_on_purpose_is_not_asked_about(done: Project) -> None:
    change(done, "b.txt")
    context = open_context(Common(), {"run.changed": "fail"})
    prepare(context, again=["b.txt"])
    there = done.head_of("b.txt")
    assert there is not None
    assert sent(done) == {"b.txt": there.etag}


def test_a_file_that_is_done_again_has_its_new_input_although_others_keep_theirs(
    done: Project,
) -> None:
    change(done, "a.txt")
    change(done, "b.txt")
    prepare(open_context(Common(), {"run.changed": "keep"}), again=["b.txt"])
    assert done.content_of("a.txt") == b"content of a.txt"
    assert done.content_of("b.txt") == b"changed"
    assert results(done) == {"a.txt", "c.txt"}


def test_a_download_says_what_is_out_of_date(done: Project, capsys: Captured) -> None:
    assert done.call("download", "out") == 0
    assert "earlier" not in capsys.readouterr().err
    done.write_script(ANOTHER)
    assert done.call("prep", "--changed", "keep") == 0
    assert done.call("download", "out", "--json") == 0
    told = capsys.readouterr()
    assert "3 files have outputs of an earlier command, environment or input" in told.err
    assert json.loads(told.out)["outdated"] == 3


@pytest.fixture
def merged(done: Project) -> Project:
    """The same with a merge over their results, which has succeeded, too."""
    with (done.folder / "parallelize.toml").open("a") as file:
        file.write('then = "./job.sh --merge"\n')
    assert done.call("prep", "--changed", "fail") == 0
    listed = ((item.key, item.etag) for item in done.store.list(done.layout.results.prefix))
    record = MergeRecord(digest=digest_of(done.layout, listed), listed="list", outputs=3, size=9)
    done.store.put(done.layout.merge, record.encode())
    done.finish(MERGE, "all.csv", etag="list")
    return done


def test_a_merge_that_is_given_to_finished_files_leaves_them_as_they_are(merged: Project) -> None:
    assert merged.call("prep") == 0
    assert results(merged) == set(FILES)


def test_with_another_command_only_the_merge_is_out_of_date(
    merged: Project, capsys: Captured
) -> None:
    settings = merged.folder / "parallelize.toml"
    settings.write_text(settings.read_text().replace("--merge", "--other"))
    assert merged.call("prep") == 2
    assert "1 finished file is out of date" in capsys.readouterr().err
    assert merged.call("explain", MERGE) == 0
    assert "the command of run.then" in capsys.readouterr().out
    assert merged.call("prep", "--changed", "keep") == 0
    assert merged.call("prep") == 2, "it is asked again"
    assert merged.call("prep", "--changed", "redo") == 0
    assert results(merged) == set(FILES)
    assert read_result(merged.store, merged.layout, MERGE) is None
    assert set(sent(merged)) == {MERGE}


def test_with_other_jobs_the_merge_is_left_to_the_workers(merged: Project) -> None:
    merged.write_script(ANOTHER)
    assert merged.call("prep", "--changed", "redo") == 0
    assert results(merged) == set()
    assert set(sent(merged)) == set(FILES), "it is put on the queue when they are done"


def test_a_script_that_the_command_names_by_its_whole_path_counts(
    project: Project, capsys: Captured
) -> None:
    script = project.folder / "elsewhere.sh"
    script.write_text("one")
    words = ("--command", f"sh {script}")
    project.add(*FILES)
    project.call("prep", *words)
    for name in FILES:
        project.finish(name, f"{name}.csv")
    assert project.call("prep", *words) == 0
    script.write_text("two")
    assert project.call("prep", *words) == 2
    assert "error: 3 finished files are out of date" in capsys.readouterr().err
    assert project.call("explain", "a.txt", *words) == 0
    assert "elsewhere.sh changed" in capsys.readouterr().out


def test_a_dry_run_takes_the_names_that_the_command_itself_would(done: Project) -> None:
    assert done.call("run", "--dry-run", "--again", "b.txt") == 0
    assert done.call("run", "--dry-run", "--again", "new.txt") == 2
    done.add("new.txt")
    assert done.call("run", "--dry-run", "--again", "new.txt") == 0
