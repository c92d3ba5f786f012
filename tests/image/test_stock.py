"""A vendor's plain system becomes a worker at its first boot, with no way to any mirror."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.image.harness import needs, plain
from tests.image.harness.container import Container, containers
from tests.image.harness.crash import CRASH, starts
from tests.image.harness.machine import environment, wait_for_power_off
from tests.image.harness.network import private_network
from tests.image.harness.plain import System
from tests.image.harness.services import BUCKET, ENDPOINT, Bench, bench, shell
from tests.image.harness.tree import CACHE

from parallelize.fleet.bundle import make_bundle
from parallelize.fleet.stock import Bundle, user_data
from parallelize_core.config import AgentConfig

SYSTEMS = {
    "debian": System("trixie", "3.13"),
    "ubuntu": System("noble", "3.12"),
    "as old as amazon": System("bookworm", "3.11"),
}

LOOK = 'id -un >seen; sha256sum "$1" | cut -c -8 >>seen; cat /etc/motd.root >>seen; echo seen'

KEY = "bootstrap/agent.zip"


@pytest.fixture(params=SYSTEMS.values(), ids=SYSTEMS.keys())
def system(request: pytest.FixtureRequest) -> System:
    return request.param


@pytest.fixture
def plain_tree(system: System, shared_folder: Path) -> Path:
    """The system as its vendor makes it."""
    if reason := needs.missing(needs.FOR_CONTAINERS):
        pytest.skip(reason)
    return plain.unpacked(system, shared_folder)


@pytest.fixture
def agent(plain_tree: Path, system: System) -> bytes:
    """What `prep` sends, for which pip needs its index."""
    return make_bundle(system.python, "x86_64", CACHE)


@pytest.fixture
def outside(agent: bytes, tmp_path: Path) -> Iterator[Bench]:
    """The network with the services, which has no other address than theirs."""
    with private_network(tmp_path), bench() as made:
        yield made


def replaced(body: bytes, name: str, text: str) -> bytes:
    """Return a zip with one of its files replaced."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(made, "w") as new:
        for one in old.namelist():
            new.writestr(one, text if one == name else old.read(one))
    return made.getvalue()


def launch(services: Bench, body: bytes) -> None:
    """Send the agent, and make the script that needs it the instance's user data."""
    services.store.put(KEY, body)
    url, sha256 = f"{ENDPOINT}/{BUCKET}/{KEY}", hashlib.sha256(body).hexdigest()
    config = services.instance.facts.user_data
    assert config
    bundle = Bundle("plain", url, sha256, KEY, sent=True, body=body)
    services.instance.give(user_data(AgentConfig.decode(config, "the bench"), bundle))


def test_a_plain_machine_becomes_a_worker_does_its_jobs_and_powers_off(
    outside: Bench, plain_tree: Path, agent: bytes, tmp_path: Path
) -> None:
    layout = outside.start_run(
        "stock", shell(LOOK), inputs=1, root_setup="#!/bin/sh\necho root >/etc/motd.root\n"
    )
    launch(outside, agent)
    with containers() as started:
        started.append(Container(plain_tree, tmp_path, tuple(environment(outside.environment))))
        console = wait_for_power_off(started[0])
    results = outside.results(layout)
    assert [result.status for result in results.values()] == ["succeeded"], console
    digest = hashlib.sha256(b"input 000.txt\n").hexdigest()[:8]
    assert outside.output(layout, "seen") == f"parallelize-job\n{digest}\nroot\n"


@pytest.mark.parametrize("system", [SYSTEMS["as old as amazon"]], ids=["252"], indirect=True)
def test_under_a_systemd_without_restart_mode_a_crashing_agent_has_its_four_starts(
    outside: Bench, plain_tree: Path, agent: bytes, tmp_path: Path
) -> None:
    outside.start_run("crash", shell(LOOK), inputs=1)
    launch(outside, replaced(agent, "systemd/stock-agent.conf", CRASH))
    with containers() as started:
        started.append(Container(plain_tree, tmp_path, tuple(environment(outside.environment))))
        console = wait_for_power_off(started[0])
    assert starts(tmp_path) == 4, console
    assert "parallelize: broken" in console


@pytest.mark.parametrize("system", [SYSTEMS["debian"]], ids=["debian"], indirect=True)
def test_a_plain_machine_that_gets_another_agent_than_was_sent_powers_off_and_runs_nothing(
    outside: Bench, plain_tree: Path, agent: bytes, tmp_path: Path
) -> None:
    layout = outside.start_run("stock", shell(LOOK), inputs=1)
    launch(outside, agent)
    outside.store.put(KEY, b"another")
    with containers() as started:
        started.append(Container(plain_tree, tmp_path, tuple(environment(outside.environment))))
        console = wait_for_power_off(started[0])
    assert "could not be made a worker: the bundle is not the one" in console
    assert outside.heartbeat(layout) is None
