"""Tags that no service takes, or not each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.limits import CODES

FIT = re.compile(r"[\w\s.:/=+@-]*")


class TagForm(Rule):
    """A tag has a key of its owner's, 128 and 256 characters at most, and no odd ones.

    A thing has 50 of them.
    """

    source = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html"
    found = "aws.tags took anything, and a launch ended in the middle of what it makes"

    MOST = 50

    def before(self, call: Call) -> dict[str, Any] | None:
        code = CODES.get(call.service, "ValidationException")
        for tags in _tags(call.params):
            if len(tags) > self.MOST:
                raise Refusal(code, f"{len(tags)} tags are more than {self.MOST}")
            for key, value in tags:
                fits = 1 <= len(key) <= 128 and len(value) <= 256
                if not fits or key.lower().startswith("aws:") or not FIT.fullmatch(key + value):
                    raise Refusal(code, f"Tag {key[:40]} is not allowed")
        return None


def _tags(value: Any, name: str = "") -> Iterator[list[tuple[str, str]]]:
    """Go through the lists of tags in a request, wherever they are."""
    if isinstance(value, dict) and name.lower() == "tags":
        yield list(value.items())
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _tags(one, key)
    elif isinstance(value, list) and name == "Tags":
        yield [(one["Key"], one.get("Value") or "") for one in value]
    elif isinstance(value, list):
        for one in value:
            yield from _tags(one)
