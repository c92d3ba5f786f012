"""Whole runs under the stack's own policies: what is not in them stops a run, and says so.

All of tests/e2e runs under them (`conftest.JUDGED`); here a statement of a policy is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Shell, administrator, only_local, start_judged

from parallelize.local.cloud import LocalCloud, stop
from parallelize.local.records import REGION

pytestmark = [pytest.mark.timeout(400), only_local]

Lose = Callable[[str, str], None]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    cloud = start_judged(tmp_path_factory.mktemp("rights") / "parallelize" / "local")
    yield cloud
    stop(cloud)


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str], cloud: LocalCloud) -> Shell:
    """A run of two files, in a local cloud of this module's own."""
    for folder in ("inputs", "env"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        (tmp_path / "inputs" / f"{number}.txt").write_text("x" * number)
    script = tmp_path / "env" / "job.sh"
    script.write_text('#!/bin/sh\nwc -c <"$1" >size\necho size\n')
    script.chmod(0o755)
    (tmp_path / "parallelize.toml").write_text(
        f'[run]\nname = "{tmp_path.name[:40].strip("_-")}"\ncommand = "./job.sh"\nenv = "env/"\n'
        '[output]\nname = "{hash}"\n'
    )
    own = {
        "XDG_STATE_HOME": str(cloud.state_dir.parents[1]),
        # As long as it takes until a worker that gets nothing leaves.
        "PARALLELIZE_AGENT_MAX_IDLE": "3s",
    }
    return Shell(tmp_path, environ | own)


@pytest.fixture
def lose(cloud: LocalCloud) -> Iterator[Lose]:
    """Take an action out of a policy of the stack, for one test."""
    iam: Any = administrator(cloud, "iam")
    changed = []

    def take(role: str, action: str) -> None:
        arn = f"arn:aws:iam::123456789012:policy/parallelize-{role}-{REGION}"
        whole = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
        for statement in whole["Statement"]:
            given = statement["Action"]
            given = given if isinstance(given, list) else [given]
            statement["Action"] = [one for one in given if one != action]
        whole["Statement"] = [one for one in whole["Statement"] if one["Action"]]
        less = json.dumps(whole)
        assert f'"{action}"' not in less
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=less, SetAsDefault=True)
        changed.append((arn, made["PolicyVersion"]["VersionId"]))

    yield take
    for arn, version in changed:
        iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
        iam.delete_policy_version(PolicyArn=arn, VersionId=version)


def told(shell: Shell, code: int) -> str:
    """Run it; return what it says, in one line."""
    process = shell.start("run", "--local", "--workers", "1")
    _, stderr = process.communicate()
    assert process.returncode == code, stderr
    return " ".join(stderr.split())


def test_the_rights_that_setup_gives_are_enough(shell: Shell) -> None:
    assert "2 done" in told(shell, 0)


@pytest.mark.parametrize("action", ["sqs:SendMessage", "s3:PutObject", "sqs:CreateQueue"])
def test_a_submitter_who_may_not_is_told_what(shell: Shell, lose: Lose, action: str) -> None:
    lose("submitter", action)
    said = told(shell, 4)
    assert f"not authorized to perform: {action} on resource: arn:aws:" in said


def test_a_worker_that_may_not_receive_leaves_and_the_run_says_why(
    shell: Shell, lose: Lose
) -> None:
    lose("agent", "sqs:ReceiveMessage")
    said = told(shell, 1)
    assert "0 done" in said
    assert "is refused" in said.partition("left:")[2]


def test_a_worker_that_may_not_store_says_so_in_its_console(shell: Shell, lose: Lose) -> None:
    lose("agent", "s3:PutObject")
    before = {one["id"] for one in shell.machines()}
    said = told(shell, 1)
    assert "the console of one that has ended says why" in said
    assert "consoles: parallelize local status" in said
    (console,) = [one["console"] for one in shell.machines() if one["id"] not in before]
    assert "not authorized to perform: s3:PutObject" in Path(console).read_text()
