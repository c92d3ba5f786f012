"""`parallelize check FILE`: one file, on this machine, exactly as a worker would process it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import conclude
from parallelize.options import COMMON, NO_WORK, Common, Json, Work


def check(
    file: Annotated[Path, Parameter(name="FILE", help="The input: a path, or its key.")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(help="Where its outputs go. [default: check/ beside parallelize.toml]"),
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
    from parallelize.context import open_context
    from parallelize.operations.check import check as process
    from parallelize.operations.one_file import sentences

    done = process(open_context(Common(config=config), work.flags()), file, out)
    conclude(sentences(done), map(str, done.outputs), done.as_json, json=json)
    return done.exit_code
