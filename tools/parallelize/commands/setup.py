"""`parallelize setup`: set up the account, once: bucket, roles, policies, alarms."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, conclude, confirm, say, show_plan
from parallelize.options import NOTHING, SWITCH, Common, DryRun, Json, Yes
from parallelize_core.errors import UsageError


def setup(
    *,
    email: Annotated[str | None, Parameter(help="E-mail address for alarms.")] = None,
    phone: Annotated[str | None, Parameter(help="Phone number for alarms by SMS.")] = None,
    set_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set", help="Another parameter of the stack: NAME=VALUE.", show_default=False
        ),
    ] = (),
    print_template: Annotated[bool, SWITCH, Parameter(help="Print the template.")] = False,
    outputs: Annotated[bool, SWITCH, Parameter(help="Print the stack's outputs.")] = False,
    delete: Annotated[bool, SWITCH, Parameter(help="Delete the stack.")] = False,
    force: Annotated[bool, SWITCH, Parameter(help="Delete even if queues hold messages.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Make or change what parallelize needs in the AWS account, as one CloudFormation stack."""
    from parallelize import stack
    from parallelize.context import open_context
    from parallelize.operations import setup as operation

    if print_template:
        answer(stack.template().rstrip())
        return
    if common.local:
        raise UsageError("the local cloud needs no stack", None, "parallelize run --local")
    context = open_context(common)
    there = operation.find_stack(context)
    sure = partial(confirm, yes=yes)
    if outputs:
        _show(operation.find_outputs(there), json=json)
        return
    if delete:
        operation.check_deletable(context, there, force=force)
        if dry_run:
            show_plan(operation.planned_deletion(there), json=json)
        else:
            operation.delete(context, there, sure)
        return
    given = operation.given_parameters(set_, Email=email, Phone=phone)
    if dry_run:
        show_plan(operation.planned(context, there, given), json=json)
    elif operation.deploy(context, there, given, sure):
        _show(operation.find_outputs(there), json=False)
    else:
        say("the stack is up to date")


def _show(outputs: Mapping[str, str], *, json: bool) -> None:
    lines = (f"{name:<16} {value}" for name, value in outputs.items())
    conclude((), lines, lambda: outputs, json=json or not sys.stdout.isatty())
