"""Asks AWS for more vCPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parallelize.context import Context
from parallelize.fleet import describe, quotas
from parallelize.fleet.clients import FactClients
from parallelize.fleet.facts import Market
from parallelize.operations.machine_types import machine_types
from parallelize_core.aws_errors import translated
from parallelize_core.errors import NothingToDoError, UsageError

if TYPE_CHECKING:
    from types_boto3_service_quotas import ServiceQuotasClient


@dataclass(frozen=True)
class QuotaRequest:
    """A quota, its current value (None if that cannot be read), and the wanted one, in vCPUs."""

    code: str
    market: str
    now: int | None
    wanted: int

    @property
    def words(self) -> str:
        """The request in words."""
        now = "not known" if self.now is None else str(self.now)
        return f"for {self.wanted} {self.market} vCPUs ({self.code}, now {now})"


def plan_request(context: Context, vcpus: int) -> QuotaRequest:
    """Return what to ask AWS for; raises NothingToDoError if the quota is already high enough."""
    quotas_of_aws = FactClients.make(context.session).quotas
    kind = machine_types(context)[0]
    return plan_quota(quotas_of_aws, context.settings.workers.market, kind, vcpus)


def send(context: Context, plan: QuotaRequest) -> str:
    """Ask AWS for a higher quota, and return the status of the request."""
    return send_quota_request(FactClients.make(context.session).quotas, plan)


def plan_quota(client: ServiceQuotasClient, market: Market, kind: str, wanted: int) -> QuotaRequest:
    """Return what to ask for; raises UsageError if the code of the machine's quota is unknown."""
    code = quotas.quota_code(market, kind)
    if code is None:
        raise UsageError(
            f"cannot tell which quota {kind} counts towards",
            fix="request it in the AWS console, under Service Quotas",
        )
    now = describe.find_limit(client, code)
    if now is not None and wanted <= now:
        raise NothingToDoError(f"the {market} quota is {now} vCPUs already ({code})")
    return QuotaRequest(code, market, now, wanted)


@translated("Service Quotas")
def send_quota_request(client: ServiceQuotasClient, plan: QuotaRequest) -> str:
    """Ask AWS, and return the status of the request; an open one is not repeated.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
    """
    try:
        asked = client.request_service_quota_increase(
            ServiceCode="ec2", QuotaCode=plan.code, DesiredValue=float(plan.wanted)
        )
    except client.exceptions.ResourceAlreadyExistsException:
        return "a request is open already"
    return asked["RequestedQuota"].get("Status", "PENDING")
