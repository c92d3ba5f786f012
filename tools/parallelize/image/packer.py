"""How a machine image is built: the plan as data, and its execution."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parallelize.console import say
from parallelize.context import Context
from parallelize_core.errors import ServiceError, UsageError

PACKER = "packer"
TEMPLATE = "packer"
MANIFEST = "manifest.json"

AMD64_ONLY = ("gpu",)
"""The bases for which the template has no arm64 image."""

OLDEST_PACKER = (1, 9)
"""As `packer/plugins.pkr.hcl` requires; before 1.7 there is no `packer init` that would say so."""

INSTALL_PACKER = "install it: https://developer.hashicorp.com/packer/install"


@dataclass(frozen=True)
class ImageRequest:
    """The options of an image; packages and requirements are for the jobs."""

    version: str
    region: str
    base: str
    architecture: str
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildPlan:
    """The commands to run in `template`, in order; the first builds the wheel in `out`."""

    template: Path
    out: Path
    commands: tuple[tuple[str, ...], ...]

    @property
    def lines(self) -> list[str]:
        """The commands as a user would type them."""
        return [shlex.join(command) for command in self.commands]


def plan_build(request: ImageRequest, source: Path, out: Path) -> BuildPlan:
    """Return the plan to build the image from the source tree `source`.

    Raises UsageError for a base that does not exist for the architecture.
    """
    if request.base in AMD64_ONLY and request.architecture != "amd64":
        raise UsageError(
            f"the base {request.base} is for amd64 only", None,
            f"--architecture amd64, or another base for {request.architecture}",
        )  # fmt: skip
    wheel = out / f"parallelize-{request.version}-py3-none-any.whl"
    variables = {
        "wheel": str(wheel),
        "agent_version": request.version,
        "manifest": str(out / MANIFEST),
        "region": request.region,
        "base": request.base,
        "architecture": request.architecture,
        "extra_packages": " ".join(request.packages),
        "extra_requirements": " ".join(request.requirements),
        # Packer reads a map as HCL, of which JSON is a subset.
        "tags": json.dumps(dict(request.tags)) if request.tags else "",
    }
    chosen = [word for name, value in variables.items() if value
              for word in ("-var", f"{name}={value}")]  # fmt: skip
    wheel_command = (
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out),
        str(source),
    )  # fmt: skip
    return BuildPlan(
        source / TEMPLATE,
        out,
        (wheel_command, (PACKER, "init", "."), (PACKER, "build", "-color=false", *chosen, ".")),
    )


def find_source(given: Path | None) -> Path:
    """Return the source tree; raise UsageError if there is none.

    The template is not part of the installed package: an image is built from a checkout, so that
    its content can be read there.
    """
    source = given or Path(__file__).parents[3]
    if (source / TEMPLATE / "worker.pkr.hcl").is_file():
        return source.absolute()
    raise UsageError(
        f"{source} is not a checkout of parallelize",
        "the image's template, scripts and units are not part of the installed package",
        "git clone the project, then: parallelize image build --source FOLDER",
    )


def build(plan: BuildPlan, environ: Mapping[str, str]) -> str:
    """Build the image, and return its id; the programs' output goes to stderr as it comes.

    Raises UsageError if Packer is missing or too old, ServiceError if a step fails.
    """
    _check_packer(environ)
    for number, command in enumerate(plan.commands, start=1):
        say(f"step {number} of {len(plan.commands)}: {_name(command)}")
        _run(command, plan.template, environ)
    return image_in((plan.out / MANIFEST).read_text(encoding="utf-8"))


def _check_packer(environ: Mapping[str, str]) -> None:
    if shutil.which(PACKER) is None:
        raise UsageError("Packer is not installed", "it builds the image", INSTALL_PACKER)
    told = subprocess.run(
        [PACKER, "--version"], env=environ, capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"(\d+)\.(\d+)[.\d]*", told)
    if found and (int(found[1]), int(found[2])) < OLDEST_PACKER:
        oldest = ".".join(map(str, OLDEST_PACKER))
        raise UsageError(
            f"Packer {found[0]} is too old", f"the image needs {oldest} or later", INSTALL_PACKER
        )


def image_in(manifest: str) -> str:
    """Return the id of the latest image in Packer's manifest."""
    record = json.loads(manifest)
    (last,) = (b for b in record["builds"] if b["packer_run_uuid"] == record["last_run_uuid"])
    return str(last["artifact_id"].rpartition(":")[2])


def _name(command: Sequence[str]) -> str:
    return "the agent's wheel" if command[0] == sys.executable else " ".join(command[:2])


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    with subprocess.Popen(
        command, cwd=folder, env=environ, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout  # noqa: S101 - it was asked for
        for line in process.stdout:
            say(f"  {line.rstrip()}")
    if process.returncode:
        raise ServiceError(
            f"{_name(command)} failed (exit {process.returncode})",
            "its output is above; a failed build leaves nothing in AWS",
            "fix it and repeat: parallelize image build",
        )


def packer_environ(context: Context) -> dict[str, str]:
    """Return this process's environment, with the profile and region of the settings."""
    profile = context.settings.aws.profile
    return {
        **os.environ,
        "AWS_REGION": context.region,
        **({"AWS_PROFILE": profile} if profile else {}),
    }
