"""Uploaded inputs are stored once for all runs of a place, by what they hold."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import Any

import pytest
from tests.functional.client.conftest import Project

from parallelize.context import open_context
from parallelize.options import Common
from parallelize.runs.inputs.shared_inputs import SharedInputs
from parallelize.runs.results.results import read_result
from parallelize_core.content_key import content_keys
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout, shared_by_runs
from parallelize_core.manifest import Entry, encode_part, read_entries
from parallelize_core.run import Run

Captured = pytest.CaptureFixture[str]


def other(project: Project) -> Project:
    """Another run of the same folder."""
    made = Project(project.folder, f"other-{project.run}", project.call)
    made.__dict__["context"] = open_context(Common(run=made.run))
    return made


def prepared(project: Project, capsys: Captured) -> Any:
    capsys.readouterr()
    assert project.call("prep", "--run", project.run, "--json") == 0
    return json.loads(capsys.readouterr().out)


def entries(project: Project) -> dict[str, Entry]:
    return {entry.key: entry for entry in read_entries(project.store, project.layout)}


def uploads(project: Project) -> list[str]:
    place = SharedInputs(project.store, project.context.base).place
    return [place.relative(item.key) for item in project.store.list(place.prefix)]


def test_a_second_run_over_the_same_files_sends_none_of_them(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt", "deep/b.txt")
    assert prepared(project, capsys)["uploaded"] == 2
    second = other(project)
    assert prepared(second, capsys)["uploaded"] == 0
    assert entries(second) == entries(project)
    assert second.content_of("deep/b.txt") == b"content of deep/b.txt"


def test_nor_does_another_project_whose_files_have_other_names(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    folder = project.folder.parent / "another project"
    shutil.copytree(project.folder, folder)
    (folder / ".parallelize").exists() and shutil.rmtree(folder / ".parallelize")
    (folder / "inputs" / "a.txt").rename(folder / "inputs" / "renamed.txt")
    monkeypatch.chdir(folder)
    second = other(project)
    assert prepared(second, capsys)["uploaded"] == 0
    assert second.content_of("renamed.txt") == b"content of a.txt"


def test_files_that_hold_the_same_are_sent_once(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    for name in ("b.txt", "c.txt"):
        shutil.copy(project.folder / "inputs/a.txt", project.folder / "inputs" / name)
    told = prepared(project, capsys)
    assert (told["added"], told["uploaded"]) == (3, 1)
    assert {entry.stored for entry in entries(project).values()} == {*uploads(project)}


def test_clean_deletes_what_no_other_run_names(project: Project, capsys: Captured) -> None:
    project.add("a.txt", "b.txt")
    prepared(project, capsys)
    (project.folder / "inputs" / "a.txt").unlink()
    second = other(project)
    prepared(second, capsys)
    assert project.call("clean", "--yes") == 0
    assert "deleted 1 shared input" in capsys.readouterr().err
    assert uploads(second) == [entries(second)["b.txt"].stored]
    assert second.call("clean", "--yes", "--run", second.run) == 0
    place = shared_by_runs(project.context.base)
    assert list(project.store.list(place.prefix)) == []


def test_an_input_that_somebody_has_deleted_is_sent_again(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt", "b.txt")
    prepared(project, capsys)
    before = entries(project)
    head = project.head_of("a.txt")
    assert head
    project.store.delete([head.key])
    told = prepared(project, capsys)
    assert (told["uploaded"], told["added"]) == (1, 0)
    assert project.content_of("a.txt") == b"content of a.txt"
    assert entries(project)["b.txt"] == before["b.txt"]


def test_messages_say_where_an_input_is(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    assert project.call("enqueue") == 0
    project.finish("a.txt", failed=True)
    [first] = project.context.queues.main.receive(10, 10, 0)
    project.context.queues.main.delete([first.receipt])
    assert project.call("retry") == 0
    [again] = project.context.queues.main.receive(10, 10, 60)
    for message in (first, again):
        assert JobMessage.decode(message.body).stored == entries(project)["a.txt"].stored


def test_the_message_of_a_file_grows_by_its_checksum_and_little_more(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    entry = entries(project)["a.txt"]
    plain = entry.model_copy(update={"stored": ""})
    assert len(entry.message("r").encode()) - len(plain.message("r").encode()) <= 64 + 21


def test_an_agent_that_does_not_know_of_shared_inputs_cannot_read_the_run(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    # What such an agent accepts: Literal[1, 2].
    assert json.loads(project.store.get(project.layout.run_json))["v"] == 3


def as_a_former_version(project: Project) -> None:
    """Make of a run what a former version would have: its inputs in a folder of its own."""
    store, layout = project.store, project.layout
    made = entries(project)
    for name in made:
        store.put(layout.input.key(name), project.content_of(name))
    store.put(
        layout.manifest_part(0),
        encode_part(entry.model_copy(update={"stored": ""}) for entry in made.values()),
    )
    run = Run.decode(store.get(layout.run_json))
    old = run.model_copy(update={"v": 1, "input": layout.input})
    store.put(layout.run_json, old.encode())
    place = shared_by_runs(layout.base)
    store.delete(item.key for item in store.list(place.prefix))


def test_a_run_of_a_former_version_keeps_its_inputs_where_they_are(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    as_a_former_version(project)
    project.add("b.txt")
    assert prepared(project, capsys)["uploaded"] == 1
    run = Run.decode(project.store.get(project.layout.run_json))
    assert (run.v, run.input) == (1, project.layout.input)
    assert project.store.get(project.layout.input.key("b.txt")) == b"content of b.txt"
    assert {entry.stored for entry in entries(project).values()} == {""}
    assert uploads(project) == []


def test_a_group_borrows_what_is_there_and_sends_the_rest(
    project: Project, capsys: Captured
) -> None:
    project.add("A_R1.fq")
    prepared(project, capsys)
    project.add("A_R2.fq")
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write('group = "{sample}_R{n}.fq"\n')
    second = other(project)
    assert prepared(second, capsys)["uploaded"] == 1
    [job] = entries(second).values()
    assert [file.stored for file in job.files or ()] != ["", ""]
    assert [second.content_of(file.key) for file in job.files or ()] == [
        b"content of A_R1.fq", b"content of A_R2.fq",
    ]  # fmt: skip


def test_what_is_doomed_is_not_borrowed(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    [upload] = uploads(project)
    shared = SharedInputs(project.store, project.context.base)
    project.store.put(shared.doomed.key(upload), b"")
    second = other(project)
    assert prepared(second, capsys)["uploaded"] == 1
    assert entries(second)["a.txt"].stored != upload
    layout = RunLayout(project.context.base, second.run)
    assert [*project.store.list(layout.named.prefix)]


def in_other_parts(project: Project, name: str) -> None:
    """Have the manifest say what S3 says of an upload that has another ETag and is not there now.

    So it is in a bucket with a KMS key, and where another client sent it in parts of another size.
    """
    entry = entries(project)[name].model_copy(update={"etag": f"{'e' * 32}-2"})
    project.store.put(project.layout.manifest_part(0), encode_part([entry]))
    head = project.head_of(name)
    assert head
    project.store.delete([head.key])


def test_what_has_the_same_bytes_is_up_to_date_whatever_its_etag(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    in_other_parts(project, "a.txt")
    project.finish("a.txt", "a.csv")
    told = prepared(project, capsys)
    assert (told["uploaded"], told["again"]) == (1, 0)
    there = project.head_of("a.txt")
    assert there
    assert there.etag == entries(project)["a.txt"].etag != f"{'e' * 32}-2"
    assert project.call("prep") == 0, "with what S3 has now"
    assert project.call("explain", "a.txt") == 0
    assert "a.txt: done, and nothing has changed" in capsys.readouterr().out
    (project.folder / "inputs" / "a.txt").write_text("other")
    assert project.call("prep") == 2


@pytest.fixture
def prepared_alone(project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with one input and a command of its own, whose results others may reuse."""
    monkeypatch.delenv("PARALLELIZE_RUN_REUSE")
    project.write_script(f"#!/bin/sh\n# of {project.run} alone\n")
    project.add("a.txt")
    prepared(project, capsys)


@pytest.mark.usefixtures("prepared_alone")
def test_another_run_copies_what_was_made_of_the_same_bytes_whatever_their_etag(
    project: Project, capsys: Captured
) -> None:
    in_other_parts(project, "a.txt")
    project.finish("a.txt", "a.csv")
    second = other(project)
    told = prepared(second, capsys)
    assert (told["uploaded"], told["copied"]) == (0, 1)
    assert prepared(second, capsys)["copied"] == 0
    assert second.call("prep", "--run", second.run) == 0, "it is up to date there, too"


@pytest.mark.usefixtures("prepared_alone")
def test_a_result_of_a_former_version_is_up_to_date_while_its_etag_is(
    project: Project, capsys: Captured
) -> None:
    project.finish("a.txt", "a.csv")
    store, layout = project.store, project.layout
    result, run = read_result(store, layout, "a.txt"), Run.decode(store.get(layout.run_json))
    assert result
    now, former = content_keys(run, entries(project)["a.txt"])
    assert result.content == now
    old = result.model_copy(update={"content": former})
    store.put(layout.result("a.txt"), old.encode())
    assert prepared(project, capsys)["again"] == 0
    second = other(project)
    assert prepared(second, capsys)["copied"] == 1
    project.write_script("#!/bin/sh\n# another\n")
    assert project.call("prep") == 2
    assert "the command, its environment" in capsys.readouterr().err


def test_outputs_of_another_run_are_known_by_the_checksums_of_its_results(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt", "b.txt")
    prepared(project, capsys)
    for name in ("a", "b"):
        project.finish(f"{name}.txt", f"{name}.csv")
    store, layout = project.store, project.layout
    result = read_result(store, layout, "b.txt")
    assert result
    strange = result.outputs[0].model_copy(update={"sha256": "of nobody"})
    store.put(layout.result("b.txt"), result.model_copy(update={"outputs": (strange,)}).encode())
    monkeypatch.setenv("PARALLELIZE_RUN_INPUTS", f"run:{project.run}")
    second = other(project)
    prepared(second, capsys)
    named = {key: entry.sha256 for key, entry in entries(second).items()}
    assert named == {"a.csv": sha256(b"output a.csv").hexdigest(), "b.csv": ""}
    assert second.call("enqueue", "--run", second.run) == 0
    sent = [JobMessage.decode(m.body) for m in second.context.queues.main.receive(10, 10, 0)]
    assert {message.key: message.sha256 for message in sent} == named


def test_a_checksum_is_not_said_of_another_version_of_an_input(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    prepared(project, capsys)
    project.finish("a.txt", "a.csv")
    monkeypatch.setenv("PARALLELIZE_RUN_INPUTS", f"run:{project.run}")
    monkeypatch.setenv("PARALLELIZE_RUN_COMMAND", "./job.sh {1}")
    second = other(project)
    prepared(second, capsys)
    assert second.call("enqueue", "--run", second.run) == 0
    [first] = second.context.queues.main.receive(10, 10, 0)
    second.context.queues.main.delete([first.receipt])
    second.finish("a.csv", failed=True)
    project.store.put(project.layout.output.key("a.csv"), b"made by hand")
    assert second.call("retry", "--run", second.run) == 0
    [again] = second.context.queues.main.receive(10, 10, 60)
    told = [JobMessage.decode(message.body) for message in (first, again)]
    assert [message.sha256 for message in told] == [sha256(b"output a.csv").hexdigest(), ""]
