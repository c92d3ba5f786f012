"""Workers from a plain Debian image, for people who have made no image of their own yet.

The agent and what it imports travel in a zip in the run's bucket; the machine fetches it at boot
with its role. Slower to start than an image with the agent inside, and with less hardening.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from importlib.resources import files
from pathlib import Path

from parallelize_core.config import AgentConfig
from parallelize_core.errors import UsageError

STOCK = "stock"

PARAMETERS = {
    "x86_64": "/aws/service/debian/release/13/latest/amd64",
    "arm64": "/aws/service/debian/release/13/latest/arm64",
}
"""Where Debian names its newest images, as its wiki says under Cloud/AmazonEC2Image/Trixie."""

PYTHON = "3.13"
"""What Debian 13 has."""

PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}

OUR_PACKAGES = ("parallelize_core", "parallelize_agent")
IMPORTED = ("boto3", "psutil", "pydantic", "structlog", "tenacity")
"""What the agent imports; what those need is found out."""

DEADLINE_MARGIN_MINUTES = 30
"""Beyond max_runtime, for the boot and an orderly end."""

SETTINGS_LINE = 'SETTINGS: dict[str, Any] = json.loads(r"""{}""")'


@dataclass(frozen=True)
class Bundle:
    """The agent's zip: where the machine finds it, and what it must be."""

    url: str
    sha256: str


def user_data(agent: AgentConfig, bundle: Bundle) -> str:
    """Return the script that makes a plain Debian machine a worker. It holds no secret."""
    runtime = agent.max_runtime_seconds
    settings = {
        "bundle": bundle.url,
        "sha256": bundle.sha256,
        "minutes": round(runtime / 60) + DEADLINE_MARGIN_MINUTES if runtime else 0,
        "config": json.loads(agent.encode()),
    }
    script = files("parallelize.fleet").joinpath("bootstrap.py").read_text(encoding="utf-8")
    # No JSON has three quotes in a row, so nothing in it can end the string early.
    text = json.dumps(settings)
    return script.replace(SETTINGS_LINE, f'SETTINGS: dict[str, Any] = json.loads(r"""{text}""")')


def make_bundle(path: Path, architecture: str) -> str:
    """Write the agent and what it imports, for Debian's Python, to a zip; return its SHA-256.

    The versions are those that this client itself runs with. Raises UsageError if pip cannot
    fetch them.
    """
    with tempfile.TemporaryDirectory(prefix="parallelize-") as folder:
        target = Path(folder)
        _install(target, architecture)
        for name in OUR_PACKAGES:
            shutil.copytree(_source(name), target / name, ignore=shutil.ignore_patterns("*.pyc"))
        _say_version(target)
        _zip(target, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pins() -> list[str]:
    """Return the requirements of the agent, each with the version that is installed here."""
    return sorted(f"{name}=={metadata.version(name)}" for name in _closure(IMPORTED))


def _closure(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name not in found:
            found.add(name)
            waiting += _required(name)
    return found


def _required(name: str) -> Iterator[str]:
    for line in metadata.requires(name) or ():
        requirement, _, marker = line.partition(";")
        # Extras are not installed, and what older Pythons need Debian's does not.
        if "extra" in marker or "python_version <" in marker.replace('"', ""):
            continue
        if match := re.match(r"[A-Za-z0-9._-]+", requirement):
            yield match.group()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _install(target: Path, architecture: str) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
        "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}",
        *(f"--platform={one}" for one in PLATFORMS[architecture]),
        f"--target={target}", *pins(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(
            "pip cannot fetch the agent's libraries for the stock image",
            done.stderr.strip()[-300:],
            "parallelize image build   needs no such fetching at launch",
        )


def _source(name: str) -> Path:
    spec = util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"the package {name} is not installed here")
    return Path(spec.submodule_search_locations[0])


def _say_version(folder: Path) -> None:
    """Let the agent find its own version, as if it had been installed."""
    version = metadata.version("parallelize")
    info = folder / f"parallelize-{version}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: parallelize\nVersion: {version}\n"
    (info / "METADATA").write_text(text, encoding="utf-8")


def _zip(folder: Path, path: Path) -> None:
    """Zip a folder so that the same content gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            if "__pycache__" not in file.parts:
                info = zipfile.ZipInfo(str(file.relative_to(folder)))
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                bundle.writestr(info, file.read_bytes())
