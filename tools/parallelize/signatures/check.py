"""The parameters of `parallelize check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.options import COMMON, NO_WORK, Json, Work


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
    from parallelize.operations import check as command

    return command.check(file, out=out, work=work, json=json, config=config)
