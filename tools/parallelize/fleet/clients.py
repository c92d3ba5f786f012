"""The clients that each side of the fleet needs: created here, passed in everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from parallelize.fleet.prices import price_list_region
from parallelize_core.aws_errors import translated
from parallelize_core.clients import client_config

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_pricing import PricingClient
    from types_boto3_service_quotas import ServiceQuotasClient
    from types_boto3_ssm import SSMClient

    from parallelize_core.clients import Session


@dataclass(frozen=True)
class FactClients:
    """The clients for reading the facts of a launch."""

    ec2: EC2Client
    ssm: SSMClient
    quotas: ServiceQuotasClient
    pricing: PricingClient

    @classmethod
    @translated("AWS")
    def make(cls, session: Session) -> Self:
        """Create them."""
        config = client_config()
        return cls(
            session.client("ec2", config=config),
            session.client("ssm", config=config),
            session.client("service-quotas", config=config),
            session.client(
                "pricing",
                region_name=price_list_region(session.region_name or ""),
                config=config,
            ),
        )


@dataclass(frozen=True)
class ComputeClients:
    """The clients for starting and terminating machines."""

    ec2: EC2Client
    autoscaling: AutoScalingClient
    cloudwatch: CloudWatchClient

    @classmethod
    @translated("AWS")
    def make(cls, session: Session) -> Self:
        """Create them."""
        config = client_config()
        return cls(
            session.client("ec2", config=config),
            session.client("autoscaling", config=config),
            session.client("cloudwatch", config=config),
        )
