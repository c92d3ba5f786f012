"""`parallelize doctor`: look for what would stand in the way of a run on AWS, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, confirm, say, say_plan
from parallelize.options import NOTHING, SWITCH, Common, Json, Yes
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from parallelize.context import Context
    from parallelize.operations.findings import Finding


def doctor(
    *,
    vcpus: Annotated[
        int | None,
        Parameter(
            name="--request-quota",
            help="Request a quota of N vCPUs for workers.market.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, SWITCH, Parameter(help="With --request-quota or --live: say what would be done.")
    ] = False,
    live: Annotated[
        bool, SWITCH, Parameter(help="Try real AWS calls; at most $0.001. Asks first.")
    ] = False,
    machine: Annotated[
        bool, SWITCH, Parameter(help="With --live: one small machine's life; at most $0.01.")
    ] = False,
    transcript: Annotated[
        Path | None, Parameter(help="With --live: the file that records its calls.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Check credentials, region, clock, stack, image, quota, network, permissions, leftovers.

    With --local: whether the local cloud runs, its image, and what is left in it.
    With --live: make things on the account under a random name, use them, delete
    them, and say what is left.
    """
    from parallelize.context import open_context
    from parallelize.operations import doctor as operation
    from parallelize.operations.findings import line

    if (machine or transcript) and not live:
        raise UsageError("--machine and --transcript go with --live")
    if live:
        findings = _rehearse(common, transcript, machine=machine, dry_run=dry_run, yes=yes)
        if dry_run:
            return 0
    elif vcpus is not None:
        _request_quota(open_context(common), vcpus, dry_run=dry_run)
        return 0
    else:
        findings = operation.diagnose(open_context(common), local=common.local)
        for finding in findings:
            say(line(finding))
    if json:
        answer_json(operation.as_json(findings))
    return operation.exit_code(findings)


def _rehearse(
    common: Common, transcript: Path | None, *, machine: bool, dry_run: bool, yes: bool
) -> list[Finding]:
    from parallelize.operations import doctor_live

    with doctor_live.plan(common, machine=machine) as rehearsal:
        for words in rehearsal.words:
            (say_plan if dry_run else say)(words)
        if dry_run:
            return []
        confirm("Do it?", yes=yes)
        return doctor_live.rehearse(rehearsal, transcript)


def _request_quota(context: Context, vcpus: int, *, dry_run: bool) -> None:
    from parallelize.operations import quota_request

    plan = quota_request.plan_request(context, vcpus)
    if dry_run:
        say_plan(f"would ask AWS {plan.words} in {context.region}")
        return
    say(f"asked AWS {plan.words}: {quota_request.send(context, plan)}")
    say("AWS answers within minutes to days; parallelize doctor shows the current quota")
