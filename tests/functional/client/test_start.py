"""What a command imports: nothing of AWS's library where the settings are plain.

Importing it and making its clients takes longer than all else that these commands do for one file.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.functional.client.conftest import Project

LOOK = (
    "import sys; from parallelize.cli import run; code = run(sys.argv[1:]);"
    "print('imported', code, *sorted({'boto3', 'botocore'} & set(sys.modules)))"
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


def imported_by(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *command], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


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
    assert imported_by("prep") == "imported 0"
    assert imported_by("enqueue") == "imported 0"
    plain.finish("a.txt", "b.txt")
    assert imported_by("status") == "imported 0"
    assert imported_by("download", "out") == "imported 0"
    assert (plain.folder / "out" / "b.txt").read_text() == "output b.txt"


def test_a_setting_that_only_it_understands_brings_it_in(
    plain: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    assert imported_by("prep") == "imported 0 boto3 botocore"
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    assert imported_by("prep") == "imported 0"


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
