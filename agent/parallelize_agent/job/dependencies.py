"""Packages from a lock file: installed into the environment before its set-up, found by its jobs.

uv creates `.venv` in the environment's folder, micromamba `.conda`, pixi its own `.pixi`. Their
folder of programs comes first on the PATH of the set-up and of each job, so both `python job.py`
and a script that begins with "#!/usr/bin/env python3" have the packages.
"""

from __future__ import annotations

from pathlib import Path

from parallelize_agent.job.preparation import Step
from parallelize_core.errors import SetupError
from parallelize_core.installers import find_installer, settings_given
from parallelize_core.run import Dependencies

_PREFIXES = {"uv": ".venv", "micromamba": ".conda", "pixi": ".pixi/envs/default"}
"""Where each installer puts the packages, below the environment's folder."""

_NAMES_PREFIX = {"uv": "VIRTUAL_ENV", "micromamba": "CONDA_PREFIX", "pixi": "CONDA_PREFIX"}

_SCRIPTS = {
    # Jobs cannot write byte code into the environment, so each would compile it again.
    "uv": """
"$1" venv --quiet --clear --no-project --python "$3" .venv
"$1" pip install --python .venv --compile-bytecode --requirement "$2"
""",
    # Without a folder of its own, micromamba asks for one.
    "micromamba": """
"$1" create --yes --root-prefix "$HOME/mamba" --prefix "$PWD/.conda" --file "$2"
""",
    "pixi": """
"$1" install --frozen --no-progress
""",
}
"""In sh -eu: $1 is the installer, $2 the lock file, $3 the required Python."""


def install(dependencies: Dependencies, folder: Path) -> Step:
    """Return the step that installs the packages in the environment's `folder`.

    Raises SetupError if the installer is not on this machine.
    """
    name, lock = dependencies.installer, dependencies.lock
    program = find_installer(name)
    if program is None:
        raise SetupError(
            f"the dependencies in {lock} cannot be installed",
            f"{name} is not on this worker",
            f"install {name} on the worker: in its machine image, by workers.root_setup, or, "
            "for --local and check, on this machine",
        )
    script = ("/bin/sh", "-euc", _SCRIPTS[name], "sh", program, lock, dependencies.python or "3")
    return Step(
        f"the installation of the dependencies in {lock}",
        script,
        dependencies.timeout_seconds,
        _installers_own(folder),
        "dependencies",
    )


def variables(dependencies: Dependencies | None, folder: Path | None, path: str) -> dict[str, str]:
    """Return the variables that a command needs to find the packages."""
    if dependencies is None or folder is None:
        return {}
    prefix = folder / _PREFIXES[dependencies.installer]
    return {"PATH": f"{prefix}/bin:{path}", _NAMES_PREFIX[dependencies.installer]: str(prefix)}


def _installers_own(folder: Path) -> dict[str, str]:
    told = settings_given()
    # A Python that uv downloads must outlive the set-up's HOME. And files from a persistent cache
    # must be copied: a link would share the modes that the environment is about to get.
    return {
        "UV_PYTHON_INSTALL_DIR": str(folder / ".python"),
        "UV_LINK_MODE": "copy" if "UV_CACHE_DIR" in told else "hardlink",
        "UV_NO_PROGRESS": "1",
        "UV_PREVIEW_FEATURES": "pylock",
        **told,
    }
