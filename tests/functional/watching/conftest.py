"""The default place of the local cloud, in a folder of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallelize.local.cloud import attach, default_state_dir, stop


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder; the environment, which --local changes, is put back afterwards."""
    before = dict(os.environ)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield default_state_dir()
    if cloud := attach():
        stop(cloud)
    os.environ.clear()
    os.environ.update(before)
