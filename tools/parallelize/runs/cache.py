"""Small objects of S3 that are looked at again and again, and read again only if they changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from parallelize.bulk import get_each
from parallelize_core.store import ObjectInfo, Store

Made = TypeVar("Made")


@dataclass
class Cache(Generic[Made]):
    """Objects that were read and decoded, until they change; `decode` gets the key, and what it is.

    It raises DecodeError for what cannot be read, or makes something of it.
    """

    store: Store
    decode: Callable[[str, bytes], Made]
    _known: dict[str, tuple[str, Made]] = field(default_factory=dict)

    def read(self, items: Iterable[ObjectInfo], at_most: int | None = None) -> list[Made]:
        """Return what the objects hold; one that is gone meanwhile is left out.

        With `at_most` only that many are read now; the others are left out until another time.
        """
        found = {item.key: item.etag for item in items}
        self._known = {k: (e, made) for k, (e, made) in self._known.items() if found.get(k) == e}
        missing = [key for key in found if key not in self._known]
        for key, body in get_each(self.store, missing[:at_most]):
            if body is not None:
                self._known[key] = (found[key], self.decode(key, body))
        return [self._known[key][1] for key in found if key in self._known]
