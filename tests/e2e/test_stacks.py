"""Two stacks in one local cloud, with real agents: a run of the same name of each, apart."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, administrator, only_local

from parallelize.bucket import auto_name
from parallelize.local.cloud import attach
from parallelize.local.records import REGION
from parallelize_core.names import Names

pytestmark = [only_local, pytest.mark.timeout(400)]

FILES = 3
LAB = ("--local", "--stack", "lab")


@pytest.fixture
def lab(shell: Shell) -> None:
    """The second stack, made by `setup`, with its policies for the user of the local cloud."""
    cloud = attach(Path(shell.environ["XDG_STATE_HOME"], "parallelize", "local"))
    assert cloud
    # What moto makes is not in the local cloud's own S3.
    bucket = auto_name(Names(stack="lab"), "123456789012", REGION)
    administrator(cloud, "s3").create_bucket(Bucket=bucket)
    own = cloud.child_environ(shell.environ) | {"AWS_ACCESS_KEY_ID": "administrator"}
    replace(shell, environ=own).run("setup", "--yes", "--stack", "lab")
    for role in ("submitter", "launcher"):
        arn = f"arn:aws:iam::123456789012:policy/lab-{role}-{REGION}"
        administrator(cloud, "iam").attach_user_policy(UserName="local", PolicyArn=arn)


@pytest.fixture
def waiting(shell: Shell) -> Shell:
    """A run of the first stack with a worker, whose jobs wait until the file `go` is there."""
    for folder in ("inputs", "env"):
        (shell.folder / folder).mkdir()
    for number in range(FILES):
        (shell.folder / "inputs" / f"{number}.txt").write_text("x")
    wait = f'until [ -e "{shell.folder}/go" ]; do sleep 0.1; done\n'
    for name, first in (("wait.sh", wait), ("now.sh", "")):
        script = shell.folder / "env" / name
        script.write_text(f'#!/bin/sh\n{first}wc -c <"$1" >size\necho size\n')
        script.chmod(0o755)
    (shell.folder / "parallelize.toml").write_text(
        '[run]\nname = "scans"\ncommand = "./wait.sh"\nenv = "env/"\n'
        '[output]\nname = "{hash}"\n[workers]\nslots = 1\n'
    )
    shell.run("local", "start")
    for words in (["prep"], ["enqueue"], ["launch", "1"]):
        shell.run(*words, "--local")
    return shell


@pytest.mark.usefixtures("lab")
def test_a_run_of_a_second_stack_ends_and_is_cleaned_without_a_touch_of_the_first(
    waiting: Shell,
) -> None:
    waiting.wait_for(lambda status: status["running"])
    waiting.run("run", "--command", "./now.sh", *LAB)
    assert waiting.json("status", *LAB)["done"] == FILES
    waiting.run("clean", "--yes", *LAB)
    status = waiting.status()
    assert (status["done"], status["running"]) == (0, 1)
    (waiting.folder / "go").touch()
    assert waiting.wait_for(lambda status: status["done"] == FILES)
