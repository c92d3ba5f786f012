"""What a transcript may say of a call: words of AWS's models, and names derived from the run's.

Of everything else it only says that it was there: a value becomes `<Field 1>`, and an equal value
the same, so that a reader sees which answer a later call uses. Names, tags, messages and addresses
of the account are not such words; codes and short numbers are kept only in their own fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from parallelize.fleet import tags

NOBODY = "000000000001"
"""An account that does not exist: AWS assigns no such number, and emulators use others."""

WORDS = frozenset({
    "", "*", "/", "true", "false", "Name", NOBODY, tags.MANAGED, tags.RUN,
    # What the project asks of groups, and calls its metric; no model lists these either.
    "AZRebalance", "GroupInServiceInstances", "1Minute", "Parallelize", "Rehearsals", "Run",
    # The names of filters, which EC2's model does not list.
    f"tag:{tags.MANAGED}", f"tag:{tags.RUN}", "default-for-az", "image-id", "instance-state-name",
    "instance-type", "launch-template-name", "pending", "running", "status", "available",
    "stopping", "stopped", "shutting-down", "terminated", "tag-key", "state", "group-name",
    "vpc-id", tags.VERSION, "self", "ec2",
})  # fmt: skip

_CODE_FIELDS = {"Code", "ErrorCode"}
_CODE = re.compile(r"[A-Z][A-Za-z]+(\.[A-Z][A-Za-z]+)*")
_STATUS = re.compile(r"\d{3}")
"""HEAD has this instead of a code."""

_VERSION_FIELDS = {"Version", "Id"}
_SHORT_NUMBER = re.compile(r"\d{1,9}")
_PUBLIC = re.compile(r"/aws/service/[a-z0-9/._-]+")
"""The names of SSM's public parameters."""

_QUOTA = re.compile(r"L-[0-9A-F]{8}")
"""The code of a quota, which is the same in all accounts."""

_MACHINE_TYPE = re.compile(r"[a-z]+\d[a-z]*\.(nano|micro|small|medium|\d*x?large)")
"""In a filter; elsewhere the model lists them."""

LONG_NUMBER = 10**11
"""A larger number may be an account's, or a time in milliseconds."""

TIME = "<time>"

_OF_AN_ACCOUNT = (
    r"arn:[^\s\"',}\]]+", r"https?://[^\s\"',}\]]+", r"\d{12,}", r"A[KS]IA[A-Z0-9]{8,}",
    r"[\w.+-]+@[\w-]+\.[\w.-]+", r"\d+\.\d+\.\d+\.\d+", r"\b[a-z]{1,10}-[0-9a-f]{8,17}\b",
)  # fmt: skip
"""Parts of the run's own names that identify the account: ARNs, addresses, numbers, keys, ids."""


class Redactor:
    """Redacts parameters and answers to what may be recorded.

    `hidden` are values that may occur within the run's names: the account's number, its bucket.
    """

    def __init__(self, run: str, hidden: Iterable[str] = ()) -> None:
        self._run = run
        told = sorted((re.escape(one) for one in hidden if one), key=len, reverse=True)
        self._private = re.compile("|".join([*told, *_OF_AN_ACCOUNT]))
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def structure(self, shape: Any, value: Any) -> dict[str, Any]:
        """Return a call's parameters or answer, redacted by their shape in AWS's model."""
        if shape is None or not isinstance(value, dict):
            return {}
        members = shape.members
        return {
            name: self._value(members[name], name, one)
            for name, one in value.items()
            if name in members
        }

    def prose(self, text: str) -> str:
        """Return a probe's own sentence without what identifies the account."""
        return self._private.sub(lambda found: self._stand_in("Name", found[0]), text)

    def _value(self, shape: Any, name: str, value: Any) -> Any:
        kind = shape.type_name
        if kind == "structure":
            return self.structure(shape, value)
        if kind == "list":
            return [self._value(shape.member, name, one) for one in value]
        if kind == "map":
            return self._map(shape, value)
        if kind == "string":
            return self._text(shape, name, value)
        return _scalar(kind, value)

    def _map(self, shape: Any, value: Any) -> dict[str, Any]:
        listed = getattr(shape.key, "enum", None) or ()
        return {
            self._text(shape.key, shape.key.name, key): (
                one if key in listed and _SHORT_NUMBER.fullmatch(str(one))
                else self._value(shape.value, key if key in listed else shape.value.name, one)
            )
            for key, one in value.items()
        }  # fmt: skip

    def _text(self, shape: Any, name: str, value: Any) -> str:
        text = str(value)
        if text in WORDS or text in (getattr(shape, "enum", None) or ()) or _is_word(name, text):
            return text
        if self._run in text:
            return self._private.sub(lambda found: self._stand_in(name, found[0]), text)
        return self._stand_in(name, text)

    def _stand_in(self, name: str, value: str) -> str:
        if value not in self._names:
            self._counts[name] += 1
            self._names[value] = f"<{name} {self._counts[name]}>"
        return self._names[value]


def code_word(code: str) -> str:
    """Return an error's code as it may be recorded; AWS's codes are single words."""
    return code if _CODE.fullmatch(code) or _STATUS.fullmatch(code) else "other"


def _is_word(name: str, text: str) -> bool:
    if name in _CODE_FIELDS:
        return _CODE.fullmatch(text) is not None
    if name in _VERSION_FIELDS:
        return _SHORT_NUMBER.fullmatch(text) is not None
    if name == "Values":
        return _MACHINE_TYPE.fullmatch(text) is not None
    if name == "QuotaCode":
        return _QUOTA.fullmatch(text) is not None
    return name == "Name" and _PUBLIC.fullmatch(text) is not None


def _scalar(kind: str, value: Any) -> Any:
    if kind == "boolean":
        return bool(value)
    if kind == "timestamp":
        return TIME
    if kind == "blob":
        size = len(value) if isinstance(value, (bytes, str)) else "some"
        return f"<{size} bytes>"
    return value if isinstance(value, (int, float)) and abs(value) < LONG_NUMBER else TIME
