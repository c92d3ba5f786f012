"""Where uv, micromamba and pixi are on a machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

OWN_VARIABLES = {"uv": "UV", "micromamba": "MAMBA_EXE", "pixi": "PIXI_EXE"}
"""What names each one's program; uv sets its own for what it starts, such as `uvx parallelize`."""


def find_installer(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of an installer, or None; the one beside this Python comes first."""
    beside = Path(sys.executable).with_name(name)
    if os.access(beside, os.X_OK):
        return str(beside)
    named = environ.get(OWN_VARIABLES[name])
    return (shutil.which(named) if named else None) or shutil.which(name)
