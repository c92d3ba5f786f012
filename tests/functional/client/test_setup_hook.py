"""`run.setup` and `workers.root_setup`: checked before anything is sent, and carried to workers."""

from __future__ import annotations

import json
import os

import pytest
from tests.functional.client.conftest import Project

from parallelize.runs.record.ownership import find_run, load_run
from parallelize_core.config import AgentConfig
from parallelize_core.run import Setup

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def configured(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with an input, whose run has a set-up."""
    project.add("a.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_SETUP", "./setup.sh --fast")
    return project


def write_setup(project: Project, text: str, mode: int = 0o755) -> None:
    script = project.folder / "env" / "setup.sh"
    script.write_text(text)
    script.chmod(mode)


def test_the_set_up_is_part_of_the_run(
    configured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELIZE_RUN_SETUP_TIMEOUT", "10m")
    write_setup(configured, "#!/bin/sh\n")
    assert configured.call("prep") == 0
    run = load_run(configured.store, configured.context)
    assert run.setup == Setup(command=("./setup.sh", "--fast"), timeout_seconds=600)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("#!/bin/sh\n", 0o644, "env/setup.sh is not executable"),
        ("#!/bin/sh\r\n", 0o755, "Windows line endings"),
        ("echo hello\n", 0o755, "no #! line"),
    ],
    ids=["mode", "CRLF", "shebang"],
)
def test_a_set_up_that_no_worker_could_start_is_refused_before_anything_is_sent(
    configured: Project, capsys: Captured, text: str, mode: int, said: str
) -> None:
    write_setup(configured, text, mode)
    assert configured.call("prep") == 2
    assert said in capsys.readouterr().err
    assert find_run(configured.store, configured.layout.run_json) is None


def test_a_set_up_that_is_not_there_is_named_with_its_setting(
    configured: Project, capsys: Captured
) -> None:
    assert configured.call("prep") == 2
    said = capsys.readouterr().err
    assert "env/setup.sh does not exist" in said
    assert "run.setup" in said


def test_a_command_that_the_set_up_will_make_need_not_be_there_yet(configured: Project) -> None:
    write_setup(configured, "#!/bin/sh\n")
    assert configured.call("prep", "--command", "./venv/bin/python job.py") == 0


def test_a_command_that_is_there_is_checked_all_the_same(
    configured: Project, capsys: Captured
) -> None:
    write_setup(configured, "#!/bin/sh\n")
    (configured.folder / "env" / "job.sh").chmod(0o644)
    assert configured.call("prep") == 2
    assert "env/job.sh is not executable" in capsys.readouterr().err


def test_the_script_for_root_travels_in_the_machines_configuration(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "#!/bin/sh\napt-get install -y samtools\n"
    (project.folder / "machine.sh").write_text(script)
    monkeypatch.setenv("PARALLELIZE_WORKERS_ROOT_SETUP", "machine.sh")
    assert print_config(project, capsys).root_setup == script
    assert load_run(project.store, project.context).setup is None


def test_without_the_setting_root_does_nothing(project: Project, capsys: Captured) -> None:
    assert print_config(project, capsys).root_setup == ""


@pytest.mark.parametrize(
    ("script", "said"),
    [(None, "cannot be read"), (b"apt-get update\n", "#! line"), (b"#!/bin/sh\r\n", "CRLF"),
     (b"#!/bin/sh\n\xff", "UTF-8")],
)  # fmt: skip
def test_a_script_that_root_could_not_start_is_refused_before_the_launch(
    project: Project,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    script: bytes | None,
    said: str,
) -> None:
    if script is not None:
        (project.folder / "machine.sh").write_bytes(script)
    monkeypatch.setenv("PARALLELIZE_WORKERS_ROOT_SETUP", "machine.sh")
    project.add("a.txt")
    project.call("prep")
    project.call("enqueue")
    assert project.call("launch", "1", "--print-config") == 2
    assert said in capsys.readouterr().err


def test_a_stock_machine_has_a_set_up_as_root_too(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "#!/bin/sh\napt-get install -y samtools\n"
    (project.folder / "machine.sh").write_text(script)
    monkeypatch.setenv("PARALLELIZE_WORKERS_ROOT_SETUP", "machine.sh")
    config = print_config(project, capsys)
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI", "stock")
    assert project.call("launch", "1", "--print-config") == 0
    assert AgentConfig.decode(capsys.readouterr().out, "stdout") == config


def test_a_machine_of_the_local_cloud_finds_programs_where_the_launching_shell_does(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/opt/mine/bin:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    assert print_config(project, capsys).path == path


def test_what_set_ups_have_printed_is_shown(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    project.call("prep")
    project.store.put(project.layout.setup_log("i-1", "abc"), b"collecting numpy\n\x1b[31mred\n")
    capsys.readouterr()
    assert project.call("logs", "--setup") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("set-up i-1.abc\n  | collecting numpy\n")
    assert "\x1b" not in shown


def test_logs_of_nothing_is_a_mistake(project: Project) -> None:
    assert project.call("logs") == 2


def print_config(project: Project, capsys: Captured) -> AgentConfig:
    project.add("a.txt")
    project.call("prep")
    project.call("enqueue")
    capsys.readouterr()
    assert project.call("launch", "1", "--print-config") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["run"] == project.run
    return AgentConfig.decode(printed, "stdout")


def test_the_log_of_a_set_up_that_no_worker_has_ended_is_to_come(
    configured: Project, capsys: Captured
) -> None:
    write_setup(configured, "#!/bin/sh\n")
    assert configured.call("prep") == 0
    assert configured.call("logs", "--setup") == 3
    assert "no set-up has ended on a worker yet" in capsys.readouterr().err


def test_a_run_without_a_set_up_is_not_said_to_wait_for_one(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    assert project.call("prep") == 0
    assert project.call("logs", "--setup") == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "have nothing to set up" in told
    assert "parallelize logs FILE" in told


def test_the_log_of_a_set_up_of_a_run_that_does_not_exist_says_so(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    project.call("prep")
    assert project.call("logs", "--setup", "--run", "other") == 2
    assert 'there is no run "other"' in capsys.readouterr().err
