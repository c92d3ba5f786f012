"""What the service models say of parameters and botocore does not look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule

CODES = {"ec2": "InvalidParameterValue", "sqs": "InvalidParameterValue", "s3": "InvalidArgument",
         "autoscaling": "ValidationError", "cloudformation": "ValidationError",
         "iam": "ValidationError"}  # fmt: skip


class ParameterLimits(Rule):
    """The largest length and value, the listed values, and the pattern of each parameter."""

    source = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.model.input_shape is None:
            return None
        for fault in faults(call.model.input_shape, call.params):
            raise Refusal(CODES.get(call.service, "ValidationException"), fault)
        return None


def faults(shape: Shape, value: Any, name: str = "") -> Iterator[str]:
    """Go through what is wrong with a value by its shape."""
    yield from _faults_of_one(shape, value, name)
    if isinstance(shape, StructureShape):
        for key, member in shape.members.items():
            if isinstance(value, dict) and value.get(key) is not None:
                yield from faults(member, value[key], f"{name}.{key}".strip("."))
    elif isinstance(shape, ListShape):
        for item in value:
            yield from faults(shape.member, item, f"{name}[]")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from faults(shape.value, item, f"{name}.{key}")


def _faults_of_one(shape: Shape, value: Any, name: str) -> Iterator[str]:
    limits = shape.metadata
    size = len(value) if isinstance(value, (str, bytes, list, dict)) else value
    if "max" in limits and isinstance(size, (int, float)) and size > limits["max"]:
        yield f"{name}: {size} is more than {limits['max']}"
    if not isinstance(value, str):
        return
    if limits.get("enum") and value not in limits["enum"]:
        yield f"{name}: {value!r} is none of {limits['enum'][:5]}"
    if (pattern := limits.get("pattern")) and not _fits(pattern, value):
        yield f"{name}: {value!r} does not fit {pattern}"


_UNREADABLE = re.compile(r"\\u[0-9A-Fa-f]{4}|\\p\{")
"""Java's notation, in which Python's `re` finds surrogates or classes that it does not have."""


def _fits(pattern: str, value: str) -> bool:
    if _UNREADABLE.search(pattern):
        return True
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value, re.DOTALL) is not None
