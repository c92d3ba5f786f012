"""What the pages have a reader type is typed here, word for word."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.console_blocks import named, runs
from tests.e2e.conftest import PROGRAM, Shell, only_local

pytestmark = [pytest.mark.timeout(400), only_local]

USES_LOCAL = {"PARALLELIZE_LOCAL": "true"}
"""As after `parallelize use local`, for blocks that leave open where the run is."""

COPY = """#!/bin/sh
name=$(basename "$1")
cp "$1" "$name.out"
echo "$name.out"
"""


@pytest.fixture
def newcomer(shell: Shell) -> Iterator[Shell]:
    """A shell in which no run is called demo, as the pages call theirs."""
    yield shell
    clean(shell, "demo")


def clean(shell: Shell, run: str) -> None:
    shell.run("clean", "--local", "--run", run, "--join", "--yes", "--force")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def project(shell: Shell, command: str, *inputs: str) -> None:
    """Make a project of three small files and one script."""
    program(shell.folder / "env" / "job.sh", command)
    (shell.folder / "inputs").mkdir()
    for name in inputs:
        (shell.folder / "inputs" / name).write_text("1\n")
    (shell.folder / "parallelize.toml").write_text(
        '[run]\nname = "first"\ncommand = "./job.sh"\nenv = "env/"\n[workers]\ncount = 1\n'
    )


def without_numbers(lines: list[str]) -> str:
    """Return lines as one, as a narrow terminal breaks them elsewhere, and runs differ in size."""
    return re.sub(r"[\d,]+", "N", " ".join(" ".join(lines).split()))


@runs("first five minutes", "one line", "slow files", "nothing is left")
def test_the_first_five_minutes_of_the_readme_work_as_they_stand(newcomer: Shell) -> None:
    activate = newcomer.folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    first, line = named("first five minutes"), named("one line")
    assert "attempt 1 on" in newcomer.type(*first.typed(), *line.typed()).stdout
    folder = newcomer.folder / "demo"
    assert (folder / "out" / "nature" / "sunspots.summary.csv").is_file()
    assert (folder / "out" / "inputs" / "nature" / "sunspots.csv.gz").is_file()

    inside = Shell(folder, newcomer.environ)
    if shutil.which("jq"):  # tests/install-packages.sh brings it
        assert json.loads(inside.type(*named("slow files").typed(), **USES_LOCAL).stdout) == []
    last = [line.replace("NAME", "demo") for line in named("nothing is left").typed()]
    end = inside.type(*last, **USES_LOCAL)
    assert "left: no machine, no group, no volume" in end.stderr


@runs("answers in JSON")
def test_what_programs_are_told_to_type_gives_them_json(newcomer: Shell) -> None:
    printed = newcomer.type(*named("answers in JSON").typed()).stdout
    folder = newcomer.folder / "demo"
    assert json.loads(printed.splitlines()[-1])["result"]["status"] == "succeeded"
    run, failures, log = (
        json.loads((folder / name).read_text())
        for name in ("run.json", "failures.json", "log.json")
    )
    assert (run["state"], run["done"], run["out"]) == ("drained", 17, str(folder / "out"))
    assert failures == []
    assert [(one["attempt"], one["cause"]) for one in log] == [(1, None)]


@pytest.fixture
def changing(shell: Shell) -> Iterator[Shell]:
    """A project whose runs are called as docs/changes.md calls them, and an editor that types."""
    project(shell, COPY, "a.txt", "b.txt", "c.txt")
    program(shell.folder / "bin" / "vi", '#!/bin/sh\necho "22345678" > "$1"\n')
    path = f"{shell.folder / 'bin'}:{shell.environ['PATH']}"
    yield Shell(
        shell.folder, {**shell.environ, "PATH": path, "PARALLELIZE_RUN_REUSE": "true", **USES_LOCAL}
    )
    for run in ("first", "second"):
        clean(shell, run)


@runs("a changed input", "explain", "a second run")
def test_a_change_is_told_and_done_and_a_second_run_copies(changing: Shell) -> None:
    changed, explain, second = map(named, ("a changed input", "explain", "a second run"))
    run, edit, redo = changed.typed()
    changing.type(run)
    refused = changing.type(edit, code=2).stderr.partition("error:")
    assert without_numbers(list(refused[1:])) == without_numbers(changed.printed())
    changing.type(redo)

    copied = changing.type(*second.typed()).stderr
    assert without_numbers(second.printed()) in without_numbers([copied])

    settings = changing.folder / "parallelize.toml"
    settings.write_text(settings.read_text().replace("./job.sh", "./job.sh --fast"))
    program(changing.folder / "env" / "job.sh", f"{COPY}# changed\n")
    (changing.folder / "inputs" / "b.txt").write_text("22")
    told = changing.type(*explain.typed()).stdout
    assert without_numbers(told.splitlines()) == without_numbers(explain.printed())


@pytest.fixture
def alone(shell: Shell) -> Iterator[Shell]:
    """A shell with no local cloud yet; one that it starts has its PATH, with a stand-in in it."""
    program(shell.folder / "bin" / "convert", '#!/bin/sh\n[ "$3" = "50%" ] && cp "$1" "$4"\n')
    path = f"{shell.folder / 'bin'}:{shell.environ['PATH']}"
    own = {"PATH": path, "XDG_STATE_HOME": str(shell.folder / "state")}
    yield Shell(shell.folder, {**shell.environ, **own})
    subprocess.run([PROGRAM, "local", "stop"], env={**shell.environ, **own}, check=False)


@runs("a place for the input")
def test_a_line_has_a_place_for_the_input(alone: Shell) -> None:
    (alone.folder / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (alone.folder / "photos" / name).write_text("picture")
    alone.type(*named("a place for the input").typed())
    assert (alone.folder / "out" / "photos" / "a.png").read_text() == "picture"


@runs("the local cloud")
def test_a_local_cloud_is_started_interrupted_and_stopped(alone: Shell) -> None:
    project(alone, "#!/bin/sh\nexec sleep 120\n", "a.txt", "b.txt")
    start, launch, *rest = named("the local cloud").typed()
    machine, _ = alone.type(start, launch).stdout.split()
    done = alone.type(start, *(line.replace("i-0a1b", machine) for line in rest))
    assert machine in done.stdout
