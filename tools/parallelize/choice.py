"""The cloud that this user has chosen for commands that do not name one."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from platformdirs import user_config_path

VARIABLE = "PARALLELIZE_LOCAL"
"""The value of `--local` if it is not given."""


def remember(*, local: bool) -> None:
    """Save the choice for this user."""
    path = _file()
    if local:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.unlink(missing_ok=True)


def apply_choice(environ: MutableMapping[str, str]) -> None:
    """Set the variable as this user has chosen, unless the shell has set it."""
    if VARIABLE not in environ and _file().exists():
        environ[VARIABLE] = "true"


def _file() -> Path:
    return user_config_path("parallelize") / "use-local"
