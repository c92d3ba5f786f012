"""What a shell completes by asking: the names of runs, the files of a run, the local machines.

They are called when somebody presses TAB. Whatever goes wrong, the parser returns nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

ANSWERS = "parallelize.operations.completing"
"""Imported only when TAB is pressed, so that help is quick."""

FLAGS = ("config", "run", "bucket", "stack", "region", "profile", "local")


def complete_run(asked: CompletionContext) -> list[str]:
    """Return the runs of the bucket whose names begin with what was typed."""
    # The word after `--run` may name a run that does not exist yet.
    typed = {**typed_flags(asked), "run": None}
    return list(import_module(ANSWERS).runs(asked.incomplete, typed))


def complete_file(asked: CompletionContext) -> list[str]:
    """Return the files of the run whose keys begin with what was typed."""
    return list(import_module(ANSWERS).files(asked.incomplete, typed_flags(asked)))


def complete_machine(asked: CompletionContext) -> list[str]:
    """Return the machines of the local cloud whose ids begin with what was typed."""
    return list(import_module(ANSWERS).machines(asked.incomplete))


def typed_flags(asked: CompletionContext) -> dict[str, object]:
    """Return the common flags that are already on the command line."""
    found = {name: asked.get(f"--{name}") for name in FLAGS}
    return {name: value.value for name, value in found.items() if value and value.provided}
