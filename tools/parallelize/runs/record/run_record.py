"""run.json and the environment that it names: made from the settings, sent when they change."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parallelize.console import escape
from parallelize.context import Context
from parallelize.runs.environment.command_check import (
    Packed,
    architectures,
    by_python,
    check_command,
    has_program,
    needs_environment,
    split_command,
    this_architecture,
    without_uv,
)
from parallelize.runs.environment.locking import is_installed
from parallelize.runs.environment.packing import Packing, packed
from parallelize.runs.environment.placeholders import program_of, shell_command, split_template
from parallelize.runs.environment.recipe import Recipe, programs_beside, publish_recipe, recipe_of
from parallelize.runs.environment.stored_once import environment_of, listed, send_environment
from parallelize.runs.inputs.input_files import remote_location
from parallelize.runs.inputs.remote_inputs import is_remote
from parallelize.runs.jobs.source import Shape, has_rows, shape_of
from parallelize.runs.record.ownership import (
    FoundRun,
    changed_meanwhile,
    check_origin,
    check_same,
    find,
)
from parallelize.setting_tables import ARCHITECTURES, OutputTable, RunTable, WorkersTable
from parallelize.together import Together
from parallelize.transfers import sha256_of
from parallelize_core.clock import utc_now
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location, RunLayout, shared_inputs
from parallelize_core.run import (
    Checkpointing,
    Environment,
    Limits,
    Origin,
    OutputNaming,
    Run,
    Serve,
    Setup,
    Then,
    version_of,
)
from parallelize_core.store import IF_ABSENT, Condition, Store
from parallelize_core.template import Grammar

if TYPE_CHECKING:
    from parallelize.runs.environment.container import Chosen

Words = tuple[str, ...]


class Draft(NamedTuple):
    """The run as the settings describe it now, and the zip that it needs, if any."""

    run: Run
    archive: Path | None
    recipe: Recipe
    image_archive: Path | None = None
    """The image, if it is in files."""
    numbered: bool = False
    """Whether the command has a placeholder for the job's number."""


@contextmanager
def drafted(
    context: Context, *, keep_lock: bool = True, shape: Shape | None = None
) -> Iterator[Draft]:
    """Make the zip, check the command in it, and build the record; nothing is sent.

    Raises UsageError for anything wrong with them. The zip is deleted at the end; with `keep_lock`,
    a new lock of the environment's dependencies stays beside their list. `shape` is that of the
    jobs, if the settings do not give it.
    """
    settings = context.settings.run
    shape = shape or shape_of(context)
    command, grammar = command_words(settings, shape.columns)
    setup = split_command(settings.setup) if settings.setup else None
    then = then_of(settings)
    with (
        tempfile.TemporaryDirectory(prefix="parallelize-") as folder,
        packed(context, command, Path(folder), keep=keep_lock) as packing,
    ):
        if packing and packing.by_uv:
            command = without_uv(command)
        command = _checked(context, command, setup, packing)
        then = _checked_then(context, then, setup, packing)
        chosen = _image_for(context, Path(folder))
        run = _record(context, command, setup, packing)
        archive = packing.archive if packing else None
        knows_jobs = grammar is not None and grammar.extended
        extended = not shape.plain or knows_jobs or settings.serve or then or chosen
        update = {
            "v": version_of(
                extended=bool(extended), shares_inputs=run.input == shared_inputs(context.base)
            ),
            "template": grammar is not None,
            "columns": shape.columns,
            "image": chosen.image if chosen else None,
            "then": then,
        }
        has_number = grammar is not None and grammar.needs_number(command)
        run = run.model_copy(update=update)
        recipe = recipe_of(run, archive, programs_beside(context))
        run = run.model_copy(update={"recipe": recipe.digest})
        image_archive = chosen.archive if chosen else None
        yield Draft(run, archive, recipe, image_archive, has_number)


def _image_for(context: Context, folder: Path) -> Chosen | None:
    run = context.settings.run
    if not (run.image or run.image_secret or run.network):
        return None
    from parallelize.runs.environment.container import choose_image  # noqa: PLC0415 - few need it

    return choose_image(context, folder)


def command_words(settings: RunTable, columns: Sequence[str] = ()) -> tuple[Words, Grammar | None]:
    """Return the command that workers start, and its places for the job, if any.

    Raises UsageError for a command that they could not start.
    """
    text = settings.command or ""
    if settings.shell:
        return shell_command(text), None
    words, template = split_command(text), split_template(text, columns)
    if template and settings.serve:
        raise UsageError(
            "run.command has a placeholder, but run.serve is set",
            "a command that serves many jobs reads each of them from its stdin",
            "take the placeholder out of run.command",
        )
    return (template.words, template.grammar) if template else (words, None)


def then_of(settings: RunTable) -> Then | None:
    """Return the merge that the settings name; UsageError if its command cannot be started."""
    if settings.then is None:
        return None
    command, grammar = command_words(
        settings.model_copy(update={"command": settings.then, "serve": False})
    )
    return Then(command=command, template=grammar is not None, partial=settings.then_partial)


def publish(
    store: Store, context: Context, draft: Draft,
    found: FoundRun | None = None, beside: Together | None = None,
) -> bool:  # fmt: skip
    """Send the environment and run.json, in this order, if they are new; return whether they were.

    `found` is what there was a moment ago. Calls `beside` these may be made at the same time.
    Raises ServiceError if somebody else writes run.json at the same time.
    """
    found, layout = found or find(store, context.layout), context.layout
    check_origin(context, found)
    wanted = _wanted(context, draft, found)
    if wanted == found.run:
        return False
    _send(beside or Together(store), layout, draft, wanted, found.run)
    # However long ago it was read: if anybody has written since, nothing is overwritten.
    condition = Condition(etag=found.read[1]) if found.read else IF_ABSENT
    if store.put(layout.run_json, wanted.encode(), condition):
        return True
    before, found = found, find(store, layout)
    if found.run == wanted:
        return True  # our own write, whose answer was lost
    check_origin(context, found)
    if before.read or not found.run:
        raise changed_meanwhile(context.run)
    check_still(context, draft, None, found.run)
    return False


def check_still(context: Context, draft: Draft, before: Run | None, there: Run | None) -> None:
    """Raise ServiceError if a plan does not fit the record that the run has by now.

    `before` is the record with which it was made. A run that was new may have got the same one.
    Another is not replaced: its places and its jobs' columns were compared with none.
    """
    if before is not None:
        check_same(before, there)
    elif is_renewal(context, draft, there):
        raise changed_meanwhile(context.run)


def _wanted(context: Context, draft: Draft, found: FoundRun) -> Run:
    """Return what run.json should be."""
    if found.run is not None:
        return _kept(context, draft, found.run)
    origin = found.origin or Origin(id="")
    return draft.run.model_copy(update={"origin": origin.id, "owner": origin.owner})


def _send(calls: Together, layout: RunLayout, draft: Draft, wanted: Run, there: Run | None) -> None:
    """Send what run.json will name."""
    waiting = [publish_recipe(calls, layout, draft.recipe)]
    if draft.archive and wanted.environment:
        before = there.environment if there else None
        waiting.append(send_environment(calls, draft.archive, wanted.environment, before))
    if draft.image_archive and wanted.image and calls.store.head(wanted.image.key) is None:
        with draft.image_archive.open("rb") as file:
            calls.store.put_file(wanted.image.key, file)
    for wait in waiting:
        wait()


def is_renewal(context: Context, draft: Draft, there: Run | None) -> bool:
    """Whether the run exists, and its record would change."""
    return there is not None and _kept(context, draft, there) != there


def _kept(context: Context, draft: Draft, there: Run) -> Run:
    """Return the wanted run, with what has happened to it since it was first prepared."""
    lived = (
        "created_at", "paused", "forgiven", "forgiven_silent", "resumed_at", "origin", "owner",
    )  # fmt: skip
    kept = {name: getattr(there, name) for name in lived}
    wanted = with_inputs_of(context.layout, draft.run, there)
    extended = wanted.extended or there.extended
    kept["v"] = version_of(extended=extended, shares_inputs=wanted.shares_inputs)
    kept["input"] = wanted.input
    same = (there.recipe, there.then) == (draft.run.recipe, draft.run.then)
    kept["renewed"] = there.renewed or not same
    same_files = bool(there.recipe) and there.recipe == draft.run.recipe
    if same_files and _is_zip(there.environment) and not _is_zip(draft.run.environment):
        # The same files, as a former version sent them: their readers can go on.
        kept["environment"] = there.environment
    return draft.run.model_copy(update=kept)


def _is_zip(environment: Environment | None) -> bool:
    return environment is not None and environment.key is not None


def with_inputs_of(layout: RunLayout, wanted: Run, there: Run | None) -> Run:
    """Keep the run's inputs in a folder of its own, if an earlier version started it that way."""
    if there is None or not wanted.shares_inputs or there.input != layout.input:
        return wanted
    v = version_of(extended=wanted.extended, shares_inputs=False)
    return wanted.model_copy(update={"input": there.input, "v": v})


def check_same_places(wanted: Run, there: Run | None) -> None:
    """Raise UsageError if the run's inputs or outputs would move: its records name those places."""
    for name in ("input", "output"):
        if there is not None and getattr(there, name) != getattr(wanted, name):
            raise UsageError(
                f'the {name}s of run "{there.name}" are in {escape(getattr(there, name).uri)}',
                f"now they would be in {escape(getattr(wanted, name).uri)}",
                "give the other run another name: --run NAME",
            )


def _checked_then(
    context: Context, then: Then | None, setup: Words | None, packing: Packing | None
) -> Then | None:
    if then is None:
        return None
    command = without_uv(then.command) if packing and packing.by_uv else then.command
    command = _checked(context, command, setup, packing, "run.then")
    return then.model_copy(update={"command": command})


def _checked(
    context: Context,
    command: Words,
    setup: Words | None,
    packing: Packing | None,
    setting: str = "run.command",
) -> Words:
    """Return a command as workers start it; raise UsageError if they could not."""
    settings = context.settings
    text = settings.value(setting) or ""
    program = program_of(text) if settings.run.shell else None
    judged = (program,) if program else command
    if packing is None:
        _check_bare(judged, setup)
        return command
    machines = _architectures(settings.workers)
    if context.elsewhere:
        machines.add(this_architecture())
    with zipfile.ZipFile(packing.archive) as opened:
        packed_so = Packed(
            opened, settings.run.env or "", settings.run.env_prefix, packing.own,
            # The contents of an image are not known here.
            not (context.has_own_programs or settings.run.image),
        )  # fmt: skip
        if setup:
            check_command(setup, packed_so, machines, "run.setup")
        # The set-up may make what is missing; the worker checks it.
        made = setup or (packing.locked and is_installed(judged[0]))
        if not made or has_program(judged, packed_so):
            check_command(judged, packed_so, machines, setting)
        return by_python(command, packed_so) if packing.by_uv else command


def _architectures(workers: WorkersTable) -> set[str]:
    """Return the processors that workers may have; only EC2 knows what types fit requirements."""
    if not (workers.vcpus or workers.memory or workers.accelerators):
        return architectures(workers.types)
    names = {"x86_64": "x86-64", "arm64": "aarch64"}
    return {names[one] for one in ARCHITECTURES[workers.architecture]}


def _check_bare(command: Words, setup: Words | None) -> None:
    """Raise UsageError if there is no environment and the command needs one."""
    if setup:
        raise UsageError(
            "run.setup is set, but there is no environment",
            "run.env is not set", 'run.env = "FOLDER" in parallelize.toml, or --env',
        )  # fmt: skip
    if needs_environment(command):
        raise UsageError(
            f'the command "{escape(command[0])}" is not in an environment',
            "run.env is not set", 'run.env = "FOLDER" in parallelize.toml, or --env',
        )  # fmt: skip


def _record(context: Context, command: Words, setup: Words | None, packing: Packing | None) -> Run:
    settings, layout = context.settings, context.layout
    limits = Limits(
        timeout_seconds=settings.run.timeout,
        max_attempts=settings.run.attempts,
        require_output=bool(settings.run.require_output),
        halt_if_silent=settings.run.require_output is None,
        memory_bytes=settings.run.memory_per_job,
        gpus=settings.run.gpus_per_job,
        gpu_share=settings.run.gpu_share,
        halt=settings.run.halt,
    )
    return Run(
        name=context.run,
        command=command,
        environment=_environment(context, packing.archive) if packing else None,
        dependencies=packing.dependencies(settings.run.setup_timeout) if packing else None,
        setup=Setup(command=setup, timeout_seconds=settings.run.setup_timeout) if setup else None,
        input=_input_location(context),
        output=_location(settings.output.to, context) if settings.output.to else layout.output,
        naming=_naming(settings.output),
        serve=_serve(settings.run),
        limits=limits,
        checkpoints=_checkpoints(settings.run),
        created_at=utc_now(),
    )


def _serve(table: RunTable) -> Serve | None:
    return Serve(jobs=table.serve_jobs, growth_bytes=table.serve_growth) if table.serve else None


def _checkpoints(table: RunTable) -> Checkpointing:
    return Checkpointing(every_seconds=table.checkpoint_every, limit_bytes=table.checkpoint_limit)


def _naming(table: OutputTable) -> OutputNaming:
    return OutputNaming(name=table.name, on_clash=table.on_clash, collect=table.collect)


def _environment(context: Context, archive: Path) -> Environment:
    prefix = context.settings.run.env_prefix
    if files := listed(archive):
        return environment_of(context.layout, files, prefix)
    identity = sha256_of(archive)
    key = context.layout.environment(identity)
    return Environment(bucket=context.bucket, key=key, identity=identity, prefix=prefix)


def _input_location(context: Context) -> Location:
    if not has_rows(context) and is_remote(context.settings.run.inputs, context.folder):
        return remote_location(context)
    return shared_inputs(context.base)


def _location(uri: str, context: Context) -> Location:
    """Parse an S3 location; in it, the bucket "auto" is the run's own."""
    location = Location.parse(uri)
    return location if location.bucket != "auto" else Location(context.bucket, location.prefix)
