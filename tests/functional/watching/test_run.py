import json
from pathlib import Path

import pytest

from parallelize import cli
from parallelize.local.cloud import attach, start


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "a.txt").write_text("a")
    script = folder / "env" / "job.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (folder / "parallelize.toml").write_text('[run]\ncommand = "./job.sh"\nenv = "env/"\n')
    monkeypatch.chdir(folder)
    return folder


def test_a_run_whose_workers_all_die_at_once_ends_and_says_so(
    state: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(daemon_options=("--agent", json.dumps(["false"])))
    assert cli.run(["run", "--local"]) == 1
    said = capsys.readouterr().err
    assert "0 done · 0 failed · 1 left" in said
    assert "no worker has reported" in said
    assert "parallelize local status" in said
    assert "report:    " in said
    assert "No results yet" in (project / "project-report.html").read_text()


def test_a_missing_folder_of_inputs_is_told_before_a_worker_is_started(
    state: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "inputs" / "a.txt").unlink()
    assert cli.run(["run", "--local"]) == 2
    assert cli.run(["local", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instances"] == []


def test_a_place_that_takes_no_outputs_is_told_before_any_work_is_done(
    state: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "taken").write_text("a file")
    assert cli.run(["run", "--local", "--out", "taken"]) == 2
    assert "outputs cannot be written to taken" in capsys.readouterr().err
    assert cli.run(["local", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instances"] == []


def test_a_run_whose_report_is_not_wanted_writes_none(
    state: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARALLELIZE_REPORT_HTML", "false")
    start(daemon_options=("--agent", json.dumps(["false"])))
    assert cli.run(["run", "--local"]) == 1
    assert "report:    " not in capsys.readouterr().err
    assert not list(project.glob("*.html"))


def test_a_report_that_cannot_be_written_is_told_and_is_no_failure_of_the_run(
    state: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "project-report.html" / "kept").mkdir(parents=True)
    start(daemon_options=("--agent", json.dumps(["false"])))
    assert cli.run(["run", "--local", "--json"]) == 1
    said = capsys.readouterr()
    assert "no report: the report cannot be written to project-report.html" in said.err
    assert json.loads(said.out)["report"] is None


def test_a_dry_run_says_what_it_would_do_and_does_none_of_it(
    state: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["run", "--local", "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "(dry run) would launch up to 2 workers" in said
    assert "(dry run) would download the outputs to" in said
    assert "(dry run) would write project-report.html" in said
    assert not (project / "out").exists()
    assert not list(project.glob("*.html"))
    assert attach() is None
    start()
    assert cli.run(["status", "--local"]) == 2
    assert "does not exist" in capsys.readouterr().err  # not even the bucket
