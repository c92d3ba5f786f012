"""Names that differ in S3 and on Linux, but are the same elsewhere.

macOS and Windows take `A` and `a` for one name, macOS also an accented letter as one character or
as two; and no disk can have a file and a folder of the same name. Inputs with such names often have
outputs with such names; outputs are also checked while the run goes on, long before a download.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from parallelize.console import shown
from parallelize.spool import Hashes

_NAMED = 3


def folded(name: str, *, one_case: bool = True, one_form: bool = True) -> str:
    """Return the form that names have in common if a disk takes them for one."""
    if one_case:
        name = name.casefold()
    return unicodedata.normalize("NFC", name) if one_form else name


def folders_of(name: str) -> list[str]:
    """Return the folders that contain a name."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


class Twins(NamedTuple):
    """Names that cannot all be on one disk.

    `alike` are pairs that macOS and Windows take for one name; `both` are names that are also
    folders of others, which no disk can have.
    """

    alike: tuple[tuple[str, str], ...] = ()
    both: tuple[str, ...] = ()


NO_TWINS = Twins()


def find_twins(names: Iterable[str]) -> Twins:
    """Return which of the names cannot all be on one disk; they are gone through twice."""
    files, folders = Hashes(), Hashes()
    last = ""
    for name in names:
        files.add(folded(name))
        parent = name.rpartition("/")[0]
        if parent not in {"", last}:
            for folder in folders_of(name):
                folders.add(folded(folder))
            last = parent
    alike, both = files.repeated(), files.common(folders)
    return _compared(names, alike, both) if alike or both else NO_TWINS


def _compared(names: Iterable[str], alike: set[int], both: set[int]) -> Twins:
    """Compare the names with these hashes: equal ones are rarely anything but equal names."""
    first: dict[str, str] = {}
    folders: set[str] = set()
    pairs = []
    for name in names:
        fold = folded(name)
        if hash(fold) in alike or hash(fold) in both:
            twin = first.setdefault(fold, name)
            pairs += [(twin, name)] if twin != name else []
        if both:
            folds = map(folded, folders_of(name))
            folders.update(fold for fold in folds if hash(fold) in both)
    return Twins(tuple(pairs), tuple(name for fold, name in first.items() if fold in folders))


def twin_remarks(keys: Iterable[str]) -> list[str]:
    """Say which inputs, or their outputs, may have names that some or all disks take for one.

    The keys are gone through several times.
    """
    twins = find_twins(keys)
    remarks = []
    if twins.alike:
        remarks.append(
            f"on macOS and Windows these inputs have the same name: {_pairs(twins)}\n"
            "  to keep their outputs apart there, add {hash} to output.name"
        )
    if twins.both:
        remarks.append(
            f"both an input and a folder of inputs: {_named(twins.both)}\n"
            "  an output of that name could not be downloaded, because the folder takes its name"
        )
    elif stems := _stems_that_are_folders(keys):
        remarks.append(
            f"both an input and a folder of inputs but for the suffix: {_named(stems)}\n"
            "  an output without suffix could not be downloaded, because the folder takes its name"
        )
    return remarks


def told_twins(twins: Twins) -> list[str]:
    """Say which outputs cannot all be downloaded to one folder; nothing if all can."""
    told = []
    if twins.alike:
        told.append(f"on macOS and Windows these outputs have the same name: {_pairs(twins)}")
    if twins.both:
        told.append(
            f"both an output and a folder of outputs: {_named(twins.both)} (no disk holds both)"
        )
    return (
        [*told, "  to avoid this in the next run, change output.name in parallelize.toml"]
        if told
        else []
    )


def _stems_that_are_folders(keys: Iterable[str]) -> list[str]:
    """Return the keys that, without their suffix, are a folder of other keys."""
    parents = {parent for key in keys if (parent := key.rpartition("/")[0])}
    folders = {folded(folder) for parent in parents for folder in folders_of(f"{parent}/")}
    return [key for key in keys if folders and folded(_stem(key)) in folders]


def _stem(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(""))


def _pairs(twins: Twins) -> str:
    named = ", ".join(f"{shown(a, 30)} and {shown(b, 30)}" for a, b in twins.alike[:_NAMED])
    return f"{named}{_more(twins.alike)}"


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(shown(name, 30) for name in names[:_NAMED])}{_more(names)}"


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
