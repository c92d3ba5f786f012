"""What a GPU needs in a container, as the machine's tools describe it: device nodes, libraries.

The Container Device Interface is a file that NVIDIA's toolkit writes (`nvidia-ctk cdi generate`).
Of it, device nodes, variables, and mounts of libraries and programs are applied. Hooks, which are
programs of the machine to be run in the container as root, are not run. Two of them matter for
computing: one creates the names by which libraries are found, and these are copied from the
machine here; the other writes the image's library cache, which LD_LIBRARY_PATH replaces.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parallelize_agent.gpu.allotment import Gpu, variables
from parallelize_core.errors import UsageError

log = structlog.get_logger()

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where descriptions are; the last folder takes precedence."""

KIND = "nvidia.com/gpu"

_FIX = (
    "install NVIDIA's container toolkit, and: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
)


class _Told(BaseModel):
    # Few machines have a GPU, and building these takes two milliseconds of a start.
    model_config = ConfigDict(defer_build=True)


class _Node(_Told):
    path: str
    host: str = Field(default="", alias="hostPath")


class _Mount(_Told):
    host: str = Field(alias="hostPath")
    place: str = Field(alias="containerPath")


class _Edits(_Told):
    env: tuple[str, ...] | None = None
    nodes: tuple[_Node, ...] | None = Field(default=None, alias="deviceNodes")
    mounts: tuple[_Mount, ...] | None = None


class _Device(_Told):
    name: str
    edits: _Edits = Field(default_factory=_Edits, alias="containerEdits")


class _Spec(_Told):
    kind: str
    devices: tuple[_Device, ...] = ()
    edits: _Edits = Field(default_factory=_Edits, alias="containerEdits")


@dataclass(frozen=True)
class Edits:
    """What is added to a container: `nodes` in /dev and `files` of the driver, by place.

    Each pair is the machine's path and its place; a file's place is below a folder that the
    container has for that. `links` are pairs of a target and a place.
    """

    nodes: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def words(self) -> Iterator[str]:
        """Yield them in the form that `enter.py` takes."""
        for kind, pairs in (("dev", self.nodes), ("file", self.files), ("link", self.links)):
            for source, place in pairs:
                yield f"{kind}:{source}\n{place}"


class Descriptions:
    """What the files in some folders say about NVIDIA's GPUs, by GPU name."""

    def __init__(self, folders: Iterable[Path] = FOLDERS) -> None:
        self._devices: dict[str, tuple[_Edits, ...]] = {}
        for folder in folders:
            for file in sorted(folder.glob("*")):
                if file.suffix in {".json", ".yaml"} and (spec := _read(file)):
                    both = {one.name: (one.edits, spec.edits) for one in spec.devices}
                    self._devices |= both

    def of(self, gpus: Sequence[Gpu]) -> Edits:
        """Return what some GPUs need. Raises UsageError if one of them is not described."""
        found = [edits for gpu in gpus for edits in self._of_one(gpu)]
        nodes = (node for edits in found for node in edits.nodes or ())
        mounts = [mount for edits in found for mount in edits.mounts or ()]
        files = dict(_place(mount) for mount in mounts if _place(mount)[1])
        pairs = (line.partition("=") for edits in found for line in edits.env or ())
        return Edits(
            tuple(dict.fromkeys((node.host or node.path, node.path) for node in nodes)),
            tuple(files.items()),
            tuple(_links(files)),
            {name: value for name, _, value in pairs} | variables(gpus),
        )

    def _of_one(self, gpu: Gpu) -> tuple[_Edits, ...]:
        for name in (gpu.uuid, str(gpu.index)):
            if name in self._devices:
                return self._devices[name]
        there = f"there are {', '.join(self._devices)}" if self._devices else "there are none"
        raise UsageError(
            f"{gpu.label} cannot be used in an image: this machine has no CDI description of it",
            f"{there} in {' and '.join(map(str, FOLDERS))}",
            _FIX,
        )


def _read(file: Path) -> _Spec | None:
    """Read a description, YAML or JSON; return None and log it if it is not one."""
    import yaml  # noqa: PLC0415 - few workers need it

    try:
        spec = _Spec.model_validate(yaml.safe_load(file.read_bytes()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        log.warning("CDI description not read", file=str(file), error=str(error)[:500])
        return None
    return spec if spec.kind == KIND else None


def _place(mount: _Mount) -> tuple[str, str]:
    """Return a file of the machine and its place in the driver's folder; "" if it has none."""
    place = PurePosixPath(mount.place)
    real = os.path.realpath(mount.host)
    if not os.path.isfile(real):  # noqa: PTH113 - realpath is of os.path, too
        return real, ""
    if ".so" in place.suffixes:
        return real, f"lib/{place.name}"
    return real, f"bin/{place.name}" if place.parent.name in {"bin", "sbin"} else ""


def _links(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the machine's other names for libraries, such as libcuda.so.1."""
    placed = set(files.values())
    for folder in sorted({os.path.dirname(real) for real in files}):  # noqa: PTH120
        for entry in Path(folder).glob("lib*.so*"):
            place = f"lib/{entry.name}"
            target = files.get(os.path.realpath(entry))
            if entry.is_symlink() and target and place not in placed:
                yield PurePosixPath(target).name, place
