"""Names that are two in S3 and on Linux, and only one elsewhere.

macOS and Windows take `A` and `a` for one name, macOS also an accented letter in one character or
in two; and no disk has a file and a folder of one name. Where inputs are called so, outputs often
are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from parallelize.console import shown

_NAMED = 3


def folded(name: str, *, one_case: bool = True, one_form: bool = True) -> str:
    """Return what two names have in common that a disk takes for one."""
    if one_case:
        name = name.casefold()
    return unicodedata.normalize("NFC", name) if one_form else name


def folders_of(name: str) -> list[str]:
    """Return the folders that a name lies in."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def twin_remarks(keys: Iterable[str]) -> list[str]:
    """Say which inputs have names that other disks, or all, take for one."""
    first: dict[str, str] = {}
    alike = []
    for key in keys:
        twin = first.setdefault(folded(key), key)
        if twin != key:
            alike.append((twin, key))
    folders = {folded(folder) for key in first.values() for folder in folders_of(key)}
    both = [key for name, key in first.items() if name in folders]
    return [*_told_alike(alike), *_told_both(both)]


def _told_alike(pairs: list[tuple[str, str]]) -> Iterator[str]:
    if pairs:
        named = ", ".join(f"{shown(a, 30)} and {shown(b, 30)}" for a, b in pairs[:_NAMED])
        yield (
            f"on macOS and Windows these inputs have one name: {named}{_more(pairs)}\n"
            "  their outputs may be told apart there only with {hash} in output.name"
        )


def _told_both(keys: list[str]) -> Iterator[str]:
    if keys:
        named = ", ".join(shown(key, 30) for key in keys[:_NAMED])
        yield (
            f"an input, and a folder of others: {named}{_more(keys)}\n"
            "  an output of that name could not be downloaded: no disk has both of one name"
        )


def _more(found: list[tuple[str, str]] | list[str]) -> str:
    return f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
