"""What CloudFormation's states of a stack allow.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """What can be done with a stack."""

    ABSENT = "absent"
    """It can be made: there is none, or only plans for one."""
    WHOLE = "whole"
    """It can be changed; its last change may have been taken back."""
    BUSY = "busy"
    """Nothing, until CloudFormation is through."""
    FAILED = "failed"
    """It can only be deleted: it was never made, or is deleted in part."""
    STUCK = "stuck"
    """Neither: a failed change could not be taken back, and somebody has to see why."""


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
