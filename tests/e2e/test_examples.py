"""What a newcomer does first: the examples, on the local cloud, from one command each."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.console_blocks import named, runs
from tests.e2e.conftest import REPOSITORY, Shell, only_local, wait_until

pytestmark = pytest.mark.timeout(400)  # on a busy machine; alone it takes a fraction of this

MODULES = 200
PYTHON = """#!/bin/sh
# All of the library would take too long here.
case $2 in *stdlib*) exec echo {part} ;; esac
exec {real} "$@"
"""
LEFT_OUT = ("test", "idle_test", "site-packages", "dist-packages")


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """A shell as a newcomer has it, where leases are as long as they are by default."""
    kept = {name: value for name, value in shell.environ.items() if "AGENT_LEASE" not in name}
    return Shell(shell.folder, kept)


def test_the_example_of_init_gives_a_summary_for_each_table_and_a_report(shell: Shell) -> None:
    shell.run("init", "--example")
    printed = shell.run("run", "--local", "--out", "sums")
    tables = [path.relative_to(shell.folder / "inputs") for path in shell.folder.rglob("*/*.csv")
              if "inputs" in path.parts]  # fmt: skip
    outputs = {path.relative_to(shell.folder / "sums")
               for path in (shell.folder / "sums").rglob("*") if path.is_file()}  # fmt: skip
    assert Path(printed.strip()) == Path("sums")
    assert outputs == {table.with_suffix(".summary.csv") for table in tables}
    assert len(outputs) == len(tables) > 10

    [page] = shell.folder.glob("*-report.html")
    assert all(path.name in page.read_text() for path in tables)
    wait_until(lambda: {worker["state"] for worker in shell.status()["workers"]} == {"left"})
    report = shell.json("report", "--local")
    assert {(file["state"], file["attempts"]) for file in report["files"]} == {("done", 1)}
    assert {file["worker"] for file in report["files"]} <= {one["id"] for one in report["workers"]}
    for worker in report["workers"]:
        assert worker["launched"] <= worker["started"] <= worker["leaving"] <= worker["seen"]
        assert 0 < worker["peaks"]["memory_bytes"] <= worker["peaks"]["memory_total_bytes"]


def test_a_sample_tells_what_the_rest_takes_and_is_not_done_again(shell: Shell) -> None:
    shell.run("init", "--example")
    shell.run("local", "start")
    shell.run("prep", "--local", "--create-bucket")
    told = shell.json("estimate", "--sample", "5", "--local")
    assert (told["sampled"], told["failed"]) == (5, 0)
    assert 0 < told["seconds"]["p50"] <= told["seconds"]["most"]
    sampled = shell.status()
    assert (sampled["done"], sampled["total"]) == (5, 5 + told["left"])
    assert shell.json("enqueue", "--local")["sent"] == told["left"]
    shell.run("run", "--local")
    assert shell.status()["done"] == sampled["total"]


def test_a_command_may_leave_a_folder_and_a_file(shell: Shell) -> None:
    shutil.copytree(REPOSITORY / "examples" / "many_outputs", shell.folder, dirs_exist_ok=True)
    inputs = REPOSITORY / "tools" / "parallelize" / "example" / "inputs"
    shell.run("run", "--local", "--inputs", str(inputs))
    nature = shell.folder / "out" / "nature"
    header = (inputs / "nature" / "penguins.csv").read_text().partition("\n")[0].split(",")
    assert {path.stem for path in (nature / "penguins").iterdir()} == set(header)
    assert (nature / "penguins.index.csv").is_file()


@pytest.mark.parametrize("program", ["count.py", "count.sh", "count.R"])
def test_a_warm_command_counts_in_every_file_what_it_has_loaded_once(
    shell: Shell, program: str
) -> None:
    asked = {"count.sh": "jq --version", "count.R": "Rscript -e 'library(jsonlite)'"}
    if subprocess.run(
        asked.get(program, "true"), shell=True, check=False, capture_output=True
    ).returncode:
        pytest.skip(f"needs {asked[program]}")
    shutil.copytree(REPOSITORY / "examples" / "warm", shell.folder, dirs_exist_ok=True)
    (shell.folder / "inputs").mkdir()
    for number in range(12):
        text = "Water freezes.\n" * number
        (shell.folder / "inputs" / f"{number}.txt").write_text(text + "Nothing more.\n")
    run = ("--run", program.replace(".", "-"), "--command", f"./{program}")
    shell.run("run", "--local", "--workers", "1", *run)
    counts = {path.stem: int(path.read_text()) for path in (shell.folder / "out").iterdir()}
    assert counts == {str(number): 2 * number for number in range(12)}
    shell.run("check", "--command", f"./{program}", "inputs/3.txt")


def test_one_line_is_a_whole_run_and_its_script_needs_no_environment(shell: Shell) -> None:
    script = shell.folder / "shout.sh"
    script.write_text('#!/bin/sh\ntr a-z A-Z < "$1" > "$2"\n')
    script.chmod(0o755)
    names = ["a b.txt", "it's; rm -rf $HOME.txt", "-n {}.txt"]
    for name in names:
        (shell.folder / name).write_text(f"said {name[0]}\n")
    line = ("run", "--local", "--", "./shout.sh", "{}", "{/.}.loud", ":::", *names)
    shell.run(*line)
    out = shell.folder / "out"
    wanted = {Path(name).with_suffix(".loud").name: f"SAID {name[0].upper()}\n" for name in names}
    assert {path.name: path.read_text() for path in out.iterdir()} == wanted

    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    shell.run(*line)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_lines_without_a_configuration_are_whole_runs(shell: Shell) -> None:
    shutil.copytree(REPOSITORY / "examples/one_line", shell.folder, dirs_exist_ok=True)
    shell.run("--local", program=shell.folder / "run.sh")
    made = {path.name: path.read_text() for path in (shell.folder / "out").rglob("*.*")}
    assert made == {
        "sky.sorted": "comet\nMoon\nstars\nsun\n", "sky.longest": "stars\n",
        "the sea.sorted": "Anchor\nbreakwater\ntide\nwave\n", "the sea.longest": "breakwater\n",
        "woods.sorted": "Birch\nchanterelle\nfern\nmoss\n", "woods.longest": "chanterelle\n",
    }  # fmt: skip


def walked(seed: int, steps: int) -> int:
    """Return what the script of the example finds."""
    dice = Random(seed)
    return abs(sum(dice.choice((-1, 1)) for _ in range(steps)))


@only_local
def test_python_gets_the_same_all_at_once_as_it_comes_and_from_an_executor(shell: Shell) -> None:
    shutil.copytree(REPOSITORY / "examples/python", shell.folder, dirs_exist_ok=True)
    printed = shell.run("walks.py", "--local", program=Path(sys.executable))
    assert json.loads(printed) == 3 * [[walked(seed, 400) for seed in range(6)]]


@only_local
def test_the_cells_of_the_notebook_run_in_their_order(shell: Shell) -> None:
    shutil.copytree(REPOSITORY / "examples/python", shell.folder, dirs_exist_ok=True)
    found = json.loads((shell.folder / "walks.ipynb").read_text())["cells"]
    assert all(not cell["outputs"] for cell in found if cell["cell_type"] == "code")
    code = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]
    cells = "\n".join([*code, "import json", "print(json.dumps(mean))"])
    # A kernel runs them within its event loop.
    kernel = f"import asyncio\nasync def run():\n    exec({cells!r}, globals())\nasyncio.run(run())"
    printed = shell.run("-c", kernel, program=Path(sys.executable))
    assert json.loads(printed) == {
        str(steps): sum(walked(seed, steps) for seed in range(3)) / 3 for steps in (100, 400)
    }


@runs("one file fails")
def test_hundreds_of_files_one_that_fails_and_its_retry_as_the_readme_has_it(
    beside_the_examples: Shell,
) -> None:
    start = beside_the_examples
    enter, run, failures, logs, fix, retry, rest = named("one file fails").typed()
    shell = Shell(start.folder.parent / "examples" / "stdlib", start.environ)
    modules = lend_library(shell.folder.parent)

    start.type(enter, run, code=1)
    status = shell.status()
    assert (status["state"], status["total"]) == ("failed", len(modules))
    assert (status["done"], status["failed"]) == (len(modules) - 1, 1)
    assert len(status["workers"]) == 2
    assert sum(worker["done"] for worker in status["workers"]) == len(modules) - 1

    printed = shell.type(failures).stdout
    assert [line.strip() for line in printed.splitlines()] == named("one file fails").printed()
    [failure] = shell.json("failures", "--local")
    assert (failure["cause"], failure["exit_code"], failure["attempts"]) == ("command", 1, 3)
    assert failure["stderr_tail"].endswith("KeyError: 'MatMult'\n")
    assert shell.type(logs).stdout.count("KeyError: 'MatMult'") >= 3
    attempts = shell.json("logs", "operator.py", "--local")
    assert [attempt["attempt"] for attempt in attempts[:3]] == [1, 2, 3]
    if len(attempts) > 3:
        # One worker had all three, so the other had the last word, once.
        [only] = {attempt["worker"] for attempt in attempts[:3]}
        [other] = attempts[3:]
        assert (other["attempt"], other["worker"] != only) == (3, True)

    shell.type(fix, retry)
    shell.type(run, code=2)
    shell.type(rest)
    assert shell.status()["state"] == "drained"
    assert json.loads((shell.folder / "out/library/operator.json").read_text())["operators"]["@"]
    outputs = [path for path in (shell.folder / "out").rglob("*") if path.is_file()]
    assert len(outputs) == len(modules)

    shell.run("enqueue", "--local", code=3)


@pytest.fixture
def beside_the_examples(shell: Shell) -> Iterator[Shell]:
    """A folder beside a copy of the examples, and a python3 that names a part of its library."""
    example = shell.folder / "examples" / "stdlib"
    shutil.copytree(REPOSITORY / "examples" / "stdlib", example, symlinks=True)
    for folder in ("demo", "bin"):
        (shell.folder / folder).mkdir()
    python = shell.folder / "bin" / "python3"
    python.write_text(PYTHON.format(part=shell.folder / "examples" / "part", real=sys.executable))
    python.chmod(0o755)
    path = f"{python.parent}:{shell.environ['PATH']}"
    yield Shell(shell.folder / "demo", {**shell.environ, "PATH": path})
    shell.run("clean", "--local", "--run", "stdlib", "--join", "--yes", "--force")


def lend_library(folder: Path) -> list[str]:
    """Copy some hundred modules of the standard library, operator.py among them."""
    library = Path(sysconfig.get_path("stdlib"))
    found = sorted(path.relative_to(library) for path in library.rglob("*.py"))
    proper = [path for path in found if not {*LEFT_OUT, "tests"}.intersection(path.parts)]
    chosen = {Path("operator.py"), *proper[:: max(1, len(proper) // MODULES)]}
    for path in chosen:
        (folder / "part" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library / path, folder / "part" / path)
    return sorted(str(path) for path in chosen)
