"""The flags that many commands share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import App, CycloptsError, Group, Parameter

from parallelize.choice import VARIABLE
from parallelize.completers import complete_run

COMMON = Group("Common options", sort_key=90)

SWITCH = Parameter(negative="", show_default=False)
"""A flag that is off by default."""

Json = Annotated[bool, SWITCH, Parameter(help="Print one JSON document on stdout.")]
DryRun = Annotated[bool, SWITCH, Parameter(help="Print what would be done, but change nothing.")]
Yes = Annotated[bool, SWITCH, Parameter(name=["--yes", "-y"], help="Do not ask for confirmation.")]
LaneName = Annotated[
    Literal["main", "large", "steady"],
    Parameter(name="--lane", help="Which lane's workers: main, large or steady."),
]
Force = Annotated[bool, SWITCH, Parameter(help="Override the safety checks.")]


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True)
class Common:
    """The options of every command that works on a run; None means not given."""

    config: Annotated[
        Path | None, Parameter(help="The parallelize.toml to use. [PARALLELIZE_CONFIG]")
    ] = None
    run: Annotated[
        str | None, Parameter(help="The run's name. [PARALLELIZE_RUN]", completer=complete_run)
    ] = None
    bucket: Annotated[str | None, Parameter(help="The run's bucket. [PARALLELIZE_BUCKET]")] = None
    stack: Annotated[
        str | None, Parameter(help="The stack that `setup` made. [PARALLELIZE_STACK]")
    ] = None
    region: Annotated[
        str | None, Parameter(help="The AWS region. [PARALLELIZE_REGION, AWS_REGION]")
    ] = None
    profile: Annotated[
        str | None, Parameter(help="The AWS profile. [PARALLELIZE_PROFILE, AWS_PROFILE]")
    ] = None
    local: Annotated[
        bool,
        SWITCH,
        Parameter(
            help="Use the local cloud instead of AWS. [PARALLELIZE_LOCAL]",
            env_var=VARIABLE,
            show_env_var=False,
        ),
    ] = False
    join: Annotated[bool, SWITCH, Parameter(help="Use a run that another folder or user made.")] = (
        False
    )

    def flags(self) -> dict[str, object]:
        """Return the settings that these flags stand for."""
        return {
            "run.name": self.run,
            "aws.bucket": self.bucket,
            "aws.stack": self.stack,
            "aws.region": self.region,
            "aws.profile": self.profile,
        }

    def again(self) -> str:
        """Return these flags as they were given, to append to a command for the user to type."""
        named = {"config": self.config, "run": self.run, "bucket": self.bucket,
                 "stack": self.stack, "region": self.region, "profile": self.profile}  # fmt: skip
        words = (f" --{n} {shlex.quote(str(given))}" for n, given in named.items() if given)
        return "".join(words) + (" --local" if self.local else "")


NOTHING = Common()


def common_of(tokens: Sequence[str]) -> Common:
    """Return the common flags among the words of a command line; none if one of them is wrong."""
    app = App(help_flags=(), version_flags=())

    @app.default
    def take(*, common: Common = NOTHING) -> None:
        """Accept the common flags, and no others."""

    try:
        _, bound, *_ = app.parse_known_args(tokens)
    except CycloptsError:
        return NOTHING
    return cast("Common", bound.arguments.get("common", NOTHING))


@Parameter(name="*")
@dataclass(frozen=True)
class Work:
    """What to run on what; None means not given."""

    inputs: Annotated[
        str | None,
        Parameter(
            help="The inputs: a folder, a glob, @list.txt, @- (stdin), s3://bucket/prefix/, "
            "@rows.tsv (or .csv, .jsonl), lines:FILE, run:NAME [default: run.inputs]"
        ),
    ] = None
    grid: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="A job for each combination of values: --grid lr=0.1,0.01 seed=1..5 "
            "[default: run.grid]",
            consume_multiple=True,
            negative="",
        ),
    ] = None
    command: Annotated[
        str | None,
        Parameter(help='Command to run per file, such as "./job.sh --fast" [default: run.command]'),
    ] = None
    env: Annotated[
        str | None,
        Parameter(help="What the command needs: a folder, or a zip of one. [default: run.env]"),
    ] = None
    image: Annotated[
        str | None,
        Parameter(help="A container image to run it in: docker://HOST/NAME:TAG, oci:FOLDER"),
    ] = None

    def flags(self) -> dict[str, object]:
        """Return the settings that these flags stand for."""
        return {
            "run.inputs": self.inputs,
            "run.grid": self.grid,
            "run.command": self.command,
            "run.env": self.env,
            "run.image": self.image,
        }


NO_WORK = Work()


@Parameter(name="*")
@dataclass(frozen=True)
class Finished:
    """What to do with work that is already done; None means not given."""

    changed: Annotated[
        Literal["redo", "keep", "fail"] | None,
        Parameter(
            help="What to do with finished files that are out of date [default: run.changed]"
        ),
    ] = None
    no_reuse: Annotated[
        bool, SWITCH, Parameter(help="Run the command even if another run has the same outputs.")
    ] = False

    def flags(self) -> dict[str, object]:
        """Return the settings that these flags stand for."""
        return {"run.changed": self.changed, "run.reuse": False if self.no_reuse else None}


NOT_SAID = Finished()
