"""What another run has made by the same work is copied, and neither sent nor executed again."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from tests.conformance.other_server import other_server
from tests.functional.client.conftest import Project, cut_off

from parallelize.context import open_context
from parallelize.operations.prep import prepare
from parallelize.operations.retry import retry_jobs
from parallelize.options import Common
from parallelize.runs.results.results import read_result
from parallelize_core.files import files_of
from parallelize_core.layout import RunLayout, shared_inputs
from parallelize_core.manifest import finished, read_entries, read_parts
from parallelize_core.owner import OWNER_RUN, run_mark

Captured = pytest.CaptureFixture[str]

FILES = ("a.txt", "b.txt")
SECOND = "second"


@pytest.fixture
def done(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run of two files that have succeeded, and a project that may begin another.

    Its inputs are not there any more, as if it were one of a former version.
    """
    monkeypatch.delenv("PARALLELIZE_RUN_REUSE")
    project.write_script(f"#!/bin/sh\n# of {project.run} alone\n")
    project.add(*FILES)
    project.call("prep")
    for name in FILES:
        project.finish(name, f"{name}.csv")
    shared = shared_inputs(project.layout.base)
    project.store.delete(item.key for item in project.store.list(shared.prefix))
    return project


@pytest.fixture
def second(done: Project) -> RunLayout:
    return RunLayout(done.context.base, f"{SECOND}-{done.run}")


def prepared(project: Project, capsys: Captured, layout: RunLayout, *words: str) -> Any:
    capsys.readouterr()
    assert project.call("prep", "--run", layout.run, "--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def inputs(project: Project, layout: RunLayout) -> set[str]:
    shared = shared_inputs(layout.base)
    there = {shared.relative(item.key) for item in project.store.list(shared.prefix)}
    entries = read_entries(project.store, layout)
    return {file.key for entry in entries for file in files_of(entry) if file.stored in there}


def executed(project: Project, layout: RunLayout) -> set[str]:
    """The files of a run that are still to be executed."""
    there = finished(project.store, layout)
    keys = {e.key for part in read_parts(project.store, layout) for e in part.entries}
    return {key for key in keys if layout.result(key) not in there}


def test_a_second_run_over_the_same_files_sends_and_executes_nothing(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    told = prepared(done, capsys, second)
    assert (told["copied"], told["uploaded"], told["added"]) == (2, 0, 2)
    assert executed(done, second) == set()
    assert done.call("enqueue", "--run", second.run) == 3, "there is nothing to send"
    for name in FILES:
        old, new = read_result(done.store, done.layout, name), read_result(done.store, second, name)
        assert old is not None
        assert new is not None
        assert new.copied_from == done.run
        assert new.content == old.content
        assert new.outputs == old.outputs
        assert new.usage.seconds == 0, "it has cost nothing"
        head = done.store.head(second.output.key(f"{name}.csv"))
        assert head is not None
        assert head.etag == old.outputs[0].etag
        assert head.metadata[OWNER_RUN] == run_mark(second)


def test_nor_does_the_same_command_once_more(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    told = prepared(done, capsys, second)
    assert (told["copied"], told["uploaded"], told["again"]) == (0, 0, 0)
    assert inputs(done, second) == set()


def test_its_outputs_are_downloaded_like_any(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    assert done.call("download", "out", "--run", second.run) == 0
    assert (done.folder / "out" / "a.txt.csv").read_text() == "output a.txt.csv"
    assert done.call("logs", "a.txt", "--run", second.run) == 0
    assert f"copied from run {done.run}" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["flag", "setting"])
def test_what_is_not_to_be_copied_is_executed(
    done: Project, second: RunLayout, capsys: Captured, how: str
) -> None:
    if how == "setting":
        with (done.folder / "parallelize.toml").open("a") as file:
            file.write("reuse = false\n")
    told = prepared(done, capsys, second, *["--no-reuse"] * (how == "flag"))
    assert (told["copied"], told["uploaded"]) == (0, 2)
    assert executed(done, second) == set(FILES)


def test_another_command_has_nothing_to_copy(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    done.write_script(f"#!/bin/sh\n# another of {done.run} alone\n")
    assert prepared(done, capsys, second)["copied"] == 0
    assert executed(done, second) == set(FILES)


def test_another_input_is_executed_and_the_rest_is_copied(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    (done.folder / "inputs" / "a.txt").write_text("another")
    done.add("c.txt")
    told = prepared(done, capsys, second)
    assert (told["copied"], told["uploaded"]) == (1, 2)
    assert executed(done, second) == inputs(done, second) == {"a.txt", "c.txt"}


@pytest.mark.parametrize("what", ["replaced", "gone"])
def test_an_output_that_is_no_longer_what_its_result_names_is_not_copied(
    done: Project, second: RunLayout, capsys: Captured, what: str
) -> None:
    place = done.layout.output.key("a.txt.csv")
    if what == "replaced":
        done.store.put(place, b"somebody else's")
    else:
        done.store.delete([place])
    told = prepared(done, capsys, second)
    assert (told["copied"], told["uploaded"]) == (1, 1)
    assert executed(done, second) == inputs(done, second) == {"a.txt"}


@pytest.mark.parametrize(
    "odd",
    [{"key": "x" * 2000}, {"size": -1}, {"sha256": "\u00e9"}],
    ids=["long name", "no size", "no checksum"],
)
def test_a_result_that_no_worker_has_written_so_is_not_copied_and_stops_nothing(
    done: Project, second: RunLayout, capsys: Captured, odd: dict[str, object]
) -> None:
    made = read_result(done.store, done.layout, "a.txt")
    assert made is not None
    outputs = tuple(output.model_copy(update=odd) for output in made.outputs)
    spoiled = made.model_copy(update={"outputs": outputs})
    done.store.put(done.layout.result("a.txt"), spoiled.encode())
    told = prepared(done, capsys, second)
    assert (told["copied"], told["uploaded"]) == (1, 1)
    assert executed(done, second) == {"a.txt"}


def test_a_failure_and_a_success_without_output_are_tried_anew(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    done.finish("a.txt", failed=True)
    done.finish("b.txt")
    assert prepared(done, capsys, second)["copied"] == 0


def test_a_result_that_does_not_say_what_it_is_of_is_not_copied(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    for name in FILES:
        old = read_result(done.store, done.layout, name)
        assert old is not None
        former = old.model_copy(update={"content": ""})
        done.store.put(done.layout.result(name), former.encode())
    assert prepared(done, capsys, second)["copied"] == 0


@pytest.mark.xfail(other_server() is not None, reason="LocalStack overwrites it all the same")
def test_an_object_in_the_place_of_an_output_is_left_alone(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    done.store.put(second.output.key("a.txt.csv"), b"precious")
    assert prepared(done, capsys, second)["copied"] == 1
    assert done.store.get(second.output.key("a.txt.csv")) == b"precious"
    assert executed(done, second) == {"a.txt"}


def test_a_copy_of_a_copy_names_where_it_was_executed(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    done.store.delete(item.key for item in done.store.list(done.layout.root.prefix))
    third = RunLayout(done.context.base, f"third-{done.run}")
    assert prepared(done, capsys, third)["copied"] == 2
    new = read_result(done.store, third, "a.txt")
    assert new is not None
    assert new.copied_from == done.run


@pytest.mark.parametrize("writes", range(8))
def test_wherever_it_is_cut_off_the_next_prep_brings_all_that_is_missing(
    done: Project, second: RunLayout, capsys: Captured, writes: int
) -> None:
    done.add("c.txt")
    context = open_context(Common(run=second.run))
    with suppress(ConnectionAbortedError):
        prepare(cut_off(context, writes))
    told = prepared(done, capsys, second)
    assert executed(done, second) == {"c.txt"}
    assert "c.txt" in inputs(done, second)
    assert told["uploaded"] <= 1


def test_a_copied_file_that_is_done_again_has_its_input_sent(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    context = open_context(Common(run=second.run))
    prepare(context, again=["a.txt"])
    assert inputs(done, second) == {"a.txt"}
    assert executed(done, second) == {"a.txt"}


def test_a_copied_file_is_told_to_be_sent_before_it_can_be_retried(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    context = open_context(Common(run=second.run))
    with pytest.raises(Exception, match="run --again"):
        retry_jobs(context, ["a.txt"], again=True)
    assert executed(done, second) == set(), "its result is still there"


def test_a_changed_script_has_all_inputs_sent_that_were_not_needed_before(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    prepared(done, capsys, second)
    done.write_script("#!/bin/sh\n# another\n")
    assert done.call("prep", "--run", second.run) == 2
    told = prepared(done, capsys, second, "--changed", "redo")
    assert (told["uploaded"], told["again"]) == (2, 2)


def test_a_dry_run_tells_what_would_be_copied_and_writes_nothing(
    done: Project, second: RunLayout, capsys: Captured
) -> None:
    assert done.call("prep", "--run", second.run, "--dry-run") == 0
    told = capsys.readouterr().err
    assert "would copy the outputs of 2 files from another run" in told
    assert "would upload" not in told
    assert list(done.store.list(second.root.prefix)) == []


def test_groups_are_copied_like_files(done: Project, capsys: Captured) -> None:
    with (done.folder / "parallelize.toml").open("a") as file:
        file.write('group = "folder"\n')
    first, other = (RunLayout(done.context.base, f"g{n}-{done.run}") for n in (1, 2))
    prepared(done, capsys, first)
    [entry] = [e for part in read_parts(done.store, first) for e in part.entries]
    project = Project(done.folder, first.run, done.call)
    project.__dict__["context"] = open_context(Common(run=first.run))
    project.finish(entry.key, "out.csv")
    told = prepared(done, capsys, other)
    assert (told["copied"], told["uploaded"]) == (1, 0)
    assert executed(done, other) == set()
    (done.folder / "inputs" / "a.txt").write_text("another")
    told = prepared(done, capsys, other, "--changed", "redo")
    assert (told["again"], told["uploaded"]) == (1, 1), "the first run has sent the other file"
