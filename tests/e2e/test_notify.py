"""Real workers tell people of the end, with no client running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, only_local, wait_until
from tests.functional.webhook import webhook

pytestmark = [pytest.mark.timeout(400), only_local]

TELL = '#!/bin/sh\ncp "$1" "{place}"\n'


@pytest.fixture
def project(shell: Shell) -> Shell:
    shell.run("init", "--example")
    return shell


def start(shell: Shell, notify: str) -> None:
    """Prepare a run and start its workers; then no client is left."""
    toml = shell.folder / "parallelize.toml"
    toml.write_text(toml.read_text().replace("[run]\n", f'[run]\nnotify = "{notify}"\n', 1))
    name = f"notify-{shell.folder.name[-20:].replace('_', '-')}"
    for words in (["prep"], ["enqueue"], ["launch", "2"]):
        shell.run(*words, "--local", "--run", name)


def test_a_webhook_is_told_once_by_the_workers_alone(project: Shell) -> None:
    with webhook() as hook:
        start(project, hook.url)
        wait_until(lambda: hook.posted)
        wait_until(lambda: all(one["state"] == "terminated" for one in project.machines()))
    [told] = hook.posted
    assert (told["event"], told["done"], told["failed"]) == ("finished", 17, 0)
    assert told["next"].startswith("parallelize download DIR --run notify-")
    assert told["cost_usd"] is None or told["cost_usd"] >= 0


def test_a_command_of_the_environment_tells(project: Shell, tmp_path: Path) -> None:
    place = tmp_path / "told.json"
    script = project.folder / "env" / "tell.sh"
    script.write_text(TELL.format(place=place))
    script.chmod(0o755)
    start(project, "./tell.sh")
    wait_until(place.exists)
    told = wait_until(lambda: json.loads(place.read_text() or "null"))
    assert (told["event"], told["done"]) == ("finished", 17)
