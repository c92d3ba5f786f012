"""The content key of a result: what was done to which input. Equal keys mean equal work.

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
from parallelize_core.run import Then

_FORM = 1
"""The version of what is hashed. With a new one, no older key is equal, and everything counts as
changed.
"""


class Executed(Protocol):
    """What is done to all jobs; see `run.Run`."""

    @property
    def recipe(self) -> str: ...  # noqa: D102
    @property
    def then(self) -> Then | None: ...  # noqa: D102


class AnyJob(Shaped, Protocol):
    """A job that may have a number, or be the merge; see `manifest.Entry`."""

    @property
    def number(self) -> int | None: ...  # noqa: D102
    @property
    def merge(self) -> bool: ...  # noqa: D102


def content_key(run: Executed, job: AnyJob) -> str:
    """Return the content key of a job; empty if it cannot be known.

    It is not known without a recipe, as in runs of former versions, and of a job that takes
    whatever version of a file there is.
    """
    files = () if job.merge else files_of(job)
    if not run.recipe or not all(file.etag for file in files):
        return ""
    # JSON keeps apart values that would be equal when just joined.
    content = json.dumps([
        _FORM, run.recipe, job.key, job.files is None,
        [(file.key, file.size, file.etag, file.column) for file in files],
        sorted(job.variables.items()), job.number, _merge(run, job),
    ])  # fmt: skip
    return hashlib.sha256(content.encode()).hexdigest()


def _merge(run: Executed, job: AnyJob) -> object:
    """Return what the merge is made from: its own command, and the list of all outputs."""
    if not job.merge:
        return None
    return [job.etag, run.then and (run.then.command, run.then.template)]
