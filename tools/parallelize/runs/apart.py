"""Outputs go to a folder of their own: not the inputs', not one around it, not one inside."""

from __future__ import annotations

from pathlib import Path

from parallelize.console import escape
from parallelize.context import Context
from parallelize.runs.download_record import is_download_folder
from parallelize.runs.inputs import own_folders, places
from parallelize_core.errors import UsageError


def check_apart(context: Context, folder: Path) -> None:
    """Raise UsageError if outputs in `folder` could meet the inputs of the settings.

    A folder below the inputs that is never an input, as out/ beside parallelize.toml, is apart.
    """
    out = folder.absolute().resolve()
    for place in places(context.settings.run.inputs, context.folder):
        inputs = place.resolve()
        if inputs.is_relative_to(out):
            where = "are there" if inputs == out else "lie in it"
            raise _mixed(folder, f"the inputs {where}: {escape(str(place))}")
        if out.is_relative_to(inputs) and not _never_an_input(context, out):
            raise _mixed(folder, f"it lies among the inputs, in {escape(str(place))}")


def _never_an_input(context: Context, out: Path) -> bool:
    own = [folder.resolve() for folder in own_folders(context.folder)]
    return any(out.is_relative_to(folder) for folder in own) or is_download_folder(out)


def _mixed(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"outputs cannot go to {escape(str(folder))}", why,
        "give a folder apart from the inputs; nothing was written",
    )  # fmt: skip
