"""Outputs go to a folder of their own: not the inputs', and not one inside or around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.runs.files.download_record import is_download_folder
from parallelize.runs.files.own_files import own_folders
from parallelize.runs.inputs.local_inputs import places
from parallelize_core.errors import UsageError
from parallelize_core.files import files_of
from parallelize_core.manifest import Entry
from parallelize_core.run import Run


def check_apart(context: Context, folder: Path) -> None:
    """Raise UsageError if outputs in `folder` could mix with the inputs or the environment.

    A folder below the inputs is fine if it is never an input itself, such as out/ beside
    parallelize.toml.
    """
    out = folder.absolute().resolve()
    for place in places(context.settings.run.inputs, context.folder):
        inputs = place.resolve()
        if inputs.is_relative_to(out):
            where = "are there" if inputs == out else "lie in it"
            raise _mixed(folder, f"the inputs {where}: {escape(str(place))}")
        if out.is_relative_to(inputs) and not _never_an_input(context, out):
            raise _mixed(folder, f"it lies among the inputs, in {escape(str(place))}")
    if _in_environment(context, out):
        raise _mixed(folder, "it lies in the environment, which goes to every worker")


def check_inputs_stay(run: Run, entries: Iterable[Entry]) -> None:
    """Raise UsageError if an output in S3 could replace one of the run's inputs."""
    if run.naming.on_clash != "replace":
        return  # then no output replaces an object that its run did not write
    for entry in entries:
        for file in files_of(entry):
            bucket, key = file.place(run.input)
            if bucket == run.output.bucket and key.startswith(run.output.prefix):
                raise UsageError(
                    'with output.on_clash = "replace" outputs could replace inputs',
                    f"s3://{bucket}/{shown(key)} lies where the outputs go: "
                    f"{escape(run.output.uri)}",
                    "give output.to a prefix apart from the inputs; nothing was sent",
                )


def _never_an_input(context: Context, out: Path) -> bool:
    return _is_own(context, out) or is_download_folder(out)


def _in_environment(context: Context, out: Path) -> bool:
    env = context.settings.run.env
    inside = env is not None and out.is_relative_to(context.path(env).resolve())
    return inside and not _is_own(context, out)


def _is_own(context: Context, out: Path) -> bool:
    own = [folder.resolve() for folder in own_folders(context.folder)]
    return any(out.is_relative_to(folder) for folder in own)


def _mixed(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"outputs cannot go to {escape(str(folder))}", why,
        "give a folder apart from inputs and environment; nothing was written",
    )  # fmt: skip
