"""What each state of a CloudFormation stack allows.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """What can be done with a stack."""

    ABSENT = "absent"
    """It can be created: there is none, or there are only plans for one."""
    WHOLE = "whole"
    """It can be changed; its last change may have been rolled back."""
    BUSY = "busy"
    """Nothing can be done until CloudFormation has finished."""
    FAILED = "failed"
    """It can only be deleted: it was never completed, or is partly deleted."""
    STUCK = "stuck"
    """It can be neither changed nor deleted: a rollback failed, and somebody must find out why."""


_WHOLE = {
    "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED",
    "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE",
}  # fmt: skip
_FAILED = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"}


def standing(status: str | None) -> Standing:
    """Return what a stack of this status allows; None means that there is no stack."""
    if status in {None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}:
        return Standing.ABSENT
    if status in _WHOLE:
        return Standing.WHOLE
    if status in _FAILED:
        return Standing.FAILED
    return Standing.BUSY if str(status).endswith("_IN_PROGRESS") else Standing.STUCK
