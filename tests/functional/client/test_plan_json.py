"""`--dry-run --json`: the plan as one document on stdout, from each command with both flags."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pkgutil import resolve_name

import pytest
from tests.functional.client.conftest import Project

from parallelize.cli import COMMANDS

Captured = pytest.CaptureFixture[str]

PLANNED = {
    "run": ["run"],
    "prep": ["prep"],
    "enqueue": ["enqueue"],
    "estimate": ["estimate", "--sample", "1"],
    "download": ["download", "out"],
    "retry": ["retry"],
    "kill": ["kill"],
    "clean": ["clean"],
}
"""Command lines of those that plan the work of a run."""

ELSEWHERE = {"launch", "setup", "doctor"}
"""Their plans are AWS's business, and tried beside what they do there."""


def with_both_flags() -> Iterator[str]:
    for command in COMMANDS:
        if command.target and not command.target.endswith(":app"):
            function = resolve_name(f"parallelize.commands.{command.target}")
            if {"dry_run", "json"} <= set(inspect.signature(function).parameters):
                yield command.name


def test_each_command_with_both_flags_is_tried() -> None:
    assert set(with_both_flags()) == set(PLANNED) | ELSEWHERE


@pytest.mark.parametrize("words", PLANNED.values(), ids=PLANNED)
def test_the_plan_is_one_document_on_stdout_and_the_same_lines_on_stderr(
    project: Project, capsys: Captured, words: list[str]
) -> None:
    project.add("finished.txt", "left.txt")
    assert project.call("prep") == 0
    project.finish("finished.txt", failed=True)
    capsys.readouterr()
    assert project.call(*words, "--dry-run", "--json") == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["schema"], document["dry_run"]) == (1, True)
    assert document["plan"]
    said = "".join(told.err.replace("(dry run)", "").split())
    assert all("".join(line.split()) in said for line in document["plan"])
