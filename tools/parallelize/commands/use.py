"""`parallelize use`: the cloud for commands that do not name one."""

from __future__ import annotations

import os
from typing import Literal

from parallelize.choice import VARIABLE, remember
from parallelize.console import say


def use(cloud: Literal["local", "aws"], /) -> None:
    """Choose the cloud for commands that do not name one.

    PARALLELIZE_LOCAL=true or =false decides for one shell, --local for one
    command.

    Args:
        cloud: `local`, as if every command had --local; or `aws`.
    """
    remember(local=cloud == "local")
    say(f"from now on commands use {'the local cloud' if cloud == 'local' else 'AWS'}")
    if VARIABLE in os.environ:
        say(f"but not in this shell, where {VARIABLE} is set: unset {VARIABLE}")
