"""The command line: the list of commands, and the one place where errors are printed.

A command is a function in a module of its own in `commands`: its parameters, its help, one
operation that it calls, and what is printed of the outcome. To add one, add a line to COMMANDS, two
to `examples`, and the function. It

- takes its own parameters, then keyword-only flags; `common: Common = NOTHING` gives it --config,
  --run, --bucket, --region and --profile, and `Json`, `DryRun`, `Yes` of `options` the others,
- imports its operation only when it is called, so that help and completion are quick,
- calls `context.open_context(common, {"dotted.setting": flag})`, and with that a function of
  `operations`, which returns values and prints nothing,
- prints its answer with `console.answer`, everything else with `console.say`,
- returns an exit code, or None for 0.

Every error is raised as one of the classes of `parallelize_core.errors`; calls to AWS are wrapped
in `aws_errors.translated`. A group of commands is a cyclopts App in a module, named like a
function: "module:app". The docstring of a command's function is its help.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from parallelize.choice import apply_choice
from parallelize.console import WIDTH, answer, show_error
from parallelize.examples import epilogue
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.help import DefaultFormatter, HelpPanel
    from rich.console import Console, ConsoleOptions

INTERRUPTED = 130

GARBAGE = 200_000
"""New objects after which the garbage collector looks for cycles among them.

At its usual 700 it would visit all imported modules again and again, for a third of the time of a
command that reads a million records; a command makes few cycles. Imports make 100,000 objects.
"""

DESCRIPTORS = 1024
"""Files and connections that a command may have open at a time: the usual limit on Linux."""

WHAT_IT_IS = "Run one command over very many files on machines that come and go."

WORK = "The work"
WATCHING = "Watching"
FIXING = "Fixing"
MACHINES = "Machines"
SET_UP = "Set-up"


class Command(NamedTuple):
    """A command: its name, where its function is, its group, and its line in the help."""

    name: str
    target: str
    group: str
    help: str


COMMANDS = (
    Command("run", "run:run", WORK, "Do it all: prep, enqueue, launch, wait, download."),
    Command("prep", "prep:prep", WORK, "Upload inputs and environment, list the jobs."),
    Command("enqueue", "enqueue:enqueue", WORK, "Put the jobs on the queue."),
    Command("estimate", "estimate:estimate", WORK, "Run a sample, forecast time and cost."),
    Command("download", "download:download", WORK, "Fetch the outputs into a folder."),
    Command("runs", "runs:runs", WATCHING, "List the runs in the bucket."),
    Command("status", "status:status", WATCHING, "Show how the run is doing."),
    Command("failures", "failures:failures", WATCHING, "List the files that failed, and why."),
    Command("logs", "logs:logs", WATCHING, "Show every attempt at a file."),
    Command("explain", "explain:explain", WATCHING, "Show what changed since a file was finished."),
    Command("report", "report:report", WATCHING, "Write an HTML report on the run."),
    Command("dashboard", "dashboard:dashboard", WATCHING, "Show the run in a browser, live."),
    Command("retry", "retry:retry", FIXING, "Send failed jobs again."),
    Command("repro", "repro:repro", FIXING, "Process one file of the run again, here."),
    Command("check", "check:check", FIXING, "Process one file here, as a worker would."),
    Command("launch", "launch:launch", MACHINES, "Start workers for the run."),
    Command("scale", "scale:scale", MACHINES, "Scale the run to N workers."),
    Command("stop", "stop:stop", MACHINES, "Drain: let workers finish, and leave."),
    Command("kill", "kill:kill", MACHINES, "Terminate the run's machines now."),
    Command("clean", "clean:clean", MACHINES, "Delete the run's queues and objects."),
    Command("init", "init:init", SET_UP, "Create a project folder."),
    Command("use", "use:use", SET_UP, "Choose the cloud: local or aws."),
    Command("local", "local:app", SET_UP, "Start, stop and inspect the local cloud."),
    Command("doctor", "doctor:doctor", SET_UP, "Check what a run needs, and how to fix it."),
    Command("setup", "setup:setup", SET_UP, "Set up AWS: one CloudFormation stack."),
    Command("image", "image:app", SET_UP, "Build the workers' machine image."),
    Command("config", "config:app", SET_UP, "Show the settings and their sources."),
    Command("completion", "", SET_UP, "Print a shell completion script."),
    Command("help", "exit_codes:app", SET_UP, "Explain a command, or exit-codes."),
)


def overview() -> str:
    """Return the help for all commands, by group, as COMMANDS has them.

    It is put together here because the library that parses command lines takes longer to import
    than anybody wants to wait for this page.
    """
    lines = ["Usage: parallelize COMMAND [OPTIONS]", "", WHAT_IT_IS]
    for group, commands in groupby(COMMANDS, lambda command: command.group):
        lines += ["", f"{group}:", *(f"  {c.name:<10} {c.help}" for c in commands)]
    return "\n".join(
        [*lines, "", "parallelize COMMAND --help explains a command; --version, --help."]
    )


class HelpFormatter:
    """Prints help as cyclopts does, but without frames, and at most WIDTH columns wide.

    Only this imports rich, which takes longer than many a command has to do.
    """

    @cached_property
    def _formatter(self) -> DefaultFormatter:
        # ruff: noqa: PLC0415 - see above, and overview
        from cyclopts.help import DefaultFormatter, PanelSpec
        from rich import box

        return DefaultFormatter(panel_spec=PanelSpec(box=box.SIMPLE, padding=0))

    def render_usage(self, console: Console, _: ConsoleOptions, usage: Any) -> None:
        """Print the first line, and make all that follow as narrow."""
        console.width = min(WIDTH, console.width)
        self._formatter.render_usage(console, console.options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, text: Any) -> None:
        """Print what a command does."""
        self._formatter.render_description(console, options, text)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a group of parameters or commands."""
        self._formatter(console, options, panel)


def make_app() -> App:
    """Build the parser of the command line without importing any command."""
    from cyclopts import App, Parameter

    app = App(
        name="parallelize",
        help=WHAT_IT_IS,
        version=_version,
        help_format="plaintext",
        help_formatter=HelpFormatter(),
        default_parameter=Parameter(negative_iterable=()),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for command in COMMANDS:
        target = f"parallelize.commands.{command.target}" if command.target else completion
        # A group of commands is an App with its own examples.
        examples = (
            {} if command.target.endswith(":app") else {"help_epilogue": epilogue(command.name)}
        )
        app.command(target, name=command.name, group=command.group, **examples)
    return app


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the script that lets a shell complete commands, flags, runs, files and machines.

    bash reads it from ~/.local/share/bash-completion/completions/parallelize,
    fish from ~/.config/fish/completions/parallelize.fish, zsh as _parallelize in
    a folder of its fpath.

    Args:
        shell: The shell that it is for.
    """
    answer(make_app().generate_completion(shell=shell).rstrip("\n"))


def _version() -> str:
    from parallelize_core.version import VERSION

    return f"parallelize {VERSION}"


def _check_platform() -> None:
    if sys.platform == "win32":
        raise UsageError(
            "parallelize does not run on Windows itself", "it runs on Linux, and on macOS",
            "install it in WSL: https://learn.microsoft.com/windows/wsl/install",
        )  # fmt: skip


def _allow_descriptors() -> None:
    """Allow as many connections as Linux does; a shell on macOS allows 256 descriptors."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < DESCRIPTORS:  # without a limit it is -1 on Linux
        most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run(tokens: Sequence[str]) -> int:
    """Execute a command line; return its exit code."""
    try:
        _check_platform()
        _allow_descriptors()
        if not tokens or tokens[0] in {"--help", "-h"}:
            answer(overview())
            return 0
        if tokens[0] == "help" and tokens[1:2] and tokens[1] in {c.name for c in COMMANDS}:
            tokens = [*tokens[1:], "--help"]
        return int(make_app()(tokens, exit_on_error=False, print_error=False) or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe; the rest must not be flushed at exit.
        sys.stdout = None
        return 0
    except Exception as error:
        from parallelize.explain import explain
        from parallelize.options import common_of

        told = explain(error, tokens, common_of(tokens).again())
        if told is None:
            raise
        show_error(told)
        return told.exit_code


def main() -> None:
    """Run the command line of this process."""
    # Python has no stream for a closed descriptor, and would print to the other one instead.
    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        # Not every terminal takes all of Unicode; other characters are spelled out.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(GARBAGE, 20, 20)
    if sys.argv[1:2] != ["use"]:  # which says if the shell has set the variable
        apply_choice(os.environ)
    try:
        sys.exit(run(sys.argv[1:]))
    finally:
        # The process ends: Python's last two collections need not visit what is left.
        gc.freeze()
