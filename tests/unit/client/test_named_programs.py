"""Files that a command names: scripts beside it, and programs by their whole paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.runs.environment.packing import files_beside, scripts_beside
from parallelize.runs.environment.placeholders import words_of
from parallelize.runs.environment.recipe import named_programs


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


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("python3 job.py {}", ["job.py"]),
        ("python3 -u ./job.py {} --fast", ["job.py"]),
        ("Rscript sub/../sub/job.R", ["sub/job.R"]),
        ("perl link.pl {}", ["link.pl"]),
        ("env A=1 ./tool {}", ["tool"]),
        ("timeout 60 binary {}", ["binary"]),
        ("python3 job.py tool {}", ["job.py", "tool"]),
        ("python3 job.py ./job.py", ["job.py"]),
        # A program is looked for on the PATH, whatever else is called so.
        ("job.py {}", []),
        ("./job.py {}", ["job.py"]),
        # What a command writes is often called like what it has written before.
        ("sort -o data.csv {}", []),
        ("python3 ../outside.py {}", []),
        ("python3 {}.py {/.}.py", []),
        ("python3 -job.py", []),
        ("python3 sub", []),
        ("python3 sub.py", []),
        ("python3 gone.py broken.py", []),
        ("python3 -c '" + "print(1);" * 100 + "'", []),
        ("python3 'a\0b.py'", []),
        ("python3 'job.py", []),
    ],
)
def test_scripts_beside_are_those_that_a_command_names(
    tmp_path: Path, command: str, found: list[str]
) -> None:
    folder = tmp_path / "project"
    for name in ("job.py", "-job.py", "{}.py", "sub/job.R", "../outside.py", "data.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "binary").write_bytes(b"\x7fELF")
    (folder / "link.pl").symlink_to(tmp_path / "outside.py")
    (folder / "broken.py").symlink_to("nowhere")
    (folder / "sub.py").mkdir()
    assert scripts_beside(folder, words_of(command)) == found
    if "data" in command:
        assert files_beside(folder, words_of(command)) == ["data.csv"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('python3 job.py "$1" > new.py', ["job.py"]),
        ('job.py "$1"; job.py | python3 job.py', ["job.py"]),
        ('job.py "$1" && (job.py) || job.py 2>job.py', []),
        ('python3 new.py "$1"&& ./job.py x', ["new.py", "job.py"]),
        ("python3 '' job.py \"\" ''", ["job.py"]),
    ],
)
def test_in_a_line_for_a_shell_operators_end_words_and_what_is_written_is_none(
    tmp_path: Path, line: str, found: list[str]
) -> None:
    for name in ("job.py", "new.py"):
        (tmp_path / name).write_text("")
    assert scripts_beside(tmp_path, words_of(line, shell=True)) == found
