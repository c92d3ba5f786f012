"""Small S3 objects that are polled, and read again only when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from parallelize.bulk import get_each, try_each
from parallelize_core.errors import ParallelizeError
from parallelize_core.store import ObjectInfo, Store

Made = TypeVar("Made")


@dataclass
class Cache(Generic[Made]):
    """Decoded objects, kept until they change; `decode` gets an object's key and content.

    For content that it cannot read, `decode` raises DecodeError or returns a substitute.

    With `patience_seconds`, an object that S3 does not return in this time is left out, and its
    error is in `unread` until the next read. Without it, the error is raised.
    """

    store: Store
    decode: Callable[[str, bytes], Made]
    patience_seconds: float | None = None
    unread: dict[str, ParallelizeError] = field(default_factory=dict, init=False)
    _known: dict[str, tuple[str, Made]] = field(default_factory=dict, init=False)

    def read(self, items: Iterable[ObjectInfo], at_most: int | None = None) -> list[Made]:
        """Return what the objects hold; leave out any that was deleted meanwhile.

        With `at_most`, read only that many new ones now; leave the others for a later call.
        """
        found = {item.key: item.etag for item in items}
        self._known = {k: (e, made) for k, (e, made) in self._known.items() if found.get(k) == e}
        missing = [key for key in found if key not in self._known]
        self.unread = {}
        for key, body in self._get_each(missing[:at_most]):
            if isinstance(body, ParallelizeError):
                self.unread[key] = body
            elif body is not None:
                self._known[key] = (found[key], self.decode(key, body))
        return [self._known[key][1] for key in found if key in self._known]

    def _get_each(
        self, keys: Sequence[str]
    ) -> Iterator[tuple[str, bytes | ParallelizeError | None]]:
        if self.patience_seconds is None:
            yield from get_each(self.store, keys)
        else:
            yield from try_each(self.store, keys, self.patience_seconds)
