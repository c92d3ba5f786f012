"""Fixtures for workers in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.functional.agent.bench import Bench, Gate

from parallelize_agent.process import tree as process_tree

MakeBench = Callable[..., Bench]


@pytest.fixture(scope="session", autouse=True)
def _orphans() -> None:
    """Do as the agent does at its start: daemons of commands become children of this process."""
    process_tree.adopt_orphans()


@pytest.fixture
def make(tmp_path: Path) -> MakeBench:
    """Make a bench from a shell script."""
    return partial(Bench, tmp_path / "workers")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Hold commands up until the test lets them pass."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return Gate(folder)
