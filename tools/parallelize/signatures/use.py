"""The parameters of `parallelize use`."""

from __future__ import annotations

from typing import Literal


def use(cloud: Literal["local", "aws"], /) -> None:
    """Remember which cloud commands use that do not say so.

    PARALLELIZE_LOCAL=true or =false decides for one shell, --local for one
    command.

    Args:
        cloud: `local`, as if every command had --local; or `aws`.
    """
    from parallelize.operations import use as command

    command.use(cloud)
