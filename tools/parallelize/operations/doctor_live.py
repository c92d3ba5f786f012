"""Runs the probes of `parallelize.live`, and checks what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from parallelize import settings
from parallelize.console import escape
from parallelize.context import Context, open_context
from parallelize.fleet.plan import plan_launch
from parallelize.live import machine as life
from parallelize.live.redaction import Redactor
from parallelize.live.rehearsal import KINDS, PROBES, Left, take_away, try_all
from parallelize.live.transcript import Header, Recorder, Transcript
from parallelize.live.trial import Kind, Probe, Seen, Trial, random_name
from parallelize.local.enter import local_defaults
from parallelize.operations import enqueue, launch, prep
from parallelize.operations.findings import Finding, Verdict, line
from parallelize.operations.run import unheard_interrupts
from parallelize.options import Common
from parallelize.runs.files.own_files import TRANSCRIPT_END, TRANSCRIPT_START
from parallelize_core.errors import UsageError
from parallelize_core.names import FIRST
from parallelize_core.version import VERSION

LOOK_AGAIN = "look for it in the console, by its name, and delete it"

WHAT = (
    "creates under the name {run}, in account {account}, {region}:",
    "  three queues, a bucket with some small objects, a launch template,",
    "  an Auto Scaling group without machines, a log group, an alarm",
    "uses and deletes them; one data point of a metric stays, because AWS never deletes those",
    "takes a few minutes, costs less than $0.001, and starts no machine",
)

MACHINE = (
    "starts one machine under the name {run}, in account {account}, {region}:",
    "  the smallest type, from a vendor's plain image, to process three small files,",
    "  with two queues, a launch template and some objects in {bucket}",
    "it powers off by itself, after 15 minutes at most; everything is deleted",
    "takes about ten minutes, and costs less than $0.01",
)


@dataclass(frozen=True)
class Rehearsal:
    """What to try, what may be left afterwards, and what it does and costs, in words."""

    context: Context
    probes: Mapping[str, Probe]
    kinds: Sequence[Kind]
    words: Sequence[str]


def _launch(context: Context) -> None:
    queues = context.queues
    request = launch.make_request(context, queues, 1)
    plan = plan_launch(launch.read_facts(context, queues, request), request)
    outcome = launch.start(plan, context)
    outcome.check()


WORK = life.Work(prep.prepare, enqueue.send_jobs, _launch)


@contextmanager
def plan(common: Common, *, machine: bool) -> Iterator[Rehearsal]:
    """Yield what to try: calls that start nothing, or the life of one machine."""
    if machine:
        with with_a_machine(common) as rehearsal:
            yield rehearsal
    else:
        yield free_of_machines(open_context(common))


def free_of_machines(context: Context) -> Rehearsal:
    """Return the rehearsal that starts no machine."""
    fresh = replace(context, run=random_name())
    return Rehearsal(fresh, PROBES, KINDS, in_words(WHAT, fresh))


@contextmanager
def with_a_machine(common: Common, work: life.Work = WORK) -> Iterator[Rehearsal]:
    """Yield the rehearsal of a machine's life, with a temporary project for it.

    Raises UsageError if there is no bucket: it needs what `setup` makes.
    """
    with TemporaryDirectory(prefix="parallelize-live-") as name:
        folder, run = Path(name), random_name()
        life.write_project(folder, run)
        context = _of_project(open_context(common), folder, run, local=common.local)
        if not context.elsewhere and not prep.has_bucket(context):
            raise UsageError(
                f"the bucket {context.bucket} does not exist",
                "the machine needs the role and bucket that setup creates", "parallelize setup",
            )  # fmt: skip
        probes = {life.CHECK: life.make_probe(work)}
        yield Rehearsal(context, probes, life.KINDS, in_words(MACHINE, context))


def _of_project(given: Context, folder: Path, run: str, *, local: bool) -> Context:
    """Return the context of a project in `folder`, with only the account's settings."""
    account = {f"aws.{name}": value for name, value in given.settings.aws.model_dump().items()}
    resolved = settings.resolve({**account, **life.settings_of(given)}, {}, folder)
    if local:
        resolved = resolved.with_defaults(local_defaults(1), "the local cloud")
    return Context(resolved, run, given.hint)


def in_words(lines: Sequence[str], context: Context) -> list[str]:
    """Say what a rehearsal does, and on which account."""
    given = {"account": context.account, "region": context.region, "run": context.run,
             "bucket": context.bucket}  # fmt: skip
    return [one.format(**given) for one in lines]


def rehearse(rehearsal: Rehearsal, path: Path | None) -> list[Finding]:
    """Run the probes, then delete everything; return the findings, the last one about what is left.

    Each finding is printed as soon as it is known. Ctrl-C ends the probes, but not the deletion;
    after that, KeyboardInterrupt is raised.
    """
    path = path or Path(f"{TRANSCRIPT_START}{rehearsal.context.run}{TRANSCRIPT_END}")
    tell = rehearsal.context.tell
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        tell(line(finding))

    with _create(path) as file:
        trial = listening(rehearsal.context, file)
        try:
            try_all(trial, rehearsal.probes, lambda seen: found(_finding(seen)))
        finally:
            with unheard_interrupts():
                tell("deleting everything that was created; ctrl-C does not stop this")
                for finding in finish(trial, rehearsal.kinds):
                    found(finding)
                tell(f"transcript, without account numbers and secrets: {escape(str(path))}")
    return findings


def listening(context: Context, file: TextIO) -> Trial:
    """Return a trial with its own session, which records all of its calls in `file`."""
    transcript = Transcript(file, header(context))
    recorder = Recorder(Redactor(context.run, hidden(context)), transcript.add)
    trial = Trial(replace(context), recorder)
    recorder.listen(trial.context.session)
    return trial


def finish(trial: Trial, kinds: Sequence[Kind]) -> list[Finding]:
    """Delete everything, and say what is left."""
    return judge_left(take_away(trial, trial.context.tell, kinds), kinds)


def _finding(seen: Seen) -> Finding:
    verdict = Verdict.GOOD if seen.good else Verdict.BAD
    return Finding(seen.check, verdict, escape(seen.text))


def _create(path: Path) -> TextIO:
    try:
        return path.open("x", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{escape(str(path))} cannot be created", error.strerror, "give a new --transcript FILE"
        ) from None


def header(context: Context) -> Header:
    """Return the first line of a transcript."""
    return Header(
        program=f"parallelize {VERSION}",
        region=context.region,
        aws=not (context.elsewhere or context.is_free),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        run=context.run,
    )


def hidden(context: Context) -> list[str]:
    """Return what the names of the run's resources may contain, and a transcript must not."""
    stack = context.names.stack
    own = [stack] if stack != FIRST else []
    return [context.account, context.bucket, context.base.prefix, *own]


def judge_left(left: Sequence[Left], kinds: Sequence[Kind]) -> list[Finding]:
    """Say what is left; if nothing is, name what was looked for."""
    if not left:
        looked = ", ".join(kind.name for kind in kinds)
        return [Finding("left", Verdict.GOOD, f"nothing (looked for: {looked})")]
    return [Finding("left", Verdict.BAD, *_of_left(one)) for one in left]


def _of_left(left: Left) -> tuple[str, str]:
    names = escape(", ".join(left.names))
    if left.trouble:
        return f"{left.kind} {names}: {escape(left.trouble)}".replace(" :", ":"), LOOK_AGAIN
    return f"{left.kind} {names}", LOOK_AGAIN
