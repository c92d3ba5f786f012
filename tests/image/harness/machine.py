"""A machine under test, whatever it is made of: its console, its power, and its end."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

BOOT_SECONDS = 90
"""How long a container may take to do something."""

EMULATED_BOOT_SECONDS = 390
"""The same for an emulated processor, which takes half a minute on an idle machine."""


class Machine(Protocol):
    """A running machine."""

    process: subprocess.Popen[bytes]
    console: Path

    def powered_off(self) -> bool:
        """Whether it ended by switching itself off; it has ended."""

    def stop(self) -> None:
        """Take it away, whatever it is doing."""


class Boot(Protocol):
    """A way to boot a machine: with extra words on the kernel's command line."""

    def __call__(self, *words: str) -> Machine:
        """Boot, and return at once."""


def read_console(machine: Machine) -> str:
    """Return what has been printed on the console so far."""
    return machine.console.read_text(encoding="utf-8", errors="replace")


def wait_for(machine: Machine, text: str, seconds: float = BOOT_SECONDS) -> None:
    """Return when `text` is on the console."""
    wait_until(machine, lambda: text in read_console(machine), f'"{text}" on the console', seconds)


def wait_until(
    machine: Machine, true: Callable[[], bool], what: str, seconds: float = BOOT_SECONDS
) -> None:
    """Return when a condition holds; fail, with the console, if the machine ends before that."""
    deadline = time.monotonic() + seconds
    while not true():
        ended = machine.process.poll() is not None
        if (ended and not true()) or time.monotonic() > deadline:
            why = "the machine ended" if ended else f"{seconds:g} s passed"
            raise AssertionError(f"{why} without {what}; the console:\n{read_console(machine)}")
        time.sleep(0.1)


def wait_for_power_off(machine: Machine, seconds: float = BOOT_SECONDS) -> str:
    """Return the console of a machine that has switched itself off."""
    try:
        machine.process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"still on after {seconds:g} s:\n{read_console(machine)}") from None
    console = read_console(machine)
    assert machine.powered_off(), f"it ended otherwise than by a power-off:\n{console}"
    return console


def environment(variables: Mapping[str, str]) -> list[str]:
    """Return the words on the command line that set variables for all of a machine's services."""
    return [f"systemd.setenv={name}={value}" for name, value in variables.items()]


def dropin(unit: str, text: str) -> str:
    """Return the word on the command line that adds settings to a unit, the image untouched."""
    return _credential(f"systemd.unit-dropin.{unit}", text)


def extra_unit(unit: str, text: str) -> str:
    """Return the word on the command line that gives the machine one more unit."""
    return _credential(f"systemd.extra-unit.{unit}", text)


def _credential(name: str, text: str) -> str:
    # https://www.freedesktop.org/software/systemd/man/latest/systemd.system-credentials.html
    body = base64.b64encode(text.encode()).decode()
    return f"systemd.set_credential_binary={name}:{body}"
