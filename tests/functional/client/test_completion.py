"""What a shell completes by asking parallelize."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from tests.functional.client.conftest import Project
from tests.functional.local.helpers import AGENT_OPTIONS, client_arguments, launch, until, view

from parallelize import cli
from parallelize.local.cloud import default_state_dir, local_cloud


@pytest.fixture
def prepared(project: Project, capsys: pytest.CaptureFixture[str]) -> Project:
    project.add("deep/scan_1.tif", "deep/scan_2.tif", "other.tif")
    assert project.call("prep") == 0
    capsys.readouterr()
    return project


def offered(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return what the script of a shell is answered when TAB follows the words."""
    cli.run(["__complete", *words])
    records = capsys.readouterr().out.partition("\x1fbegin\n")[2]
    return [line.split("\t")[0] for line in records.splitlines()]


def test_a_shell_completes_the_names_of_runs(
    prepared: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(capsys, "status", "--run", prepared.run[:12]) == [prepared.run]


@pytest.mark.parametrize("command", ["logs", "repro", "retry"])
def test_a_shell_completes_the_files_of_the_run(
    prepared: Project, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(capsys, command, "deep/") == ["deep/scan_1.tif", "deep/scan_2.tif"]


def test_a_shell_completes_the_files_of_the_run_that_the_line_names(
    prepared: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(capsys, "logs", "--run", "none-such", "deep/") == []


@pytest.mark.parametrize("command", ["kill", "interrupt"])
def test_a_shell_completes_the_machines_of_the_local_cloud(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with local_cloud(default_state_dir(), daemon_options=AGENT_OPTIONS) as cloud:
        ec2 = boto3.client("ec2", **client_arguments(cloud))
        machine = launch(ec2, name="a run")
        until(lambda: view(cloud, machine))
        assert offered(capsys, "local", command, "i-") == [machine]
        assert offered(capsys, "local", command, "x") == []


def test_where_no_local_cloud_runs_a_shell_is_offered_no_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert offered(capsys, "local", "kill", "") == []
