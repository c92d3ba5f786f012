from pathlib import Path

import pytest

from parallelize import cli
from parallelize.runs.environment.command_check import split_command
from parallelize.settings import resolve


def test_a_new_project_can_be_read_and_its_script_runs(tmp_path: Path) -> None:
    assert cli.run(["init", str(tmp_path / "new")]) == 0
    settings = resolve({}, {}, tmp_path / "new").settings
    script = tmp_path / "new" / (settings.run.env or "") / split_command(settings.run.command)[0]
    assert script.stat().st_mode & 0o111
    assert (tmp_path / "new" / settings.run.inputs).is_dir()


def test_every_line_that_is_commented_out_is_a_setting_that_is_known(tmp_path: Path) -> None:
    assert cli.run(["init", str(tmp_path)]) == 0
    file = tmp_path / "parallelize.toml"
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and "=" in line else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines))
    found = resolve({}, {}, tmp_path)
    assert found.settings.run.name == "scans"
    assert found.settings.workers.max_cost == 20


def test_the_example_has_inputs_and_a_script_that_can_be_executed(tmp_path: Path) -> None:
    assert cli.run(["init", str(tmp_path), "--example"]) == 0
    run = resolve({}, {}, tmp_path).settings.run
    assert [path for path in (tmp_path / run.inputs).rglob("*") if path.is_file()]
    script = tmp_path / (run.env or "") / split_command(run.command)[0]
    assert script.stat().st_mode & 0o100


@pytest.mark.parametrize("name", ["parallelize.toml", "env/job.sh"])
def test_nothing_is_written_over(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["init", str(tmp_path)]) == 2
    assert (tmp_path / name).read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before
    assert name in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", str(tmp_path / "new"), "--dry-run"]) == 0
    assert not (tmp_path / "new").exists()
    assert all(line.startswith("(dry run)") for line in capsys.readouterr().err.splitlines())
