"""What a command imports: only what it needs, and nothing of AWS's library with plain settings.

Importing that and making its clients takes longer than all else that these commands do for one
file; and of what is left, importing is the largest part.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

LOOK = """
import sys
from dataclasses import is_dataclass
from parallelize.cli import run

code = run(sys.argv[1:])
ours = [module for name, module in sys.modules.items() if name.startswith("parallelize")]
kinds = {kind for module in ours for kind in vars(module).values() if isinstance(kind, type)}
made = sum(is_dataclass(kind) and kind.__module__.startswith("parallelize") for kind in kinds)
print("imported", made, *sys.modules)
sys.exit(code)
"""

LOOK_AT_ALL_COMMANDS = """
import sys
from importlib import import_module
from parallelize.cli import COMMANDS

for command in COMMANDS:
    if command.target:
        import_module("parallelize.commands." + command.target.partition(":")[0])
print([name for name in sys.modules if name.startswith("pydantic")])
"""

LOOK_AT_MODELS = """
import sys
from importlib import import_module
from pydantic import BaseModel

def kinds_of(kind):
    for made in kind.__subclasses__():
        yield made
        yield from kinds_of(made)

for name in sys.argv[1:]:
    import_module("parallelize.operations." + name)
print([kind.__name__ for kind in kinds_of(BaseModel) if kind.__pydantic_complete__])
"""

LOOK_AT_THE_END = """
import atexit, gc, sys
from parallelize.cli import main
gc.collect()
seen = []
gc.callbacks.append(lambda phase, _: seen.append(phase))
atexit.register(lambda: print("collected", len(seen), "frozen", gc.get_freeze_count() > 0))
main()
"""

AWSS = {"boto3", "botocore"}

KEYS = ("aws_access_key_id", "aws_secret_access_key")

LIBRARIES = {"annotated_types", "attr", "attrs", "cyclopts", "httptools", "platformdirs",
             "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}  # fmt: skip
"""What the four commands need: to read the command line and the settings, and to speak HTTP."""

TAKEN_ALONG = {"_distutils_hack"}
"""By setuptools, where it is installed."""

OURS = {"prep": 137, "enqueue": 91, "status": 100, "download": 102}
"""How many modules of our own each imports at most; one takes half a millisecond."""

DATACLASSES = {"prep": 53, "enqueue": 28, "status": 29, "download": 40}
"""How many dataclasses of our own each makes at most; a NamedTuple takes a quarter of the time."""


def said_by(program: str, *words: str) -> str:
    """Return the last line that a Python program prints in a process of its own."""
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@dataclass(frozen=True)
class Made:
    """What a command has imported in the end, and how many dataclasses of ours were made."""

    modules: set[str]
    dataclasses: int

    @classmethod
    def by(cls, *command: str) -> Made:
        """Look at a command, which must succeed."""
        said, dataclasses, *modules = said_by(LOOK, *command).split()
        assert said == "imported"
        return cls(set(modules), int(dataclasses))


def awss_of(*command: str) -> set[str]:
    return AWSS & Made.by(*command).modules


@pytest.fixture
def plain(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of a user without settings for AWS."""
    project.add("a.txt")
    monkeypatch.delenv("PARALLELIZE_RUN_REUSE")
    monkeypatch.setenv("HOME", str(project.folder.parent))
    for name in os.environ:
        if name.lower().endswith("_proxy") and name.lower() != "no_proxy":
            monkeypatch.delenv(name)
    return project


def test_what_a_run_takes_is_done_without_awss_library(plain: Project) -> None:
    assert awss_of("prep") == set()
    assert awss_of("enqueue") == set()
    plain.finish("a.txt", "b.txt")
    assert awss_of("status") == set()
    assert awss_of("download", "out") == set()
    assert (plain.folder / "out" / "b.txt").read_text() == "output b.txt"


def test_a_setting_that_only_it_understands_brings_it_in(
    plain: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    assert awss_of("prep") == AWSS
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    assert awss_of("prep") == set()


def test_a_profile_with_a_region_and_keys_does_not_bring_it_in(
    plain: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path.home() / ".aws"
    folder.mkdir()
    keys = [f"{name} = {os.environ[name.upper()]}\n" for name in KEYS]
    (folder / "credentials").write_text("".join(["[lab]\n", *keys]))
    config = folder / "config"
    config.write_text(f"[profile lab]\nregion = {plain.context.region}\n")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert awss_of("prep") == set()
    assert awss_of("enqueue") == set()
    with config.open("a") as file:
        file.write("retry_mode = standard\n")
    assert awss_of("prep") == AWSS


def test_a_usual_command_imports_only_what_it_needs(plain: Project) -> None:
    found = {"prep": Made.by("prep"), "enqueue": Made.by("enqueue")}
    plain.finish("a.txt", "b.txt")
    found |= {"status": Made.by("status"), "download": Made.by("download", "out")}
    installed = packages_distributions().keys() - {"parallelize", "parallelize_core"}
    for command, made in found.items():
        libraries = {name.partition(".")[0] for name in made.modules} & installed - TAKEN_ALONG
        assert libraries == LIBRARIES, command
        ours = [name for name in made.modules if name.startswith("parallelize")]
        assert len(ours) <= OURS[command], f"{command}: {len(ours)}"
        assert made.dataclasses <= DATACLASSES[command], f"{command}: {made.dataclasses}"


def test_the_library_of_records_is_not_there_when_a_command_line_is_parsed() -> None:
    """If it were, cyclopts would have it check each parameter: 21 adapters for `prep`, 13 ms."""
    assert said_by(LOOK_AT_ALL_COMMANDS) == "[]"


def test_no_record_is_built_before_it_is_used() -> None:
    """Each takes up to a millisecond, and a command uses a few of those that it imports."""
    assert said_by(LOOK_AT_MODELS, *DATACLASSES, "run") == "[]"


@pytest.mark.parametrize(("command", "code"), [("prep", 0), ("nonsense", 2)])
def test_the_garbage_collector_visits_no_module_before_a_command_or_after_it(
    plain: Project, command: str, code: int
) -> None:
    words = [sys.executable, "-c", LOOK_AT_THE_END, command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "collected 0 frozen True"


def test_folders_are_listed_as_boto3_lists_them(plain: Project) -> None:
    context = plain.context
    odd = {"a b+c", "d%25", "e&<f>", "g/deeper"}
    for name in odd:
        context.store.put(context.layout.root.key("odd", f"{name}/x"), b"")
    prefix = context.layout.root.key("odd", "")
    assert context.wire.is_quick
    quick = sorted(context.store.folders(prefix))
    assert quick == sorted(context._made.store(context.bucket).folders(prefix))
    assert quick == ["a b+c", "d%25", "e&<f>", "g"]
