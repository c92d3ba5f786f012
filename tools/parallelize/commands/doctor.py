"""`parallelize doctor`: look for what would prevent a run on AWS, and say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer_json, confirm, say, show_plan
from parallelize.options import NOTHING, SWITCH, Common, Json, Yes
from parallelize_core.errors import UsageError


@Parameter(name="*")
@dataclass(frozen=True)
class Rehearsal:
    """Which part of AWS to try for real, and where to record it."""

    live: Annotated[
        bool, SWITCH, Parameter(help="Try real AWS calls, after asking; costs at most $0.001.")
    ] = False
    machine: Annotated[
        bool, SWITCH, Parameter(help="With --live: run one small machine instead; at most $0.01.")
    ] = False
    transcript: Annotated[
        Path | None, Parameter(help="With --live: write a record of the calls to this new file.")
    ] = None

    def check(self) -> None:
        """Raise UsageError for flags that mean nothing without --live."""
        if (self.machine or self.transcript) and not self.live:
            raise UsageError("--machine and --transcript need --live")


NO_REHEARSAL = Rehearsal()


def doctor(
    *,
    vcpus: Annotated[
        int | None,
        Parameter(name="--request-quota", help="Request a quota of N vCPUs for workers.market."),
    ] = None,
    dry_run: Annotated[
        bool, SWITCH, Parameter(help="With --request-quota or --live: say what would be done.")
    ] = False,
    rehearsal: Rehearsal = NO_REHEARSAL,
    yes: Yes = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Check credentials, region, clock, stack, image, quota, network, permissions, leftovers.

    With --local: check whether the local cloud runs, its image, what is left in
    it, and whether this machine has the GPUs and container tools the run needs.
    With --live: create resources in the account under a random name, use them,
    delete them, and say what is left.
    """
    from parallelize.context import open_context
    from parallelize.operations import doctor as operation
    from parallelize.operations.findings import line

    rehearsal.check()
    if rehearsal.live:
        from parallelize.operations import doctor_live

        with doctor_live.plan(common, machine=rehearsal.machine) as plan:
            if dry_run:
                show_plan(plan.words, json=json)
                return 0
            for words in plan.words:
                say(words)
            confirm("Go ahead?", yes=yes)
            findings = doctor_live.rehearse(plan, rehearsal.transcript)
    elif vcpus is not None:
        from parallelize.operations import quota_request

        context = open_context(common)
        request = quota_request.plan_request(context, vcpus)
        if dry_run:
            show_plan([f"would ask AWS {request.words} in {context.region}"], json=json)
            return 0
        say(f"asked AWS {request.words}: {quota_request.send(context, request)}")
        say("AWS answers within minutes to days; parallelize doctor shows the current quota")
        return 0
    else:
        findings = operation.diagnose(open_context(common), local=common.local)
        for finding in findings:
            say(line(finding))
    if json:
        answer_json(operation.as_json(findings))
    return operation.exit_code(findings)
