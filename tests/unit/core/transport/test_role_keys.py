"""Keys of a machine's role: renewed before they expire, and used on while there are no others."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from parallelize_core.errors import ServiceError, UnavailableError
from parallelize_core.transport.role_keys import EARLY_SECONDS, LATE_SECONDS, RoleKeys

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = 3600


@dataclass
class Machine:
    """A metadata service and a clock; keys hold for six hours."""

    now: float = START.timestamp()
    role: str | None = "role"
    answer: str | None = None
    down: bool = False
    given: int = 0
    asked: list[str] = field(default_factory=list)

    def read(self, path: str) -> str | None:
        self.asked.append(path)
        if self.down:
            raise ServiceError("the metadata service cannot be read", "no answer")
        if path.endswith("/"):
            return self.role
        self.given += 1
        return self.answer or self.keys(self.now + 6 * HOUR)

    def keys(self, expires: float) -> str:
        return json.dumps({
            "Code": "Success", "AccessKeyId": f"id-{self.given}", "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        })  # fmt: skip

    def keys_of_role(self) -> RoleKeys:
        return RoleKeys(self.read, lambda: self.now)


def test_keys_are_read_once_and_kept() -> None:
    machine = Machine()
    keys = machine.keys_of_role()
    first = keys.get_frozen_credentials()
    assert (first.access_key, first.secret_key, first.token) == ("id-1", "secret", "token")
    machine.now += 5 * HOUR
    assert keys.get_frozen_credentials() == first
    assert machine.asked == [f"meta-data/iam/security-credentials/{name}" for name in ("", "role")]


def test_keys_that_expire_soon_are_renewed() -> None:
    machine = Machine()
    keys = machine.keys_of_role()
    keys.get_frozen_credentials()
    machine.now += 6 * HOUR - EARLY_SECONDS + 1
    assert keys.refresh_needed(EARLY_SECONDS)
    assert not keys.refresh_needed(EARLY_SECONDS - 60)
    assert keys.get_frozen_credentials().access_key == "id-2"
    assert not keys.refresh_needed(EARLY_SECONDS)


def test_keys_that_hold_are_used_on_while_the_service_is_down() -> None:
    machine = Machine()
    keys = machine.keys_of_role()
    keys.get_frozen_credentials()
    machine.now, machine.down = machine.now + 6 * HOUR - 60, True
    assert keys.get_frozen_credentials().access_key == "id-1"
    machine.down = False
    assert keys.get_frozen_credentials().access_key == "id-2"


def test_keys_that_have_expired_are_none() -> None:
    machine = Machine()
    keys = machine.keys_of_role()
    keys.get_frozen_credentials()
    machine.now, machine.down = machine.now + 6 * HOUR + 1, True
    with pytest.raises(UnavailableError, match="role cannot be fetched"):
        keys.get_frozen_credentials()


def test_keys_that_the_service_gives_although_they_have_expired_are_used_for_a_while() -> None:
    """AWS honours them while it cannot give others; we ask again, but not with each call."""
    machine = Machine()
    machine.answer = machine.keys(machine.now - HOUR)
    keys = machine.keys_of_role()
    assert keys.get_frozen_credentials().access_key == "id-0"
    assert not keys.refresh_needed(LATE_SECONDS[0] - 1)
    keys.get_frozen_credentials()
    assert machine.given == 1
    machine.now += LATE_SECONDS[1] - EARLY_SECONDS + 1
    keys.get_frozen_credentials()
    assert machine.given == 2


def test_a_machine_without_a_role_has_no_keys() -> None:
    keys = Machine(role=None).keys_of_role().get_frozen_credentials()
    assert not keys.access_key


@pytest.mark.parametrize(
    "answer",
    [
        "<html>", "[]", "null", '{"Code": "Failed"}',
        '{"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": "soon"}',
    ],
)  # fmt: skip
def test_what_is_no_answer_of_the_service_is_no_key(answer: str) -> None:
    with pytest.raises(UnavailableError):
        Machine(answer=answer).keys_of_role().get_frozen_credentials()


def test_new_keys_hold_until_they_expire() -> None:
    machine = Machine()
    keys = machine.keys_of_role()
    keys.get_frozen_credentials()
    left = timedelta(hours=6).total_seconds()
    assert not keys.refresh_needed(left - 1)
    assert keys.refresh_needed(left + 1)
