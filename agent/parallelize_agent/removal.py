"""Removing folders whose owner may have taken away every permission."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parallelize_agent import sandbox


def remove_tree(path: Path, user: str | None = None) -> None:
    """Remove a folder and all in it, also what belongs to the job's `user`; links themselves."""
    if path.exists():
        sandbox.take_back(path, user)
        shutil.rmtree(path, onerror=_unlock)


def _unlock(function: Callable[..., Any], path: str, _: object) -> None:
    """Give the folder and its parent their owner's permissions back, and try again."""
    for locked in (Path(path).parent, Path(path)):
        if not locked.is_symlink() and locked.is_dir():
            locked.chmod(stat.S_IRWXU)
    if function in {os.open, os.scandir, os.lstat}:
        shutil.rmtree(path)
    else:
        function(path)
