"""What `check` makes of a project's settings: a run of one file that concerns nobody else."""

from pathlib import Path

import pytest
from tests.unit.watching.scene import failure

from parallelize.operations.one_file import for_one, only_here
from parallelize.setting_tables import RunTable
from parallelize.settings import resolve


def checked(folder: Path, **run: object) -> RunTable:
    """Return the run that a file is checked in, of a project with these settings."""
    given = {f"run.{name}": value for name, value in run.items()}
    return for_one(resolve(given, {}, folder)).settings.run


@pytest.mark.parametrize("notify", ["https://hooks.example/x", "me@example.org", "./tell.sh"])
def test_nobody_is_told_that_a_check_has_ended(tmp_path: Path, notify: str) -> None:
    assert checked(tmp_path, notify=notify).notify is None


def test_a_check_does_no_last_job_over_its_one_file(tmp_path: Path) -> None:
    assert checked(tmp_path, then="./merge.py").then is None


def test_what_is_done_to_the_file_is_what_the_run_does(tmp_path: Path) -> None:
    made = checked(tmp_path, command="./job.sh", memory_per_job="2GB", attempts=5)
    assert (made.command, made.memory_per_job, made.attempts) == ("./job.sh", 2_000_000_000, 1)


def test_the_command_itself_is_named_if_only_this_machine_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only-here").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    lost = failure(
        "a",
        log="",
        message="only-here cannot be started: it, or the program in its #! line, was not found",
    )
    assert only_here(lost) == ["only-here"]
    assert only_here(failure("a", log="", message="only-here ended: exit 1")) == []
