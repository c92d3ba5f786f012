"""The parameters of `parallelize setup`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, DryRun, Json, Yes


def setup(
    *,
    email: Annotated[str | None, Parameter(help="Who is told of alarms.")] = None,
    phone: Annotated[str | None, Parameter(help="A number for alarms by SMS.")] = None,
    set_: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="Another parameter: NAME=VALUE.", show_default=False),
    ] = (),
    print_template: Annotated[bool, SWITCH, Parameter(help="Print it, do nothing.")] = False,
    outputs: Annotated[bool, SWITCH, Parameter(help="Print what the stack made.")] = False,
    delete: Annotated[bool, SWITCH, Parameter(help="Take the stack away.")] = False,
    force: Annotated[bool, SWITCH, Parameter(help="Delete though queues hold messages.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Make or change what parallelize needs in the AWS account, as one CloudFormation stack."""
    from parallelize.operations import setup as command

    command.setup(
        email=email,
        phone=phone,
        set_=set_,
        print_template=print_template,
        outputs=outputs,
        delete=delete,
        force=force,
        dry_run=dry_run,
        yes=yes,
        json=json,
        common=common,
    )
