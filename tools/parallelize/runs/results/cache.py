"""Small S3 objects that are polled, and read again only when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from parallelize.bulk import AT_ONCE, get_each, try_each
from parallelize.together import Later, Together
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
        found, missing = self._look(items)
        for key, body in self._get_each(missing[:at_most]):
            self._take(found, key, body)
        return self._made(found)

    def begin(self, calls: Together, items: Iterable[ObjectInfo]) -> Later[list[Made]]:
        """Read what the objects hold as `read` does; if they are few, together with other calls."""
        items = list(items)
        found, missing = self._look(items)
        if len(missing) > AT_ONCE:
            return lambda: self.read(items)
        bodies = [(key, self._ask(calls, key)) for key in missing]

        def made() -> list[Made]:
            for key, body in bodies:
                self._take(found, key, body())
            return self._made(found)

        return made

    def _look(self, items: Iterable[ObjectInfo]) -> tuple[dict[str, str], list[str]]:
        """Forget what has changed; return the objects' ETags, and which have to be read."""
        found = {item.key: item.etag for item in items}
        self._known = {k: (e, made) for k, (e, made) in self._known.items() if found.get(k) == e}
        self.unread = {}
        return found, [key for key in found if key not in self._known]

    def _take(
        self, found: Mapping[str, str], key: str, body: bytes | ParallelizeError | None
    ) -> None:
        if isinstance(body, ParallelizeError):
            self.unread[key] = body
        elif body is not None:
            self._known[key] = (found[key], self.decode(key, body))

    def _made(self, found: Mapping[str, str]) -> list[Made]:
        return [self._known[key][1] for key in found if key in self._known]

    def _ask(self, calls: Together, key: str) -> Later[bytes | ParallelizeError | None]:
        if self.patience_seconds is None:
            return calls.get(key)
        return calls.attempt(key, self.patience_seconds)

    def _get_each(
        self, keys: Sequence[str]
    ) -> Iterator[tuple[str, bytes | ParallelizeError | None]]:
        if self.patience_seconds is None:
            yield from get_each(self.store, keys)
        else:
            yield from try_each(self.store, keys, self.patience_seconds)
