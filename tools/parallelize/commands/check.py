"""`parallelize check FILE`: one file, on this machine, exactly as a worker would process it.

Nothing of the run is looked at or changed. What is tried is what parallelize.toml says now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.commands import one_file
from parallelize.commands.download import check_place
from parallelize.console import escape, say, shown
from parallelize.context import Context, open_context
from parallelize.options import COMMON, NO_WORK, Common, Json, Work
from parallelize.runs.apart import check_apart
from parallelize.runs.inputs import local_inputs
from parallelize.runs.remote_inputs import is_remote
from parallelize.runs.which import find_key
from parallelize_core.errors import ParallelizeError, UsageError

OUT = "check"


def check(
    file: Annotated[Path, Parameter(name="FILE", help="The input: a path, or its key.")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(help="Where its outputs go. Default: check/ beside parallelize.toml."),
    ] = None,
    work: Work = NO_WORK,
    json: Json = False,
    config: Annotated[
        Path | None,
        Parameter(group=COMMON, help="The parallelize.toml to use. [PARALLELIZE_CONFIG]"),
    ] = None,
) -> int:
    """Process one file here, in the local cloud, and show what the command printed.

    Exits with 0 if it succeeds, with 1 if it fails or produces no output.
    """
    context = open_context(Common(config=config), work.flags())
    key, path = find_input(context, file)
    folder = out or context.folder / OUT
    check_apart(context, folder)
    check_place(folder)
    say(f"{shown(key, 60)}: here, as a worker would; nothing is sent to AWS")
    done = one_file.process(context.resolved, key, path, folder)
    return one_file.tell(done, json=json)


def find_input(context: Context, file: Path) -> tuple[str, Path]:
    """Return the key and the path of a file; one that is no input of the run has its name as key.

    Raises UsageError if there is no such file.
    """
    inputs = _inputs(context)
    if file.is_file():
        path = file.resolve()
        return next((key for key, own in inputs.items() if own.resolve() == path), path.name), path
    try:
        key = find_key(inputs, str(file))
    except UsageError:
        raise UsageError(
            f"there is no file {escape(str(file))}",
            f"neither here nor in {escape(context.settings.run.inputs)}",
            "give the path of an input",
        ) from None
    return key, inputs[key]


def _inputs(context: Context) -> dict[str, Path]:
    spec = context.settings.run.inputs
    try:
        if is_remote(spec, context.folder):
            return {}
        return {item.key: item.path for item in local_inputs(spec, context.folder, "")}
    except ParallelizeError:
        # What is wrong with other inputs is for `prep` to say.
        return {}
