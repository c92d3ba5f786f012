"""The tree is made once for all tests; each machine gets a network and services of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.image.harness import needs, tree
from tests.image.harness.container import Container, containers
from tests.image.harness.machine import Boot, environment
from tests.image.harness.network import private_network
from tests.image.harness.services import Bench, bench

HERE = Path(__file__).parent
TEST_SECONDS = 600
"""The first test of all waits for the base tree if it is not cached, and others may be at work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here time for the tree that it may have to wait for."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all processes of this test session share; the last of them removes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "image"
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    own = users / str(os.getpid())
    own.touch()
    yield folder
    own.unlink()
    if not any(users.iterdir()):
        # Gigabytes, which pytest would keep for the next two sessions.
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def worker_tree(shared_folder: Path) -> Path:
    """The file tree of a worker, provisioned; nobody may change it."""
    if reason := needs.missing(needs.FOR_CONTAINERS):
        pytest.skip(reason)
    done = shared_folder / "provision.log"
    with tree.only_one(shared_folder / "tree"):
        return shared_folder / "tree" if done.exists() else tree.provisioned(shared_folder)


@pytest.fixture
def services(worker_tree: Path, tmp_path: Path) -> Iterator[Bench]:
    """A network with the services, and this test inside it."""
    with private_network(tmp_path), bench() as made:
        yield made


@pytest.fixture
def boot(worker_tree: Path, services: Bench, tmp_path: Path) -> Iterator[Boot]:
    """Boot the tree as a container (lane A)."""
    with containers() as started:

        def boot(*words: str) -> Container:
            container = Container(
                worker_tree, tmp_path, (*environment(services.environment), *words)
            )
            started.append(container)
            return container

        yield boot
