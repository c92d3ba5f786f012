"""One value shared by all viewers: made once, and cached for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from parallelize.runs.state.watch import LISTING_SHARE

Made = TypeVar("Made")


@dataclass(frozen=True)
class _Kept(Generic[Made]):
    value: Made
    until: float


class Shared(Generic[Made]):
    """What `make` returns, made again when somebody asks for it after it has expired.

    It expires after `keep` seconds, or after four times as long as it took to make, whichever is
    longer. Nothing is made while nobody asks. `clock` returns seconds.
    """

    def __init__(
        self,
        make: Callable[[], Made],
        keep: Callable[[Made], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._keep = keep
        self._clock = clock
        self._kept: _Kept[Made] | None = None
        self._making = Lock()

    def get(self) -> Made:
        """Return the value; while one caller renews it, the others get the older one."""
        kept = self._kept
        if kept and self._clock() < kept.until:
            return kept.value
        if not self._making.acquire(blocking=kept is None) and kept:
            return kept.value
        try:
            # Another thread may have made it while this one waited for the lock.
            if self._kept is kept:
                self._kept = self._renewed()
            assert self._kept is not None  # noqa: S101
            return self._kept.value
        finally:
            self._making.release()

    def _renewed(self) -> _Kept[Made]:
        began = self._clock()
        value = self._make()
        ended = self._clock()
        return _Kept(value, ended + max(self._keep(value), LISTING_SHARE * (ended - began)))
