"""A job can compute, and nothing else: what it tries against the machine fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.image.harness.machine import Boot, wait_for_power_off
from tests.image.harness.services import Bench

INTRUDER = (Path(__file__).parent / "intruder.py").read_text(encoding="utf-8")
REFUSED = "PermissionError"

PRIVATE_TO_THE_UNIT = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"}
"""Folders for temporary files that many programs insist on; see docs/image.md."""


def test_a_job_cannot_reach_the_roles_credentials_the_agent_or_the_machine(
    boot: Boot, services: Bench
) -> None:
    layout = services.start_run("intruder", ("/usr/bin/python3", "-c", INTRUDER), inputs=1)
    wait_for_power_off(boot())
    (result,) = services.results(layout).values()
    assert result.status == "succeeded", result
    report: dict[str, Any] = json.loads(services.output(layout, "report.json"))
    assert report.pop("credentials") == "ConnectionRefusedError"
    assert set(report.pop("writable")) <= PRIVATE_TO_THE_UNIT
    assert not {name for name in report.pop("variables") if secret_or_systemd(name)}
    assert report.pop("sudo") == "''"
    assert set(report.values()) == {REFUSED}, report


def secret_or_systemd(name: str) -> bool:
    """Whether a variable could carry rights, or let a job speak for the agent."""
    return name in {"NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"} or any(
        word in name for word in ("KEY_ID", "SECRET", "TOKEN", "PASSWORD")
    )
