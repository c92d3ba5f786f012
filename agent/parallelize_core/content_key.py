"""The content key of a result: what was done, to what, with what. Equal keys mean equal work.

It is the SHA-256 of everything that decides what a pure command delivers: the recipe (a digest of
command, environment and naming of outputs, see `Run.recipe`), and of the job its name, the names,
sizes and ETags of its files, its variables and its number. The worker computes it from the record
of the run and the message that it executes, a client from the manifest and the settings of now.
"""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

from parallelize_core.files import Shaped, files_of

_FORM = 1
"""Of what is hashed. With another one no older key is equal, and everything counts as changed."""


class Counted(Shaped, Protocol):
    """A job that may have a number; see `manifest.Entry`."""

    @property
    def number(self) -> int | None: ...  # noqa: D102


def content_key(recipe: str, job: Counted) -> str:
    """Return the content key of a job; empty if it cannot be known.

    It is not known without a recipe, as in runs of former versions, and of a job that takes
    whatever version of a file there is.
    """
    files = files_of(job)
    if not recipe or not all(file.etag for file in files):
        return ""
    # JSON, as it keeps apart what would be equal when only joined.
    content = json.dumps([
        _FORM, recipe, job.key, job.files is None,
        [(file.key, file.size, file.etag, file.column) for file in files],
        sorted(job.variables.items()), job.number,
    ])  # fmt: skip
    return hashlib.sha256(content.encode()).hexdigest()
