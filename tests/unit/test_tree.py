"""What must hold for the repository as a whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_BYTES = 1024 * 1024
# Put together here, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile("(?<![a-z0-9.{}$])/" + r"(?:work|root|home/(?!ana|ubuntu|admin)\w+)/\w")
INDEX_HOST = re.compile(r"--(?:extra-)?index-url|python" + r"hosted\.org|pypi" + r"\.org/simple")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    try:
        return tracked()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")


def texts(files: list[Path]) -> dict[str, str]:
    found = {}
    for file in files:
        raw = file.read_bytes()
        if b"\0" not in raw:
            found[str(file.relative_to(ROOT))] = raw.decode(errors="replace")
    return found


def test_no_file_is_too_large_for_a_repository(files: list[Path]) -> None:
    assert [file for file in files if file.stat().st_size > MAX_FILE_BYTES] == []


def test_nothing_names_a_path_of_the_machine_it_was_written_on(files: list[Path]) -> None:
    found = {name: MACHINE_PATH.search(text) for name, text in texts(files).items()}
    assert {name: hit[0] for name, hit in found.items() if hit} == {}


def test_nothing_names_the_host_of_a_package_index(files: list[Path]) -> None:
    found = {name: INDEX_HOST.search(text) for name, text in texts(files).items()}
    assert {name: hit[0] for name, hit in found.items() if hit} == {}


def test_the_readme_gives_the_commands_that_ci_runs() -> None:
    ci = (ROOT / ".ci/run").read_text()
    [install] = re.findall(r"^  (python3 -m venv .venv && .*)$", ci, re.MULTILINE)
    [test] = re.findall(r"^(.venv/bin/pytest -n auto)\b", ci, re.MULTILINE)
    assert f"{install} && {test}" in (ROOT / "README.md").read_text()
