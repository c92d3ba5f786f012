"""NVIDIA's management library through ctypes: the dozen functions that are needed here.

NVIDIA's package nvidia-ml-py declares all four hundred in one Python module, and would be one more
dependency on every worker; these declarations are shorter than the code that would use it.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"
"""Installed by the driver; without it, no job could use a GPU anyway."""

_TIMEOUT = 10
_GONE = {6: "not found", 15: "lost", 16: "in need of a reset"}
"""NVML_ERROR_NOT_FOUND, _GPU_IS_LOST and _RESET_REQUIRED: nothing can be computed there."""

_XID_CRITICAL = 0x8
_TEXT_BYTES = 96


class NvmlError(Exception):
    """The error code that a call returned."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (NVML {code})")
        self.code = code

    @property
    def gone(self) -> str:
        """How the GPU is unreachable; empty if the error is another one."""
        return _GONE.get(self.code, "")


@dataclass(frozen=True)
class Sample:
    """A GPU's state now: memory in bytes, `busy` the share of the last second, if known."""

    memory_bytes: int
    memory_total_bytes: int
    busy: float | None


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong),
                ("used", ctypes.c_ulonglong))  # fmt: skip


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Event(ctypes.Structure):
    _fields_ = (("device", ctypes.c_void_p), ("kind", ctypes.c_ulonglong),
                ("data", ctypes.c_ulonglong), ("gpu_instance", ctypes.c_uint),
                ("compute_instance", ctypes.c_uint))  # fmt: skip


class Nvml:
    """The library, for one thread at a time; a call may hang forever if a GPU does."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Load it. Raises OSError if it is missing, NvmlError if the driver does not run."""
        self._library = ctypes.CDLL(library)
        self._library.nvmlErrorString.restype = ctypes.c_char_p
        self._call("nvmlInit_v2")
        self._events: ctypes.c_void_p | None = None

    def count(self) -> int:
        """Return how many GPUs the driver knows."""
        return self._number("nvmlDeviceGetCount_v2")

    def handle(self, index: int) -> ctypes.c_void_p:
        """Return the handle that the other calls take. Raises NvmlError."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def uuid(self, handle: ctypes.c_void_p) -> str:
        """Return the GPU's globally unique name. Raises NvmlError."""
        return self._text("nvmlDeviceGetUUID", handle)

    def name(self, handle: ctypes.c_void_p) -> str:
        """Return the product name, as in "Tesla T4". Raises NvmlError."""
        return self._text("nvmlDeviceGetName", handle)

    def minor(self, handle: ctypes.c_void_p) -> int:
        """Return the N of its /dev/nvidiaN, which is not always its index. Raises NvmlError."""
        return self._number("nvmlDeviceGetMinorNumber", handle)

    def is_split(self, handle: ctypes.c_void_p) -> bool:
        """Whether a GPU is in MIG mode, split into parts that act as devices. Raises NvmlError."""
        now, next_boot = ctypes.c_uint(), ctypes.c_uint()
        try:
            both = ctypes.byref(now), ctypes.byref(next_boot)
            self._call("nvmlDeviceGetMigMode", handle, *both)
        except AttributeError:
            return False  # a driver older than MIG
        except NvmlError as error:
            if error.gone:
                raise
            return False  # a model without MIG
        return now.value == 1

    def sample(self, handle: ctypes.c_void_p) -> Sample:
        """Return a GPU's state now. Raises NvmlError."""
        memory, use = _Memory(), _Utilization()
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        busy: float | None = None
        try:
            self._call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(use))
            busy = use.gpu / 100
        except NvmlError as error:
            if error.gone:
                raise  # otherwise this model does not measure it
        return Sample(memory.used, memory.total, busy)

    def watch(self, handle: ctypes.c_void_p) -> None:
        """Make `xids` report a GPU's errors. Raises NvmlError if the GPU does not report them."""
        if self._events is None:
            events = ctypes.c_void_p()
            self._call("nvmlEventSetCreate", ctypes.byref(events))
            self._events = events
        kind = ctypes.c_ulonglong(_XID_CRITICAL)
        self._call("nvmlDeviceRegisterEvents", handle, kind, self._events)

    def xids(self) -> Iterator[tuple[int | None, int]]:
        """Yield the errors since the last look: the handle's value, and the Xid.

        https://docs.nvidia.com/deploy/xid-errors/
        """
        while self._events is not None:
            event = _Event()
            wait = ("nvmlEventSetWait_v2", self._events, ctypes.byref(event), ctypes.c_uint(0))
            try:
                self._call(*wait)
            except NvmlError as error:
                if error.code == _TIMEOUT or not error.gone:
                    return
                raise
            yield event.device, event.data

    def _text(self, name: str, handle: ctypes.c_void_p) -> str:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call(name, handle, text, ctypes.c_uint(_TEXT_BYTES))
        return text.value.decode(errors="replace")

    def _number(self, name: str, *arguments: object) -> int:
        number = ctypes.c_uint()
        self._call(name, *arguments, ctypes.byref(number))
        return number.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = self._library.nvmlErrorString(code) or b"unknown error"
            raise NvmlError(code, text.decode(errors="replace"))
