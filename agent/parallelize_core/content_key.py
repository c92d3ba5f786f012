"""The content key of a result: what was done to which input. Equal keys mean equal work.

It is the SHA-256 of everything that decides what a pure command delivers: the recipe (a digest of
command, environment and naming of outputs, see `Run.recipe`), and of the job its name, the names,
sizes and contents of its files, its variables and its number. A content is represented by its
SHA-256, or by its ETag if only that is known, as for objects that somebody else has stored. The
worker computes the key from the run's record and the message that it executes, and checks what it
fetches against the SHA-256; a client computes it from the manifest and its current settings.

Former versions used the ETag of every file, so their results are compared by ETag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Protocol

from parallelize_core.files import InputFile, Shaped, files_of
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
    return _key(run, job, content_of)


def content_keys(run: Executed, job: AnyJob) -> tuple[str, ...]:
    """Return the keys of results that are up to date: this version's, and that of former ones."""
    keys = (content_key(run, job), _key(run, job, lambda file: file.etag))
    return tuple(dict.fromkeys(filter(None, keys)))


def content_of(file: InputFile) -> object:
    """Return what stands for a file's content: its SHA-256, or its ETag; empty if neither can."""
    return {"sha256": file.checksum} if file.checksum else file.etag


def _key(run: Executed, job: AnyJob, of: Callable[[InputFile], object]) -> str:
    files = () if job.merge else files_of(job)
    if not run.recipe or not all(map(of, files)):
        return ""
    # JSON keeps apart values that would be equal when just joined.
    content = json.dumps([
        _FORM, run.recipe, job.key, job.files is None,
        [(file.key, file.size, of(file), file.column) for file in files],
        sorted(job.variables.items()), job.number, _merge(run, job),
    ])  # fmt: skip
    return hashlib.sha256(content.encode()).hexdigest()


def _merge(run: Executed, job: AnyJob) -> object:
    """Return what the merge is made from: its own command, and the list of all outputs."""
    if not job.merge:
        return None
    return [job.etag, run.then and (run.then.command, run.then.template)]
