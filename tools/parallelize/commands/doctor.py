"""`parallelize doctor`: look for what would stand in the way of a run on AWS, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, confirm, say, say_plan
from parallelize.options import NOTHING, SWITCH, Common, Json, Yes
from parallelize_core.errors import UsageError


def doctor(
    *,
    vcpus: Annotated[
        int | None,
        Parameter(
            name="--request-quota",
            help="Ask AWS for N vCPUs in the market of the settings.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, SWITCH, Parameter(help="With --request-quota or --live: say what would be done.")
    ] = False,
    live: Annotated[
        bool, SWITCH, Parameter(help="Try what no emulator shows; at most $0.001. Asks first.")
    ] = False,
    machine: Annotated[
        bool, SWITCH, Parameter(help="With --live: one small machine's life; at most $0.01.")
    ] = False,
    transcript: Annotated[
        Path | None, Parameter(help="With --live: where its calls are written down.")
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
    from parallelize.operations import doctor_live, quota_request
    from parallelize.operations.findings import line

    if live:
        with doctor_live.plan(common, machine=machine) as rehearsal:
            for words in rehearsal.words:
                (say_plan if dry_run else say)(words)
            if dry_run:
                return 0
            confirm("Do it?", yes=yes)
            findings = doctor_live.rehearse(rehearsal, transcript)
    elif machine or transcript:
        raise UsageError("--machine and --transcript go with --live")
    elif vcpus is not None:
        context = open_context(common)
        request = quota_request.plan_request(context, vcpus)
        if dry_run:
            say_plan(f"would ask AWS {request.words} in {context.region}")
            return 0
        say(f"asked AWS {request.words}: {quota_request.send(context, request)}")
        say("it answers within minutes to days; parallelize doctor shows the quota that holds")
        return 0
    else:
        findings = operation.diagnose(open_context(common), local=common.local)
        for finding in findings:
            say(line(finding))
    if json:
        answer_json(operation.as_json(findings))
    return operation.exit_code(findings)
