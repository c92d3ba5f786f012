"""Compares what is asked for now with what the run has: jobs to add, and files to send."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from parallelize.context import Context
from parallelize.runs.inputs.input_files import (
    InputFiles,
    files_of_its_own,
    local_files,
    named_objects,
    remote_files,
)
from parallelize.runs.inputs.input_rules import rules_of
from parallelize.runs.inputs.local_inputs import (
    FoundInputs,
    Inputs,
    find_inputs,
    places,
    spooled_inputs,
)
from parallelize.runs.inputs.remote_inputs import is_remote
from parallelize.runs.jobs import source
from parallelize.runs.jobs.plan import FileVersions, JobPlan, make_job_plan
from parallelize.runs.jobs.source import Shape
from parallelize.runs.jobs.spec import FileRef, Grouped, Jobs, JobSpec, Listed
from parallelize.runs.manifest import KnownJobs
from parallelize.spool import Table
from parallelize_core.files import InputFile, files_of

PLAIN = Shape()


class Asked(NamedTuple):
    """What this machine knows: the local files (None if they are in S3), and listed jobs."""

    found: FoundInputs | None
    jobs: Jobs | None = None
    shape: Shape = PLAIN


class Shaped(NamedTuple):
    """The jobs to add, their files, and the files that belong to no job."""

    plan: JobPlan
    files: InputFiles
    ungrouped: tuple[str, ...] = ()
    moved: Collection[str] = ()
    """Files of the manifest that may not stay where it says they are."""


def read_asked(context: Context) -> Asked:
    """Read what this machine has; raise UsageError if anything is wrong with it."""
    shape = source.shape_of(context)
    if source.has_rows(context):
        rows = source.read_jobs(context)
        return Asked(rows.found, rows.jobs, shape)
    spec = context.settings.run.inputs
    if is_remote(spec, context.folder):
        return Asked(None, None, shape)
    root = None if spec.startswith("@") else next(iter(places(spec, context.folder)), None)
    # The bucket's name is not part of a key, so this needs no call to AWS.
    rules = rules_of(context, root)
    found = find_inputs(spec, context.folder, context.input_prefix, rules)
    return Asked(found, None, shape)


def compare(
    context: Context, asked: Asked, known: KnownJobs, *, shares: bool, read_all: bool = False
) -> Shaped:
    """Compare the jobs that are wanted with the `known` ones, if they are more than files.

    `shares` says whether the run shares inputs with others. With `read_all`, files that were never
    sent get their ETags, too.
    """
    manifest = _Manifest(known)
    remote = remote_files(context) if asked.found is None else None
    found = asked.found.inputs if asked.found else ()
    if asked.jobs is not None:
        grouped = Grouped(asked.jobs)
    else:
        files = remote.wanted if remote else found
        grouped = source.group(context, files, lambda: manifest.files)
    jobs = grouped.jobs
    if source.is_pack(context):
        jobs = Listed((), chain(manifest.packs(), jobs))
    if remote is None:
        mine = _without(found, set(grouped.ungrouped))
        compared = _compared(context, manifest, mine, shares=shares, read_all=read_all)
    else:
        compared = remote
    versions = FileVersions(compared.versions())
    for name, file in named_objects(context, source.s3_names(jobs)):
        versions.put(name, file)

    def version_of(key: str) -> InputFile:
        # A file that is in a pack stays there, also if it is no longer among the inputs.
        return versions.get(key) or manifest.files[key]

    plan = make_job_plan(jobs, version_of, known.again())
    may_move = compared.borrowed or compared.uploads
    moved = compared.moved(manifest.files) if may_move else Table()
    return Shaped(plan, compared, grouped.ungrouped, moved)


def _without(found: Inputs, apart: Collection[str]) -> Inputs:
    if not apart:
        return found
    mine = spooled_inputs()
    mine.extend(item for item in found if item.key not in apart)
    return mine


def _compared(
    context: Context,
    manifest: _Manifest,
    mine: Inputs,
    *,
    shares: bool,
    read_all: bool,
) -> InputFiles:
    """Compare local files with what was sent."""
    store, layout = context.store, context.layout
    if shares:
        return local_files(store, layout, mine, manifest.files.get, etags=read_all)
    named = {item.key for item in mine} if read_all else manifest.files if mine else ()
    return files_of_its_own(store, layout, mine, named)


@dataclass(frozen=True)
class _Manifest:
    """What the manifest has, read only if asked for."""

    known: KnownJobs

    @cached_property
    def files(self) -> FileVersions:
        """The files of all jobs, as they are known."""
        return FileVersions(file for entry in self.known for file in files_of(entry))

    def packs(self) -> Iterator[JobSpec]:
        """Return the existing packs: a file in one stays there."""
        for entry in self.known:
            refs = tuple(FileRef(file.key) for file in files_of(entry))
            yield JobSpec(entry.key, refs, entry.variables, entry.key)
