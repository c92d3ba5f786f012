"""Environments whose files are shared by runs: what `prep` sends, and what `clean` leaves."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

from parallelize.runs.environment.recipe import recipe_of
from parallelize.runs.environment.stored_once import MIN_ZIP_BYTES, fetch_zip
from parallelize.runs.record.ownership import load_run
from parallelize.transfers import sha256_of
from parallelize_core.contents import Contents
from parallelize_core.layout import shared_by_runs
from parallelize_core.run import Environment, Run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def large(project: Project) -> Project:
    """A project with an environment that is worth it, and of which no other test has a file."""
    project.add("a.txt")
    (project.folder / "env" / "model.bin").write_bytes(os.urandom(MIN_ZIP_BYTES))
    write(project, "one")
    return project


def write(project: Project, line: str) -> None:
    project.write_script(f"#!/bin/sh\n# {project.run}\necho {line}\n")


def shared(project: Project) -> set[str]:
    there = Contents(shared_by_runs(project.context.base))
    return {there.all.relative(item.key) for item in project.store.list(there.all.prefix)}


def has_content(project: Project, path: Path) -> bool:
    return f"{sha256_of(path)}.gz" in shared(project)


def environment(project: Project) -> Environment:
    found = load_run(project.store, project.context).environment
    assert found
    return found


def prep(project: Project, capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    assert project.call("prep", "--changed", "keep", *words) == 0
    return capsys.readouterr().err


def test_one_changed_line_sends_that_file_alone(large: Project, capsys: Captured) -> None:
    assert "environment: 2 of 2 files sent" in prep(large, capsys)
    write(large, "two")
    assert "environment: 1 of 2 files sent" in prep(large, capsys)
    assert has_content(large, large.folder / "env" / "job.sh")


def test_another_run_of_the_same_files_sends_none(large: Project, capsys: Captured) -> None:
    prep(large, capsys)
    assert "environment: 0 of 2 files sent" in prep(large, capsys, "--run", f"{large.run}-b")


def test_clean_leaves_what_another_run_names_and_takes_the_rest(
    large: Project, capsys: Captured
) -> None:
    script, model = large.folder / "env" / "job.sh", large.folder / "env" / "model.bin"
    prep(large, capsys)
    write(large, "two")
    prep(large, capsys, "--run", f"{large.run}-b")
    assert large.call("clean", "--yes", "--run", f"{large.run}-b") == 0
    assert (has_content(large, script), has_content(large, model)) == (False, True)
    assert large.call("clean", "--yes") == 0
    assert not has_content(large, model)


def test_a_run_of_a_former_version_keeps_its_zip(large: Project, capsys: Captured) -> None:
    prep(large, capsys)
    run = load_run(large.store, large.context)
    zipped = Environment(bucket=large.context.bucket, key="env.zip", identity="sha")
    former = run.model_copy(update={"environment": zipped})
    large.store.put(large.layout.run_json, former.encode())
    prep(large, capsys)
    assert load_run(large.store, large.context) == former


def test_an_agent_of_a_former_version_refuses_the_record(large: Project, capsys: Captured) -> None:
    prep(large, capsys)
    # What it asks for is a string.
    assert b'"key": null' in large.store.get(large.layout.run_json)


def test_what_repro_fetches_is_the_same_environment(
    large: Project, capsys: Captured, tmp_path: Path
) -> None:
    prep(large, capsys)
    run: Run = load_run(large.store, large.context)
    fetched = tmp_path / "fetched.zip"
    fetch_zip(large.store, environment(large), fetched)
    assert recipe_of(run, fetched).digest == run.recipe
    with zipfile.ZipFile(fetched) as opened:
        model = large.folder / "env" / "model.bin"
        assert opened.read("model.bin") == model.read_bytes()
