"""Which outputs a folder can hold: names that stay inside it, and that its disk can tell apart."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parallelize.console import escape
from parallelize.runs.download_record import RECORD
from parallelize.runs.twins import folded, folders_of
from parallelize_core import keys
from parallelize_core.errors import UsageError
from parallelize_core.result import Output


@dataclass(frozen=True)
class Refusal:
    """An output that is not written, and why."""

    key: str
    why: str
    redo: str = ""
    """The input whose job has to be done again; empty if that would not help."""


def refusals(
    outputs: Iterable[Output], folder: Path, *, one_case: bool, one_form: bool = False
) -> list[Refusal]:
    """Say which outputs cannot be written below `folder`.

    `one_case` if the disk takes `a` and `A` for one name, `one_form` if it takes two spellings of
    an accented letter for one.
    """

    def fold(name: str) -> str:
        return folded(name, one_case=one_case, one_form=one_form)

    root = folder.resolve()
    taken: dict[str, str] = {}
    refused = []
    names = sorted({output.key for output in outputs})
    folders = {fold(parent) for name in names for parent in folders_of(name)}
    for name in names:
        twin = taken.setdefault(fold(name), name)
        if why := keys.refusal(name):
            refused.append(Refusal(name, why))
        elif fold(name) == RECORD:
            refused.append(Refusal(name, "the record of downloads has this name"))
        elif not (root / name).parent.resolve().is_relative_to(root):
            refused.append(Refusal(name, leads_out(folder)))
        elif twin != name:
            refused.append(Refusal(name, f"this disk cannot tell it from {escape(twin)}"))
        elif fold(name) in folders:
            refused.append(Refusal(name, "another output needs a folder of this name"))
    return refused


def leads_out(folder: Path) -> str:
    """Say why an output that would be written by way of a link is not."""
    return f"a link in {escape(str(folder))} leads out of it"


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
"""One letter, in one character and in two."""


def merges(folder: Path, here: str, there: str) -> bool:
    """Whether the disk takes two names for one; asked of the nearest folder."""
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix=f".parallelize-{here}", dir=existing) as probe:
            return Path(probe.name.replace(f"-{here}", f"-{there}")).exists()
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Return the error for a folder in which nothing can be written."""
    return UsageError(
        f"outputs cannot be written to {escape(str(folder))}", error.strerror, "give another folder"
    )
