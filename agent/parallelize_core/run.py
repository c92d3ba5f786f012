"""The record of a run: what is executed, on what, within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from parallelize_core.container_image import Image
from parallelize_core.layout import Location, RunLayout
from parallelize_core.record import Contract, IsoTime, Record

if TYPE_CHECKING:
    from parallelize_core.contents import Contents
    from parallelize_core.template import Grammar

DEFAULT_OUTPUT_NAME = "{dir}/{stem}{suffix}"

CONTRACT = ConfigDict(frozen=True, extra="ignore")
"""Readers ignore unknown fields, so an older agent can serve a newer client's run."""

SERVED_JOBS = 1000
SERVED_GROWTH_BYTES = 1024**3
CHECKPOINT_SECONDS = 10 * 60
CHECKPOINT_BYTES = 5 * 1024**3

HALT = r"^([1-9][0-9]{0,17}|[0-9]{1,6}(\.[0-9]{1,9})?%)$"
"""What `Limits.halt` looks like."""


def version_of(*, extended: bool, shares_inputs: bool) -> int:
    """Return the version of the record of a run, see `Run`."""
    return 1 + extended + 2 * shares_inputs


class Environment(Contract):
    """The files that every job sees: one zip at `key`, or those of the list at `list_key`.

    `identity` is the SHA-256 of the zip, or its ETag in S3, or the SHA-256 of the list. Runs share
    the contents of listed files, below `shared` (see `contents`). Agents of former versions require
    a key, and so cannot read the record of a run with a list.
    """

    bucket: str
    key: str | None
    identity: str
    prefix: str = ""
    list_key: str | None = None
    shared: str = ""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.key is None) == (self.list_key is None):
            raise ValueError("an environment is a zip or a list of files")
        return self

    @property
    def contents(self) -> Contents:
        """Where the contents of listed files are."""
        from parallelize_core.contents import Contents  # noqa: PLC0415 - only who sends or gets them

        return Contents(Location(self.bucket, self.shared))


class Setup(Contract):
    """The command that makes an environment ready on a worker, once, before the first job sees it.

    The command is started in the environment's folder, and may write there.
    """

    command: tuple[str, ...] = Field(min_length=1)
    timeout_seconds: float = Field(default=30 * 60, gt=0)


class Dependencies(Contract):
    """Packages that a worker installs into the environment, once, before the first job sees it.

    `lock` is a file in the environment's folder, which names every package with its version.
    `python` says which versions of Python uv may take, as in ">=3.11"; empty for any.
    """

    installer: Literal["uv", "micromamba", "pixi"]
    lock: str = Field(min_length=1)
    python: str = ""
    timeout_seconds: float = Field(default=30 * 60, gt=0)


class Serve(Contract):
    """The command is started once for many jobs, and reads each from its stdin.

    It is restarted after `jobs` of them, or when it uses `growth_bytes` more than after the first.
    """

    jobs: int = Field(default=SERVED_JOBS, ge=1)
    growth_bytes: int = Field(default=SERVED_GROWTH_BYTES, gt=0)


class Checkpointing(Contract):
    """How often a job's checkpoint folder is stored, and its maximum size."""

    every_seconds: float = Field(default=CHECKPOINT_SECONDS, gt=0)
    limit_bytes: int = Field(default=CHECKPOINT_BYTES, gt=0)


class Then(Contract):
    """The merge: a last job over the results of all others, once each of these has one.

    With `partial`, it is due even if some have failed, over the results of the others. `template`
    says that its command has placeholders.
    """

    command: tuple[str, ...] = Field(min_length=1)
    template: bool = False
    partial: bool = False


class Limits(Contract):
    """What one job may use, and how often it is tried. Times in seconds, memory in bytes.

    `halt` is for the run as a whole: after this many failed jobs, a number or a share of all such
    as "5%", it is paused. `halt_if_silent` pauses it when its first files all succeed without any
    output and nobody has said that this is fine. A job has `gpus` whole devices; with a `gpu_share`
    above 1, that many jobs share a device.
    """

    timeout_seconds: float | None = Field(default=None, gt=0)
    grace_seconds: float = Field(default=10, ge=0)
    max_attempts: int = Field(default=3, ge=1)
    require_output: bool = False
    halt_if_silent: bool = False
    memory_bytes: int | None = Field(default=None, gt=0)
    gpus: int = Field(default=0, ge=0)
    gpu_share: int = Field(default=1, ge=1)
    halt: str | None = Field(default=None, pattern=HALT)


class OutputNaming(Contract):
    """Which files are outputs, how their keys are made, and what happens when keys clash.

    `collect` are globs relative to the scratch folder: matching files are outputs even if the
    command does not print them.
    """

    name: str = DEFAULT_OUTPUT_NAME
    on_clash: Literal["fail", "suffix", "replace"] = "fail"
    collect: tuple[str, ...] = ()


class Origin(Record):
    """Whose run it is: the id of the project that made it, and the person, for people to read."""

    id: str
    owner: str = ""


class Run(Record):
    """Everything that an agent needs to know about the work; stored as run.json.

    Agents read it again every few seconds. While `paused` has a reason, they hand their work back
    and leave. `created_at` and `resumed_at` (empty: never) are ISO 8601 in UTC. `forgiven` is how
    many failed jobs there were when it was last resumed: those do not count for `Limits.halt`;
    `forgiven_silent` is the same for jobs that succeeded without an output. With `template`, the
    command has placeholders for the input (see `template`), which otherwise is its last argument.
    `columns` names the variables and files that jobs have. Version 2 marks runs that agents of
    former versions would process wrongly, so they must not read them: jobs of more than one file,
    commands with placeholders of jobs, `serve` (a warm command), `image` and `then`. Versions 3 and
    4 are versions 1 and 2 with uploaded inputs that runs share, which former agents would look for
    under other names. `origin` is the id of the project that made it, `owner` says who did so; both
    are empty in runs of former versions. `recipe` is a digest of everything that is the same for
    each input: command, environment, naming of outputs. It is part of every result's content key,
    and empty in runs of former versions. With `renewed`, results of an earlier recipe may exist.
    """

    v: Literal[1, 2, 3, 4] = 1  # type: ignore[assignment]
    name: str
    command: tuple[str, ...] = Field(min_length=1)
    template: bool = False
    columns: tuple[str, ...] = ()
    environment: Environment | None = None
    image: Image | None = None
    dependencies: Dependencies | None = None
    setup: Setup | None = None
    input: Location
    output: Location
    naming: OutputNaming = Field(default_factory=OutputNaming)
    serve: Serve | None = None
    then: Then | None = None
    limits: Limits = Field(default_factory=Limits)
    checkpoints: Checkpointing = Field(default_factory=Checkpointing)
    created_at: IsoTime
    paused: str = ""
    forgiven: int = Field(default=0, ge=0)
    forgiven_silent: int = Field(default=0, ge=0)
    resumed_at: IsoTime = ""
    origin: str = ""
    owner: str = ""
    recipe: str = ""
    renewed: bool = False

    def encode(self) -> bytes:
        """Return the content of run.json, formatted for people, too."""
        return self.model_dump_json(indent=2).encode()

    @property
    def extended(self) -> bool:
        """Whether jobs may be more than one file, or the command has placeholders of jobs."""
        return self.v in (2, 4)

    @property
    def shares_inputs(self) -> bool:
        """Whether uploaded inputs are among those that runs share."""
        return self.v > 2

    @property
    def environment_identity(self) -> str:
        """What surrounds a command: the environment's identity, and the image's digest.

        With another one, outputs may differ. Empty if there is neither.
        """
        parts = (self.environment and self.environment.identity, self.image and self.image.digest)
        return "+".join(part for part in parts if part)

    @property
    def grammar(self) -> Grammar:
        """The placeholders that its command may have."""
        from parallelize_core.template import Grammar  # noqa: PLC0415 - only who fills them in

        return Grammar(self.columns, self.extended)

    def merging(self) -> Run:
        """Return the run as its merge sees it: with the merge's own, ordinary command."""
        assert self.then  # noqa: S101 - a merge was put on the queue
        then = self.then
        update = {"command": then.command, "template": then.template, "serve": None, "columns": ()}
        return self.model_copy(update=update)

    def layout(self, base: Location) -> RunLayout:
        """Return the keys of this run below `base`."""
        return RunLayout(base, self.name)
