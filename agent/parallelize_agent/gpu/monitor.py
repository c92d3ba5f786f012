"""The health of this machine's GPUs, checked every second by its own thread.

A GPU may fall off the bus at any time. Then calls of its driver fail, or never return; so only
this thread calls it, and nobody waits for it without a limit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import c_void_p
from dataclasses import dataclass
from pathlib import Path

import structlog

from parallelize_agent.gpu.allotment import Gpu
from parallelize_agent.gpu.nvml import Nvml, NvmlError, Sample
from parallelize_core.clock import boot_seconds
from parallelize_core.heartbeat import GpuUse
from parallelize_core.result import Usage

log = structlog.get_logger()

LOOK_SECONDS = 1.0

ANSWER_SECONDS = 10.0
"""If the driver does not report on a failed command's GPUs within this time, it is not charged."""

HANG_SECONDS = 60.0
"""A driver that has not answered for this long will not."""

FATAL_XIDS = {
    48: "a double-bit error in its memory",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
    119: "its system processor does not answer",
    120: "an error in its system processor",
}
"""After these, a GPU has to be reset or replaced. Most others are a program's own faults.

https://docs.nvidia.com/deploy/xid-errors/
"""


@dataclass
class Peak:
    """Observations of some GPUs over a time: the most memory at once, and how busy they were."""

    memory_bytes: int = 0
    memory_total_bytes: int = 0
    _busy: float = 0.0
    _samples: int = 0

    def add(self, samples: Sequence[Sample]) -> None:
        """Take a sample of all of them into account."""
        self.memory_bytes = max(self.memory_bytes, sum(one.memory_bytes for one in samples))
        self.memory_total_bytes = sum(one.memory_total_bytes for one in samples)
        known = [one.busy for one in samples if one.busy is not None]
        self._busy += sum(known)
        self._samples += len(known)

    @property
    def busy(self) -> float | None:
        """The average busy share, between 0 and 1; None if it was never measured."""
        return round(self._busy / self._samples, 3) if self._samples else None

    def put_into(self, usage: Usage) -> Usage:
        """Return a command's usage with that of its GPUs added."""
        return usage.model_copy(
            update={"gpu_memory_bytes": self.memory_bytes, "gpu_busy": self.busy}
        )


class Monitor:
    """Watches all GPUs; any thread may ask for its findings.

    Without `nvml` it knows nothing, and finds nothing wrong. `start` makes it begin.
    """

    def __init__(
        self,
        nvml: Nvml | None = None,
        devices: Path = Path("/dev"),
        clock: Callable[[], float] = boot_seconds,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._nvml = nvml
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._handles: dict[Gpu, c_void_p] = {}
        self._lost: dict[Gpu, str] = {}
        self.gpus = tuple(self._find() if nvml else _by_devices(devices))
        self._peaks = {gpu: Peak() for gpu in self.gpus}
        self._measured: list[tuple[Sequence[Gpu], Peak]] = []
        self._looks = 0
        self._begun: float | None = None
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)

    def start(self) -> None:
        """Begin to watch, if there is anything to watch."""
        if self._nvml and self.gpus:
            self._thread.start()

    @property
    def lost(self) -> str:
        """Which GPUs are unreachable, and why; empty if all are well."""
        with self._changed:
            if self._lost:
                return "; ".join(f"{gpu.label}: {why}" for gpu, why in self._lost.items())
            since = self._begun
        hangs = since is not None and self._clock() - since >= HANG_SECONDS
        return "the driver of the GPUs does not answer" if hangs else ""

    def lost_of(self, gpus: Sequence[Gpu]) -> str:
        """Look now, and name those GPUs that are unreachable; waits at most `answer_seconds`."""
        if not (gpus and self._thread.is_alive()):
            return ""
        if not self._look_soon():
            return "the driver of the GPUs does not answer"
        with self._changed:
            return "; ".join(f"{gpu.label}: {self._lost[gpu]}" for gpu in gpus if gpu in self._lost)

    @contextmanager
    def measured(self, gpus: Sequence[Gpu]) -> Iterator[Peak]:
        """Measure some GPUs during a block; other jobs may use them, too."""
        peak = Peak()
        one = (gpus, peak)
        with self._changed:
            self._measured.append(one)
        try:
            yield peak
        finally:
            with self._changed:
                self._measured = [other for other in self._measured if other is not one]

    def tell(self) -> tuple[GpuUse, ...]:
        """Return each GPU's entry in the heartbeat; nothing if the driver cannot be asked."""
        if not self._nvml:
            return ()
        with self._changed:
            return tuple(
                GpuUse(
                    uuid=gpu.uuid,
                    name=gpu.name,
                    memory_bytes=peak.memory_bytes,
                    memory_total_bytes=peak.memory_total_bytes,
                    busy=peak.busy,
                    lost=self._lost.get(gpu, ""),
                )
                for gpu, peak in self._peaks.items()
            )

    def _look_soon(self) -> bool:
        """Have a new look begin and end; return whether it did in time."""
        with self._changed:
            # A look that is under way may have seen these GPUs before now.
            wanted = self._looks + (2 if self._begun is not None else 1)
            self._wake.set()
            return self._changed.wait_for(lambda: self._looks >= wanted, self._answer_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            with self._changed:
                self._begun = self._clock()
            self._look()
            with self._changed:
                self._begun = None
                self._looks += 1
                self._changed.notify_all()
            self._wake.wait(LOOK_SECONDS)

    def _look(self) -> None:
        assert self._nvml  # noqa: S101 - else there is no thread
        samples: dict[Gpu, Sample] = {}
        for gpu, handle in self._handles.items():
            try:
                samples[gpu] = self._nvml.sample(handle)
            except NvmlError as error:
                self._note(gpu, error)
        self._look_for_xids(self._nvml)
        with self._changed:
            self._take(samples)

    def _take(self, samples: dict[Gpu, Sample]) -> None:
        for gpu, sample in samples.items():
            self._peaks[gpu].add([sample])
        for gpus, peak in self._measured:
            if seen := [samples[gpu] for gpu in gpus if gpu in samples]:
                peak.add(seen)

    def _look_for_xids(self, nvml: Nvml) -> None:
        with suppress(NvmlError):
            for value, xid in nvml.xids():
                handles = self._handles.items()
                gpu = next((gpu for gpu, handle in handles if handle.value == value), None)
                log.warning("error of a GPU", xid=xid, gpu=gpu and gpu.label)
                if gpu and xid in FATAL_XIDS:
                    self._lose(gpu, f"{FATAL_XIDS[xid]} (Xid {xid})")

    def _note(self, gpu: Gpu, error: NvmlError) -> None:
        if error.gone:
            self._lose(gpu, str(error))

    def _lose(self, gpu: Gpu, why: str) -> None:
        with self._changed:
            self._lost.setdefault(gpu, why)

    def _find(self) -> Iterator[Gpu]:
        """Ask the driver for all; of a GPU that is already lost, only its number is known."""
        assert self._nvml  # noqa: S101 - see above
        for index in range(self._nvml.count()):
            gpu = Gpu(index, index)
            try:
                handle = self._nvml.handle(index)
                names, split = self._names(handle), self._nvml.is_split(handle)
                gpu = Gpu(index, self._nvml.minor(handle), *names, split)
                if split:
                    log.warning("a GPU is split (MIG), and no job gets it", gpu=gpu.label)
                self._handles[gpu] = handle
                with suppress(NvmlError):
                    self._nvml.watch(handle)
            except NvmlError as error:
                self._lost[gpu] = str(error)
            yield gpu

    def _names(self, handle: c_void_p) -> tuple[str, str]:
        assert self._nvml  # noqa: S101 - see above
        return self._nvml.uuid(handle), self._nvml.name(handle)


def monitor_of_machine() -> Monitor:
    """Return this machine's monitor, even if there is no GPU."""
    try:
        return Monitor(Nvml())
    except OSError:
        return Monitor()
    except NvmlError as error:
        log.warning("the driver of the GPUs cannot be asked", error=str(error))
        return Monitor()


def _by_devices(devices: Path) -> Iterator[Gpu]:
    """Find GPUs by their device nodes, if the driver cannot be asked."""
    found = (re.fullmatch(r"nvidia(\d+)", node.name) for node in devices.iterdir())
    for index, minor in enumerate(sorted(int(match[1]) for match in found if match)):
        yield Gpu(index, minor)
