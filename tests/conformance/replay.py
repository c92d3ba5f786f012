"""A transcript of `doctor --live`, call by call against an emulator: does it answer as recorded?

What is compared is what the project acts upon: the code of a refusal, and of an answer how many
things each of its lists has, and of machines in which state they are, and why. What a machine did
by itself, in no call, is let happen when an answer first tells of it. The stand-ins of a transcript
(`<QueueUrl 1>`) become what the emulator itself has answered in that place; times pass as they
passed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from parallelize.live.redaction import TIME
from parallelize.live.transcript import Line

OF_THE_ACCOUNT = {"DescribeSubnets", "DescribeSecurityGroups", "DescribeSpotPriceHistory"}
"""Whose answers are as long as an account has things: there is one, or there is none."""

NO_USER_DATA = "e30="

_STAND_IN = re.compile(r"<(\w+) (\d+)>")
_BYTES = re.compile(r"<(\d+) bytes>")


@dataclass(frozen=True)
class Step:
    """A call as it was answered then, and now."""

    line: Line
    then: str
    now: str

    @property
    def same(self) -> bool:
        return self.then == self.now

    def __str__(self) -> str:
        line, told = self.line, "as recorded" if self.same else f"HERE {self.now}"
        return f"{line.at:8.1f} s  {line.step:<9} {line.operation:<30} {self.then:<40} {told}"


NOT_EMULATED = {"pricing"}
"""The services that moto does not have: a call would go to AWS itself."""


def replay(
    lines: Iterable[Line],
    client: Callable[[str], Any],
    happens: Callable[[Line, Any], None] = lambda *_: None,
) -> list[Step]:
    """Make each call when its time has come; `client` makes the client of a service.

    `happens` is told of each call before it is made, and of what its answer was, in names of here.

    A long poll is one look at the time of its end: it came back with what there was then.
    """
    known: dict[str, str] = {}
    clients: dict[str, Any] = {}
    begun, steps = time.monotonic(), []
    for line in lines:
        is_poll = "WaitTimeSeconds" in line.params
        moment = begun + line.at + (line.took if is_poll else 0)
        time.sleep(max(0.0, moment - time.monotonic()))
        params = {**line.params, **({"WaitTimeSeconds": 0} if is_poll else {})}
        if line.service in NOT_EMULATED:
            continue
        happens(line, filled(line.answer, known))
        if line.service not in clients:
            clients[line.service] = client(line.service)
        answer, code = call(clients[line.service], line.operation, filled(params, known))
        learn(line.answer, answer, known)
        then = line.error.code if line.error else counted(line, line.answer or {})
        steps.append(Step(line, then, code or counted(line, answer)))
    return steps


def call(client: Any, operation: str, params: Any) -> tuple[dict[str, Any], str]:
    """Make a call; return its answer, or none and the code of the refusal."""
    methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
    try:
        answer = getattr(client, methods[operation])(**params)
    except ClientError as error:
        return {}, error.response["Error"]["Code"]
    answer.pop("ResponseMetadata")
    return answer, ""


def counted(line: Line, answer: dict[str, Any]) -> str:
    """Say how many things each list of an answer has."""
    sizes = {
        name: len(one)
        for name, one in sorted(answer.items())
        # moto names what it has deleted also where it is asked to be quiet.
        if one and isinstance(one, list) and name != "Deleted"
    }
    if line.operation in OF_THE_ACCOUNT:
        sizes = dict.fromkeys(sizes, 1)
    told = [f"{size} {name}" for name, size in sizes.items()]
    return ", ".join([*told, *states(answer)]) or "done"


def states(answer: dict[str, Any]) -> list[str]:
    """Go through the machines of an answer: the state of each, and EC2's reason for its end."""
    return [
        " ".join([one["State"]["Name"], one.get("StateReason", {}).get("Code", "")]).strip()
        for one in machines_of(answer) if "State" in one
    ]  # fmt: skip


def machines_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the machines that an answer describes."""
    described = answer.get("Reservations") or ()
    return [one for reservation in described for one in reservation["Instances"]]


def filled(value: Any, known: dict[str, str]) -> Any:
    """Return parameters with what the emulator knows in the place of the stand-ins."""
    if isinstance(value, dict):
        return {filled(key, known): field(key, one, known) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, known) for one in value]
    if not isinstance(value, str):
        return value
    if size := _BYTES.fullmatch(value):
        return b"x" * int(size[1])
    return _STAND_IN.sub(lambda found: known.get(found[0]) or unknown(found), value)


def field(name: str, value: Any, known: dict[str, str]) -> Any:
    """Return what a field takes: a log's time is in milliseconds, user data are Base64."""
    if value == TIME:
        return int(time.time() * 1000) if name == "timestamp" else datetime.now(UTC)
    return NO_USER_DATA if name == "UserData" else filled(value, known)


def unknown(found: re.Match[str]) -> str:
    """Return a name for what the emulator has not named yet; a bucket could be called so, too."""
    return f"{found[1]}-{found[2]}".lower()


def learn(then: Any, now: Any, known: dict[str, str]) -> None:
    """Note what stands here in the places in which stand-ins stood then."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in then.keys() & now.keys():
            learn(then[name], now[name], known)
    elif isinstance(then, list) and isinstance(now, list):
        for one, other in zip(then, now, strict=False):
            learn(one, other, known)
    elif isinstance(then, str) and isinstance(now, str) and _STAND_IN.fullmatch(then):
        known[then] = now
