"""Leaving an Auto Scaling group: lower it by one, so that nothing takes this worker's place.

Otherwise the group would replace each worker whose work is over, for ever. A worker that is
interrupted does not do this: its work is not over, and it should be replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

log = structlog.get_logger()

BUSY = {"ScalingActivityInProgress", "ResourceContention"}
"""The group is in the middle of something else, and takes this a moment later."""


def _is_busy(error: BaseException) -> bool:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return code in BUSY


def leave(autoscaling: AutoScalingClient, instance: str) -> bool:
    """Leave the group; answers False if the instance is in none, or AWS keeps refusing.

    The machine switches itself off in any case; a group that could not be lowered replaces it.
    """
    try:
        _leave(autoscaling, instance)
    except (ClientError, BotoCoreError) as error:
        log.warning("not left its group", error=str(error))
        return False
    log.info("left its group")
    return True


@retry(
    retry=retry_if_exception(_is_busy),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.5, max=10),
    reraise=True,
)
def _leave(autoscaling: AutoScalingClient, instance: str) -> None:
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=instance, ShouldDecrementDesiredCapacity=True
    )
