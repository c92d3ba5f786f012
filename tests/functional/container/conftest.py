"""Fixtures for workers whose jobs are in containers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.functional.agent.bench import Bench
from tests.functional.container.images import Made, Registry, serve_registry, shell_image

from parallelize_agent.container import enter, unpack
from parallelize_agent.process import isolation
from parallelize_agent.process import tree as process_tree

MakeBench = Callable[..., Bench]


@pytest.fixture(scope="session", autouse=True)
def _orphans() -> None:
    """Do as the agent does at its start: daemons of commands become children of this process."""
    process_tree.adopt_orphans()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An image with a shell and a few programs, a variable, and a file of its own."""
    folder = tmp_path_factory.mktemp("images") / "shell"
    return shell_image(folder, env=["COLOUR=blue", "PATH=/own/bin:/bin"])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the users of jobs reach, with the programs that run by their names.

    So it is on a machine of the image. A checkout may be in a folder that others cannot enter, and
    a job has a /tmp of its own.
    """
    folder = Path(f"/var/cache/parallelize-test-{os.getpid()}")
    folder.mkdir(mode=0o711)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    for program in (enter, unpack):
        assert program.__file__
        copy = Path(shutil.copy(program.__file__, folder))
        copy.chmod(0o644)
        monkeypatch.setattr(program, "__file__", str(copy))
    yield folder
    isolation.remove(folder)


@pytest.fixture
def make(tmp_path: Path, registry: Registry, shell: Made) -> MakeBench:
    """Make a bench whose jobs run a shell script in an image; `made` is another than the usual."""

    def bench(script: str, made: Made = shell, *, network: bool = False, **more: Any) -> Bench:
        name = f"test/{made.digest[-12:]}"
        image = registry.image(made, name, network=network)
        bench = Bench(tmp_path / "workers", script, image=image, version=2, **more)
        bench.add({"x": b"input"})
        return bench

    return bench
