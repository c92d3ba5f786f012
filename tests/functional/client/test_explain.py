"""`explain FILE` says which part of what was done differs from what would be done now."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.functional.client.conftest import Project

from parallelize.runs.results.results import read_result

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def done(project: Project) -> Project:
    """A run of two files, one of which has succeeded."""
    project.add("deep/a.txt", "b.txt")
    project.call("prep")
    head = project.head_of("deep/a.txt")
    assert head
    project.finish("deep/a.txt", "a.csv", etag=head.etag)
    return project


def explained(project: Project, capsys: Captured, file: str = "a.txt") -> Any:
    capsys.readouterr()
    assert project.call("explain", file, "--json") == 0
    return json.loads(capsys.readouterr().out)


def configure(project: Project, old: str, new: str) -> None:
    path = project.folder / "parallelize.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_of_a_file_that_is_as_it_was_it_says_so(done: Project, capsys: Captured) -> None:
    found = explained(done, capsys)
    assert (found["key"], found["state"]) == ("deep/a.txt", "done, and nothing has changed")
    assert found["differences"] == []


def test_it_names_the_input_with_its_sizes(done: Project, capsys: Captured) -> None:
    (done.folder / "inputs" / "deep" / "a.txt").write_text("x")
    found = explained(done, capsys)
    assert found["state"] == "done, and out of date"
    assert found["differences"] == ["input deep/a.txt changed (from 21 Bytes to 1 Byte)"]


def test_it_tells_both_commands(done: Project, capsys: Captured) -> None:
    configure(done, '"./job.sh"', '"./job.sh --fast"')
    assert explained(done, capsys)["differences"] == [
        "command changed from ./job.sh to ./job.sh --fast"
    ]


def test_it_names_each_file_of_the_environment_that_differs(
    done: Project, capsys: Captured
) -> None:
    done.write_script("#!/bin/sh\n# another\n")
    (done.folder / "env" / "new.py").write_text("")
    assert explained(done, capsys)["differences"] == [
        "environment file job.sh changed", "environment file new.py is new",
    ]  # fmt: skip


def test_it_tells_of_a_mode(done: Project, capsys: Captured) -> None:
    (done.folder / "env" / "job.sh").chmod(0o700)
    assert explained(done, capsys)["differences"] == [
        "environment file job.sh has mode 100700, and had 100755"
    ]


def test_it_tells_how_outputs_were_named(done: Project, capsys: Captured) -> None:
    with (done.folder / "parallelize.toml").open("a") as file:
        file.write('[output]\nname = "{stem}{suffix}"\n')
    assert explained(done, capsys)["differences"] == [
        'output naming: name changed from "{dir}/{stem}{suffix}" to "{stem}{suffix}"'
    ]


def test_it_knows_what_a_result_was_made_from_after_the_run_has_changed(
    done: Project, capsys: Captured
) -> None:
    configure(done, '"./job.sh"', '"./job.sh --fast"')
    assert done.call("prep", "--changed", "keep") == 0
    configure(done, "--fast", "--slow")
    assert explained(done, capsys)["differences"] == [
        "command changed from ./job.sh to ./job.sh --slow"
    ]


def test_of_a_result_of_a_former_version_it_says_that_it_is_not_known(
    done: Project, capsys: Captured
) -> None:
    result = read_result(done.store, done.layout, "deep/a.txt")
    assert result is not None
    former = result.model_copy(update={"content": "", "recipe": ""})
    done.store.put(done.layout.result("deep/a.txt"), former.encode())
    assert explained(done, capsys)["state"] == "done, and nothing has changed", "it can be told"
    done.write_script("#!/bin/sh\n# another\n")
    found = explained(done, capsys)
    assert found["state"] == "done, and perhaps out of date"
    assert found["differences"] == ["it was made by an older version, which did not record how"]


def test_a_file_without_a_result_and_a_new_one_are_told_as_such(
    done: Project, capsys: Captured
) -> None:
    done.add("c.txt")
    assert explained(done, capsys, "b.txt")["state"] == "it has no result yet"
    assert explained(done, capsys, "c.txt")["state"] == "new: parallelize prep adds it"


def test_it_changes_nothing_and_a_name_that_is_no_input_is_an_error(done: Project) -> None:
    before = [(item.key, item.etag) for item in done.store.list(done.layout.root.prefix)]
    assert done.call("explain", "other.txt") == 2
    assert done.call("explain", "deep/a.txt") == 0
    assert [(item.key, item.etag) for item in done.store.list(done.layout.root.prefix)] == before
