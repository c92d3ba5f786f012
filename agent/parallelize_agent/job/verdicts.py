"""Verdicts that more than one stage passes."""

from __future__ import annotations

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.job.job import Verdict, put_off
from parallelize_core.config import AgentConfig
from parallelize_core.errors import AccessError, ServiceError

log = structlog.get_logger()

SERVICE_ERRORS = (BotoCoreError, ClientError, ServiceError, AccessError, OSError)
"""What machines and networks do to a job; it is never charged for one of these."""


def handed_back(config: AgentConfig, why: str) -> Verdict:
    """Return the verdict on a job that this worker could not do, and another may."""
    return put_off(why, config.recovery_seconds)


def no_room(config: AgentConfig, why: str) -> Verdict:
    """Return the verdict on a job for which others have left no room on the disk."""
    return put_off(why, config.recovery_seconds, blameless=True)


def blame_service(config: AgentConfig, error: Exception) -> Verdict:
    """Return the verdict on a job that met an error of machine or network."""
    log.warning("job not done for a reason of machine or network", error=str(error))
    return handed_back(config, str(error))
