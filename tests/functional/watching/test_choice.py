"""The sticky choice of a cloud, as a shell sees it: each command is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("parallelize")
LOCAL = "no local cloud is running"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def said(folder: Path, environ: dict[str, str], *words: str) -> str:
    """Run a command; return what it says."""
    done = subprocess.run(
        [PROGRAM, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_a_choice_holds_for_later_commands_until_another_is_made(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    assert LOCAL not in said(tmp_path, environ, "status", "--run", "r")
    said(tmp_path, environ, "use", "local")
    assert LOCAL in said(tmp_path, environ, "status", "--run", "r")
    said(tmp_path, environ, "use", "aws")
    assert LOCAL not in said(tmp_path, environ, "status", "--run", "r")


@pytest.mark.parametrize(("value", "is_local"), [("true", True), ("false", False)])
def test_the_shell_decides_against_the_choice(
    tmp_path: Path, environ: dict[str, str], value: str, is_local: bool
) -> None:
    said(tmp_path, environ, "use", "aws" if is_local else "local")
    environ["PARALLELIZE_LOCAL"] = value
    assert (LOCAL in said(tmp_path, environ, "status", "--run", "r")) == is_local


def test_only_a_variable_of_the_shell_is_said_to_decide_against_the_choice(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    against = "but not in this shell"
    said(tmp_path, environ, "use", "local")
    assert against not in said(tmp_path, environ, "use", "aws")
    environ["PARALLELIZE_LOCAL"] = "true"
    assert against in said(tmp_path, environ, "use", "aws")
