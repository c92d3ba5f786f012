"""Dependencies on the local cloud: what a person types, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.console_blocks import named, runs
from tests.e2e.conftest import Shell, only_local
from tests.functional.wheels import Index, serve

from parallelize_core.errors import SetupError, UsageError

pytestmark = [pytest.mark.timeout(400), only_local]

SCRIPT = """#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["greet"]
# ///
import sys
import greet

with open("said.txt", "w") as file:
    file.write(greet.WORD + open(sys.argv[1]).read())
print("said.txt")
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serve(folder) as made:
        made.add("greet", "1.0", {"greet.py": "WORD = 'hello '\n"})
        yield made


@pytest.fixture
def scripted(shell: Shell, index: Index) -> Iterator[Shell]:
    """A project whose script lists what it needs."""
    for folder in ("env", "inputs"):
        (shell.folder / folder).mkdir()
    job = shell.folder / "env" / "job.py"
    job.write_text(SCRIPT)
    job.chmod(0o755)
    (shell.folder / "inputs" / "a.txt").write_text("world")
    (shell.folder / "parallelize.toml").write_text('[run]\ncommand = "./job.py"\nenv = "env/"\n')
    yield replace(shell, environ={**shell.environ, "UV_DEFAULT_INDEX": index.simple})
    shell.run("local", "stop")


def lock_a_wheel_that_then_changes(scripted: Shell, index: Index) -> None:
    wheel = index.add("greet", "2.0", {"greet.py": ""})
    (scripted.folder / "env" / "pylock.toml").write_text(index.locked(wheel))
    wheel.write_bytes(b"other bytes")
    settings = scripted.folder / "parallelize.toml"
    settings.write_text(settings.read_text() + 'dependencies = "pylock.toml"\n')


def test_check_and_run_install_what_a_script_lists(scripted: Shell) -> None:
    (checked,) = scripted.run("check", "inputs/a.txt").split()
    assert (scripted.folder / checked).read_text() == "hello world"
    scripted.run("run", "--local", "--workers", "1")
    assert (scripted.folder / "out" / "said.txt").read_text() == "hello world"


def test_check_shows_why_dependencies_cannot_be_installed(scripted: Shell, index: Index) -> None:
    lock_a_wheel_that_then_changes(scripted, index)
    process = scripted.start("check", "inputs/a.txt")
    said = " ".join(process.communicate()[1].split())
    assert process.returncode == SetupError.exit_code
    assert "the installation of the dependencies in pylock.toml failed" in said
    assert "what its set-up printed is above" in said
    assert "| error: " in said


def test_the_first_check_of_all_says_which_dependency_cannot_be_locked(
    scripted: Shell, tmp_path: Path
) -> None:
    job = scripted.folder / "env" / "job.py"
    job.write_text(SCRIPT.replace('"greet"', '"no-such-package"'))
    no_cloud_yet = {**scripted.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    first = replace(scripted, environ=no_cloud_yet)
    process = first.start("check", "inputs/a.txt")
    said = process.communicate()[1]
    first.run("local", "stop")
    assert process.returncode == UsageError.exit_code
    assert "uv cannot lock" in said
    assert "no-such-package" in said


@runs("a set-up that fails")
def test_logs_show_the_set_up_of_a_run_that_could_not_begin(scripted: Shell, index: Index) -> None:
    lock_a_wheel_that_then_changes(scripted, index)
    scripted.run("run", "--local", "--workers", "1", code=1)
    shown = scripted.type(*named("a set-up that fails").typed(), PARALLELIZE_LOCAL="true")
    assert "| error: " in shown.stdout


def test_check_says_how_to_get_an_installer_that_is_not_here(scripted: Shell) -> None:
    (scripted.folder / "env" / "conda-lock.yml").touch()
    settings = scripted.folder / "parallelize.toml"
    settings.write_text(settings.read_text() + 'dependencies = "conda-lock.yml"\n')
    process = replace(scripted, environ={**scripted.environ, "PATH": "/usr/bin:/bin"}).start(
        "check", "inputs/a.txt"
    )
    said = " ".join(process.communicate()[1].split())
    assert "cannot be installed: micromamba is not on this worker" in said
    assert "fix: install micromamba on the worker" in said
    assert "for --local and check, on this machine" in said


@runs("packages")
def test_what_the_page_on_packages_has_typed_locks_them_and_says_so(
    shell: Shell, index: Index
) -> None:
    for name in ("numpy", "pillow"):
        index.add(name, "1.0", {f"{name}.py": ""})
    for folder in ("env", "inputs"):
        (shell.folder / folder).mkdir()
    (shell.folder / "env" / "requirements.txt").write_text("numpy\npillow\n")
    (shell.folder / "inputs" / "a.png").write_text("picture")
    job = shell.folder / "env" / "job.py"
    job.write_text("#!/usr/bin/env python3\nimport numpy, pillow, sys\nprint(sys.argv[1])\n")
    job.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text('[run]\ncommand = "./job.py"\nenv = "env/"\n')
    typed = shell.type(*named("packages").typed(), UV_DEFAULT_INDEX=index.simple)
    # A line that is too long for the terminal is broken.
    printed = " ".join(f"{typed.stdout} {typed.stderr}".split())
    assert [line for line in named("packages").printed() if line not in printed] == []
