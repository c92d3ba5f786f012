"""Programs that a command names by their whole paths: workers of the local cloud have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.runs.recipe import named_programs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "command",
    [
        "{}", "python3 {} --fast", "./job.sh --by={}", "'{}' -v", "sh -c 'python3 {} \"$0\"'",
        'python3 {} < "$1" > out.txt', "cat \"$1\"|{}", "x a,{}",
    ],
)  # fmt: skip
def test_a_program_is_found_wherever_a_command_names_it(tmp_path: Path, command: str) -> None:
    file = tmp_path / "job.py"
    file.write_text("one")
    before = named_programs([command.replace("{}", str(file))])
    assert [*before] == [str(file)]
    file.write_text("two")
    assert named_programs([command.replace("{}", str(file))]) != before


def test_a_name_with_blanks_is_one_name(tmp_path: Path) -> None:
    file = tmp_path / "my job.py"
    file.write_text("")
    assert [*named_programs([f"python3 '{file}'"])] == [str(file)]


def test_its_mode_counts(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("")
    before = named_programs([str(file)])
    file.chmod(0o755)
    assert named_programs([str(file)]) != before


@pytest.mark.parametrize(
    "command",
    ["/bin/sh ./job.sh", "./job.sh", "cat /no/such.py", "sh -c 'open", "ls {}", "log {}/x"],
)
def test_what_belongs_to_the_system_and_what_is_no_program_is_left_out(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "x").write_text("a job may append to it")
    assert named_programs([command.replace("{}", str(tmp_path))]) == {}
