"""What a command imports: only what it needs, and nothing of AWS's library with plain settings.

Importing that and making its clients takes longer than all else that these commands do for one
file; and of what is left, importing is the largest part.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

LOOK = (
    "import sys; from parallelize.cli import run; code = run(sys.argv[1:]);"
    "print('imported', code, *sys.modules)"
)

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

OURS = {"prep": 140, "enqueue": 91, "status": 100, "download": 104}
"""How many modules of our own each imports at most; one takes half a millisecond."""


def modules_of(*command: str) -> set[str]:
    """Return the modules that a command has imported in the end; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *command], capture_output=True, text=True, check=True
    )
    said, code, *modules = done.stdout.splitlines()[-1].split()
    assert (said, code) == ("imported", "0"), done.stderr
    return set(modules)


def awss_of(*command: str) -> set[str]:
    return AWSS & modules_of(*command)


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
    found = {"prep": modules_of("prep"), "enqueue": modules_of("enqueue")}
    plain.finish("a.txt", "b.txt")
    found |= {"status": modules_of("status"), "download": modules_of("download", "out")}
    installed = packages_distributions().keys() - {"parallelize", "parallelize_core"}
    for command, modules in found.items():
        libraries = {name.partition(".")[0] for name in modules} & installed - TAKEN_ALONG
        assert libraries == LIBRARIES, command
        ours = [name for name in modules if name.startswith("parallelize")]
        assert len(ours) <= OURS[command], f"{command}: {len(ours)}"


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
