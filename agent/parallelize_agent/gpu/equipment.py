"""The GPUs of a worker, as the jobs in its slots see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from parallelize_agent.gpu.allotment import Allotment, Gpu, variables
from parallelize_agent.gpu.cdi import FOLDERS, Descriptions, Edits
from parallelize_agent.gpu.monitor import Monitor
from parallelize_agent.process.isolation import Container
from parallelize_core.errors import UsageError
from parallelize_core.run import Run


@dataclass
class Equipment:
    """Gives slots the GPUs of `allotment`, which `monitor` found; thread-safe."""

    monitor: Monitor
    allotment: Allotment
    devices: Path = Path("/dev")
    folders: Sequence[Path] = FOLDERS
    _edits: dict[tuple[Gpu, ...], Edits] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, monitor: Monitor, run: Run, folders: Sequence[Path] = FOLDERS) -> Equipment:
        """Return the equipment for a run's jobs; `folders` hold descriptions for containers.

        Raises UsageError if they cannot have what they need.
        """
        made = cls(monitor, Allotment.of(monitor.gpus, run.limits), folders=folders)
        made.check(run)
        return made

    def slots(self, wanted: int) -> int:
        """Return how many of the `wanted` slots the GPUs allow."""
        allowed = self.allotment.slots
        return wanted if allowed is None else min(wanted, allowed)

    def check(self, run: Run) -> None:
        """Raise UsageError if commands in the run's image could not use their GPUs."""
        if run.image and self.allotment.per_job:
            if not all(gpu.uuid for gpu in self.allotment.gpus):
                raise UsageError(
                    "GPUs cannot be used in an image: NVIDIA's driver does not answer",
                    "a job would not know which of them is its own",
                    "nvidia-smi   on the machine says why",
                )
            self._edits_of(self.allotment.gpus)

    def of_slot(self, slot: int) -> tuple[Gpu, ...]:
        """Return a slot's own GPUs."""
        return self.allotment.of_slot(slot)

    def variables(self, slot: int, container: Container | None) -> dict[str, str]:
        """Return the variables that tell a command which GPUs are its own."""
        gpus = self.of_slot(slot)
        if container and gpus:
            return dict(self._edits_of(gpus).environ)
        return variables(gpus)

    def within(self, slot: int, container: Container | None) -> Container | None:
        """Return the container with only the slot's GPUs in it."""
        gpus = self.of_slot(slot)
        if container is None or not gpus:
            return container
        return replace(container, given=tuple(self._edits_of(gpus).words()))

    def hidden(self, slot: int) -> tuple[Path, ...]:
        """Return the device nodes of other slots' GPUs.

        Programs that are given their GPUs by number instead of by name would count wrongly.
        """
        own = set(self.of_slot(slot))
        if not own or not all(gpu.uuid for gpu in self.allotment.gpus):
            return ()
        others = (gpu for gpu in self.allotment.gpus if gpu not in own)
        nodes = (self.devices / f"nvidia{gpu.minor}" for gpu in others)
        return tuple(node for node in nodes if node.exists())

    def _edits_of(self, gpus: Sequence[Gpu]) -> Edits:
        key = tuple(gpus)
        if key not in self._edits:
            self._edits[key] = self._described.of(key)
        return self._edits[key]

    @cached_property
    def _described(self) -> Descriptions:
        return Descriptions(self.folders)
