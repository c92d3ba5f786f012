"""`parallelize doctor --request-quota N`: ask AWS for more vCPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parallelize.console import say, say_plan
from parallelize.context import Context
from parallelize.fleet import gather, quotas
from parallelize.fleet.clients import FactClients
from parallelize.fleet.facts import Market
from parallelize.operations.machine_types import machine_types
from parallelize_core.aws_errors import translated
from parallelize_core.errors import NothingToDoError, UsageError

if TYPE_CHECKING:
    from types_boto3_service_quotas import ServiceQuotasClient


@dataclass(frozen=True)
class QuotaRequest:
    """A quota, what it is now (None if that cannot be read), and what it shall be, in vCPUs."""

    code: str
    market: str
    now: int | None
    wanted: int


def request_quota(context: Context, vcpus: int, *, dry_run: bool) -> None:
    """Ask AWS for a higher quota; raises NothingToDoError if it is as high already."""
    workers = context.settings.workers
    clients = FactClients.make(context.session)
    plan = plan_quota(clients.quotas, workers.market, machine_types(context)[0], vcpus)
    now = "not known" if plan.now is None else str(plan.now)
    text = f"for {plan.wanted} {plan.market} vCPUs ({plan.code}, now {now})"
    if dry_run:
        say_plan(f"would ask AWS {text} in {context.region}")
        return
    say(f"asked AWS {text}: {send_quota_request(clients.quotas, plan)}")
    say("it answers within minutes to days; parallelize doctor shows the quota that holds")


def plan_quota(client: ServiceQuotasClient, market: Market, kind: str, wanted: int) -> QuotaRequest:
    """Return what to ask for; raises UsageError if a machine's quota has no known code."""
    code = quotas.quota_code(market, kind)
    if code is None:
        raise UsageError(
            f"which quota {kind} counts towards is not known here",
            fix="Service Quotas in the AWS console",
        )
    now = gather.find_limit(client, code)
    if now is not None and wanted <= now:
        raise NothingToDoError(f"the {market} quota is {now} vCPUs already ({code})")
    return QuotaRequest(code, market, now, wanted)


@translated("Service Quotas")
def send_quota_request(client: ServiceQuotasClient, plan: QuotaRequest) -> str:
    """Ask AWS, and return how the request stands; one that is open already is not repeated.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
    """
    try:
        asked = client.request_service_quota_increase(
            ServiceCode="ec2", QuotaCode=plan.code, DesiredValue=float(plan.wanted)
        )
    except client.exceptions.ResourceAlreadyExistsException:
        return "a request is open already"
    return asked["RequestedQuota"].get("Status", "PENDING")
