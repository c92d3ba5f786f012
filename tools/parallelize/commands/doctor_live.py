"""`parallelize doctor --live`: ask, run the probes of `parallelize.live`, say what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from parallelize.commands.clean import confirm
from parallelize.commands.findings import Finding, Verdict, line
from parallelize.commands.run import unheard_interrupts
from parallelize.console import escape, say
from parallelize.context import Context
from parallelize.live.recording import Recorder
from parallelize.live.redaction import Redactor
from parallelize.live.rehearsal import KINDS, PROBES, Left, take_away, try_all
from parallelize.live.transcript import Header, Transcript
from parallelize.live.trial import Kind, Probe, Seen, Trial, random_name
from parallelize_core.errors import UsageError
from parallelize_core.version import VERSION

SETTINGS = {"workers.ami": "stock"}
"""A vendor's plain image is there for every account."""

LOOK_AGAIN = "look for it in the console, by its name, and delete it"

WHAT = (
    "makes under the name {run}, in account {account}, {region}:",
    "  three queues, a bucket with some small objects, a launch template,",
    "  an Auto Scaling group without machines, a log group, an alarm",
    "uses them, and deletes them; one point of a metric stays, nobody can delete it",
    "takes a few minutes, costs less than $0.001, and starts no machine",
)


@dataclass(frozen=True)
class Rehearsal:
    """What is to be tried, what may be there afterwards, and in words what it does and costs."""

    context: Context
    probes: Mapping[str, Probe]
    kinds: Sequence[Kind]
    words: Sequence[str]


def free_of_machines(context: Context) -> Rehearsal:
    """Return the rehearsal that starts no machine."""
    fresh = replace(context, run=random_name())
    return Rehearsal(fresh, PROBES, KINDS, in_words(WHAT, fresh))


def in_words(lines: Sequence[str], context: Context) -> list[str]:
    """Say what a rehearsal does, on which account."""
    given = {"account": context.account, "region": context.region, "run": context.run}
    return [one.format(**given) for one in lines]


def rehearse(rehearsal: Rehearsal, path: Path | None, *, yes: bool) -> list[Finding]:
    """Ask, try, and take everything away; return what was seen, and last what is left.

    Ctrl-C ends the probes, not the deletion: it goes on to its end, and then KeyboardInterrupt.
    """
    context = rehearsal.context
    path = path or Path(f"doctor-{context.run}.jsonl")
    for words in rehearsal.words:
        say(words)
    confirm("Do it?", yes=yes)
    findings: list[Finding] = []

    def tell(seen: Seen) -> None:
        verdict = Verdict.GOOD if seen.good else Verdict.BAD
        findings.append(Finding(seen.check, verdict, escape(seen.text)))
        say(line(findings[-1]))

    with _create(path) as file:
        transcript = Transcript(file, header(context))
        recorder = Recorder(Redactor(context.run, hidden(context)), transcript.add)
        # A session of its own: only what it asks is written down.
        trial = Trial(replace(context), recorder)
        recorder.listen(trial.context.session)
        try:
            try_all(trial, rehearsal.probes, tell)
        finally:
            with unheard_interrupts():
                say("deleting all that was made")
                left = take_away(trial, say, rehearsal.kinds)
                findings += judge_left(left, rehearsal.kinds)
                for finding in findings[-max(1, len(left)) :]:
                    say(line(finding))
                say(f"the transcript, without account numbers and secrets, is {escape(str(path))}")
    return findings


def _create(path: Path) -> TextIO:
    try:
        return path.open("x", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{escape(str(path))} cannot be made", error.strerror, "--transcript FILE, a new one"
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
    """Return what may stand in the name of a thing of the run, and is nobody's business."""
    return [context.account, context.bucket, context.base.prefix]


def judge_left(left: Sequence[Left], kinds: Sequence[Kind]) -> list[Finding]:
    """Say what is left after all; one sentence that names what was looked for if it is nothing."""
    if not left:
        looked = ", ".join(kind.name for kind in kinds)
        return [Finding("left", Verdict.GOOD, f"nothing (looked for: {looked})")]
    return [Finding("left", Verdict.BAD, *_of_left(one)) for one in left]


def _of_left(left: Left) -> tuple[str, str]:
    names = escape(", ".join(left.names))
    if left.trouble:
        return f"{left.kind} {names}: {escape(left.trouble)}".replace(" :", ":"), LOOK_AGAIN
    return f"{left.kind} {names}", LOOK_AGAIN
