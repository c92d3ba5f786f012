"""Where uv, micromamba and pixi are on a machine, and the settings that they get there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

OWN_VARIABLES = {"uv": "UV", "micromamba": "MAMBA_EXE", "pixi": "PIXI_EXE"}
"""The variable that names each one's program; uv sets its own for programs that it starts, such as
`uvx parallelize`.
"""

SETTINGS = "PARALLELIZE_INSTALLER"
"""The variable with the settings of an agent's installers, a JSON object of their variables."""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT")
_THEIR_OWN = ("UV_", "MAMBA_", "CONDA_", "PIXI_", "RATTLER_")


def settings_here(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return this user's variables for installers, by name."""
    names = {*_PROXIES, *(name.lower() for name in _PROXIES), *_CERTIFICATES}
    # The environment that is active here means nothing to a machine.
    of_this_shell = {"CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL", "UV_PROJECT_ENVIRONMENT"}
    return {
        name: value
        for name, value in environ.items()
        if (name in names or name.startswith(_THEIR_OWN)) and name not in of_this_shell
    }


def settings_given(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the settings of this agent's installers; none unless the machine has any."""
    return dict(json.loads(environ.get(SETTINGS) or "{}"))


def find_installer(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of an installer, or None; one beside this Python comes first."""
    beside = Path(sys.executable).with_name(name)
    if os.access(beside, os.X_OK):
        return str(beside)
    named = environ.get(OWN_VARIABLES[name])
    return (shutil.which(named) if named else None) or shutil.which(name)
