"""Two stacks in one local cloud, with real agents: a run of the same name of each, apart."""

import pytest
from tests.e2e.conftest import Shell, only_local

pytestmark = [only_local, pytest.mark.timeout(400)]

FILES = 3
LAB = ("--local", "--stack", "lab")


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
