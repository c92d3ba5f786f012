"""Where installers are found, and what of a user's variables they are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from parallelize_core.installers import SETTINGS, find_installer, settings_given, settings_here


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / name
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH that has a uv; beside this Python there is none."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "uv")
    return tmp_path


def test_the_one_beside_this_python_comes_first(elsewhere: Path) -> None:
    beside = program(elsewhere / "python", "uv")
    assert find_installer("uv", {"UV": str(elsewhere / "bin" / "uv")}) == str(beside)


def test_the_one_that_its_own_variable_names_comes_before_the_path(elsewhere: Path) -> None:
    named = program(elsewhere / "named", "uv-1")
    assert find_installer("uv", {"UV": str(named)}) == str(named)


@pytest.mark.parametrize("environ", [{}, {"UV": "/nonexistent/uv"}])
def test_the_path_is_asked_last(elsewhere: Path, environ: dict[str, str]) -> None:
    assert find_installer("uv", environ) == str(elsewhere / "bin" / "uv")
    assert find_installer("pixi", environ) is None


def test_caches_indexes_proxies_and_certificates_are_passed_on_and_no_credentials() -> None:
    told = {"UV_DEFAULT_INDEX": "i", "https_proxy": "p", "SSL_CERT_FILE": "c", "PIXI_HOME": "h"}
    others = {"AWS_SECRET_ACCESS_KEY": "s", "PATH": "/bin", "CONDA_PREFIX": "/opt/base"}
    assert settings_here({**told, **others}) == told


def test_an_agent_reads_what_it_is_told_and_nothing_where_nothing_is_said() -> None:
    assert settings_given({SETTINGS: json.dumps({"UV_CACHE_DIR": "/c"})}) == {"UV_CACHE_DIR": "/c"}
    assert settings_given({}) == {}
