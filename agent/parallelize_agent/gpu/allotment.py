"""Which GPUs each slot gets: pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parallelize_core.errors import UsageError
from parallelize_core.run import Limits


@dataclass(frozen=True)
class Gpu:
    """A GPU: its index on the machine, the N of its /dev/nvidiaN, and what it is.

    `uuid` and `name` are empty if the driver's library cannot be asked. A GPU that is `split`
    (MIG) is useless to a job that wants a whole one.
    """

    index: int
    minor: int
    uuid: str = ""
    name: str = ""
    split: bool = False

    @property
    def visible(self) -> str:
        """Its name for programs that are told which GPUs to use."""
        return self.uuid or str(self.index)

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"GPU {self.index}" + (f" ({self.name}, {self.uuid})" if self.uuid else "")


@dataclass(frozen=True)
class Allotment:
    """All GPUs of a machine in groups of `per_job`, each group used by `share` slots."""

    gpus: tuple[Gpu, ...] = ()
    per_job: int = 0
    share: int = 1

    @classmethod
    def of(cls, gpus: Sequence[Gpu], limits: Limits) -> Allotment:
        """Return the allotment for a run's jobs. Raises UsageError if one job needs more GPUs."""
        wanted, whole = limits.gpus, tuple(gpu for gpu in gpus if not gpu.split)
        there, split = len(whole), len(gpus) - len(whole)
        if there < wanted and split:
            raise UsageError(
                f"a job needs {_counted(wanted)}, and this machine has {there or 'no'} whole ones",
                f"{_counted(split)} split into instances (MIG), and jobs get whole GPUs",
                "nvidia-smi -mig 0   in workers.root_setup, or workers.types without MIG",
            )
        if there < wanted:
            raise UsageError(
                f"a job needs {_counted(wanted)}, and this machine has {there or 'none'}",
                fix="choose machines with as many in workers.types, or a smaller run.gpus_per_job",
            )
        return cls(whole, wanted, limits.gpu_share)

    @property
    def slots(self) -> int | None:
        """How many jobs may run at once; None if they need no GPU."""
        return self._portions * self.share if self.per_job else None

    def serves(self, limits: Limits) -> bool:
        """Whether the run still needs what it needed when the worker started."""
        return (limits.gpus, limits.gpu_share) == (self.per_job, self.share)

    def of_slot(self, slot: int) -> tuple[Gpu, ...]:
        """Return the GPUs of a slot, from 0; the first slots are spread over all GPUs."""
        if not self.per_job:
            return ()
        first = slot % self._portions * self.per_job
        return self.gpus[first : first + self.per_job]

    @property
    def _portions(self) -> int:
        return len(self.gpus) // self.per_job


def variables(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return the variables that tell programs and their libraries which GPUs are theirs."""
    if not gpus:
        return {}
    visible = ",".join(gpu.visible for gpu in gpus)
    return {"CUDA_VISIBLE_DEVICES": visible, "NVIDIA_VISIBLE_DEVICES": visible}


def _counted(number: int) -> str:
    return "1 GPU" if number == 1 else f"{number} GPUs"
