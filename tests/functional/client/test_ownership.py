"""A run belongs to the project that made it, and a name alone does not lead to another's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project, cut_off

from parallelize.context import open_context
from parallelize.operations.prep import prepare
from parallelize.options import Common
from parallelize.project import PROJECT_FILE
from parallelize.queues import PLACE, place_tag
from parallelize.runs.record.ownership import OthersRunError, load_run
from parallelize.runs.record.run_record import drafted, publish
from parallelize.runs.state.catalog import Catalog, listing
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names
from parallelize_core.run import Run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def theirs(project: Project) -> Project:
    """A run of another folder, with a file that is done and one that has failed."""
    project.add("day1.csv", "day2.csv")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    project.finish("day1.csv", "day1.out")
    project.finish("day2.csv", failed=True)
    return project


@pytest.fixture
def ours(theirs: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder of somebody else, in which run.name is the same."""
    folder = tmp_path / "elsewhere" / theirs.folder.name
    folder.mkdir(parents=True)
    shutil.copy(theirs.folder / "parallelize.toml", folder)
    shutil.copytree(theirs.folder / "env", folder / "env")
    monkeypatch.chdir(folder)
    made = Project(folder, theirs.run, theirs.call)
    made.add("day1.csv", "day3.csv")
    return made


def objects(project: Project) -> list[tuple[str, str]]:
    return [(item.key, item.etag) for item in project.store.list(project.layout.root.prefix)]


def rewrite(project: Project, **changes: object) -> None:
    """Make the run one of a former version, whose record has no such fields."""
    run = load_run(project.store, project.context).model_copy(update=changes)
    project.store.put(project.layout.run_json, run.encode())
    project.store.delete([project.layout.origin])


CHANGES = [
    ("prep",), ("prep", "--dry-run"), ("run",), ("enqueue",), ("estimate",), ("retry",),
    ("launch", "1"), ("scale", "0"), ("stop",), ("kill",), ("clean", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
def test_no_command_changes_the_run_of_another_project(
    ours: Project, capsys: Captured, command: tuple[str, ...]
) -> None:
    before = objects(ours)
    owner = load_run(ours.store, ours.context).owner
    waiting = ours.context.queues.main.counts()
    capsys.readouterr()
    assert ours.call(*command) == 2
    told = capsys.readouterr().err
    assert f"run {ours.run} is another project's, made by {owner}" in " ".join(told.split())
    assert "--run NAME" in told
    assert "--join" in told
    assert objects(ours) == before
    assert ours.context.queues.main.counts() == waiting


def test_the_record_of_another_projects_run_is_replaced_by_none_whenever_it_came(
    ours: Project,
) -> None:
    before = objects(ours)
    with drafted(ours.context) as draft, pytest.raises(OthersRunError):
        publish(ours.store, ours.context, draft)
    assert objects(ours) == before


def test_machines_can_be_ended_although_the_bucket_is_gone(ours: Project) -> None:
    sqs, gone = ours.context.clients.sqs, f"gone-{ours.run}"
    there = RunLayout(Location(gone, ours.context.base.prefix), ours.run)
    url = sqs.get_queue_url(QueueName=Names(ours.run).queue)["QueueUrl"]
    sqs.tag_queue(QueueUrl=url, Tags={PLACE: place_tag(there.root)})
    assert ours.call("kill", "--bucket", gone) == 0


def test_a_run_can_be_joined_and_that_is_remembered(ours: Project, capsys: Captured) -> None:
    (ours.folder / "inputs" / "day1.csv").write_text("content of day1.csv")
    assert ours.call("prep", "--join") == 0
    assert f"run {ours.run} of" in capsys.readouterr().err
    assert ours.call("enqueue") == 0
    assert ours.call("clean", "--yes") == 0


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
def test_one_run_that_was_joined_opens_no_other_of_that_project(
    ours: Project, theirs: Project, monkeypatch: pytest.MonkeyPatch, capsys: Captured,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    other = f"{ours.run}-b"
    monkeypatch.chdir(theirs.folder)
    assert theirs.call("prep", "--run", other) == 0
    assert theirs.call("enqueue", "--run", other) == 0
    monkeypatch.chdir(ours.folder)
    assert ours.call("stop", "--join") == 0
    capsys.readouterr()
    assert ours.call(*command, "--run", other) == 2
    assert f"run {other} is another project's" in " ".join(capsys.readouterr().err.split())


def test_a_run_of_ones_own_has_another_name(ours: Project) -> None:
    assert ours.call("prep", "--run", f"{ours.run}-mine") == 0
    assert ours.call("enqueue", "--run", f"{ours.run}-mine") == 0


@pytest.mark.parametrize("before", [(), ("--dry-run",), ("--json",)], ids=" ".join)
def test_outputs_of_another_project_are_downloaded_only_if_its_run_is_named(
    ours: Project, tmp_path: Path, before: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    assert ours.call("download", str(out), *before) == 2
    assert not out.exists()
    assert ours.call("download", str(out), "--run", ours.run) == 1  # one file has failed
    assert (out / "day1.out").exists()


def test_a_run_of_a_former_version_becomes_the_project_s_that_first_changes_it(
    theirs: Project, ours: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(theirs, origin="", owner="")
    monkeypatch.chdir(theirs.folder)
    assert theirs.call("retry") == 0
    run = load_run(theirs.store, theirs.context)
    assert run.origin
    assert run.owner
    monkeypatch.chdir(ours.folder)
    assert ours.call("retry") == 2


def test_a_record_without_an_origin_is_read_as_a_former_version_wrote_it(theirs: Project) -> None:
    document = json.loads(theirs.store.get(theirs.layout.run_json))
    del document["origin"], document["owner"]
    assert Run.decode(json.dumps(document).encode()).origin == ""


def test_adopting_a_run_is_not_told_as_a_change_of_it(theirs: Project, capsys: Captured) -> None:
    rewrite(theirs, origin="", owner="")
    capsys.readouterr()
    assert theirs.call("prep") == 0
    assert "have changed" not in capsys.readouterr().err


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_run_whose_first_prep_was_cut_off_belongs_to_that_project_too(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    project.add("a.txt", "b.txt")
    with pytest.raises(ConnectionAbortedError):
        prepare(cut_off(project.context, writes))
    folder = tmp_path / "elsewhere"
    shutil.copytree(project.folder, folder, ignore=lambda *_: [PROJECT_FILE])
    monkeypatch.chdir(folder)
    assert project.call("prep") == 2
    monkeypatch.chdir(project.folder)
    assert project.call("prep") == 0


def test_a_copy_of_the_folder_is_another_project_while_the_original_is_there(
    theirs: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(theirs.folder, copy)
    monkeypatch.chdir(copy)
    assert theirs.call("prep") == 2
    assert "is a copy of" in " ".join(capsys.readouterr().err.split())
    assert theirs.call("prep", "--run", f"{theirs.run}-copy") == 0
    assert theirs.call("prep", "--join") == 0


def test_a_folder_that_was_moved_keeps_its_runs(
    theirs: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = theirs.folder.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert theirs.call("prep") == 0


def test_a_copy_of_a_folder_that_was_moved_is_another_project(
    theirs: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = theirs.folder.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert theirs.call("enqueue") in {0, 3}
    copy = shutil.copytree(moved, tmp_path / "copy")
    monkeypatch.chdir(copy)
    assert theirs.call("clean", "--yes") == 2
    monkeypatch.chdir(moved)
    assert theirs.call("clean", "--yes") == 0


def test_the_list_of_runs_names_the_owner_also_of_one_that_is_incomplete(
    theirs: Project, capsys: Captured
) -> None:
    owner = open_context(Common()).me
    begun = f"{theirs.run}-begun"
    theirs.call("prep", "--run", begun)
    theirs.store.delete([theirs.layout.run_json.replace(theirs.run, begun)])
    capsys.readouterr()
    assert theirs.call("runs", "--json") == 0
    listed = {one["run"]: one["owner"] for one in json.loads(capsys.readouterr().out)["runs"]}
    assert listed[theirs.run] == listed[begun] == owner
    head, *lines = listing(Catalog(theirs.store, theirs.context.base).runs(), 0)
    assert head.endswith("owner")
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    "command", [("status",), ("failures",), ("logs", "day1.csv")], ids=" ".join
)
def test_whoever_looks_at_another_projects_run_is_told_whose_it_is_in_one_line(
    ours: Project, theirs: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    owner = load_run(ours.store, ours.context).owner
    capsys.readouterr()
    assert ours.call(*command) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count(f"run {ours.run} is another project's, made by {owner}") == 1
    monkeypatch.chdir(theirs.folder)
    assert ours.call(*command) == 0
    assert "another project's" not in capsys.readouterr().err
