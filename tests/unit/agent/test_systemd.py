"""What systemd hears from the agent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallelize_agent.machine import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        if request.param == "path":
            address = str(tmp_path / "notify")
            receiver.bind(address)
        else:
            receiver.bind("")  # the kernel picks a free abstract address
            address = "@" + receiver.getsockname()[1:].decode()
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def test_ready_says_so_with_a_status_line(manager: socket.socket) -> None:
    systemd.ready("4 slots")
    assert manager.recv(1000).decode().splitlines() == ["READY=1", "STATUS=4 slots"]


def test_the_watchdog_is_fed(manager: socket.socket) -> None:
    systemd.watchdog("2 jobs")
    assert "WATCHDOG=1" in manager.recv(1000).decode().splitlines()


def test_a_leaving_agent_says_why(manager: socket.socket) -> None:
    systemd.stopping("drained")
    assert manager.recv(1000).decode().splitlines() == ["STOPPING=1", "STATUS=drained"]


def test_a_manager_that_is_gone_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.ready("4 slots")


def test_nothing_is_sent_where_there_is_no_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.ready("4 slots")


def test_a_machine_that_stays_up_has_a_keep_alive_file(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    systemd.write_power_off_policy(shutdown=False, max_runtime_seconds=None, environ=environ)
    assert (tmp_path / "keep-alive").exists()


def test_the_last_promise_counts(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    systemd.write_power_off_policy(shutdown=False, max_runtime_seconds=60, environ=environ)
    systemd.write_power_off_policy(shutdown=True, max_runtime_seconds=None, environ=environ)
    assert list(tmp_path.iterdir()) == []


def test_the_deadline_is_an_uptime(tmp_path: Path) -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    systemd.write_power_off_policy(shutdown=True, max_runtime_seconds=3600, environ=environ)
    assert 3599 <= float((tmp_path / "deadline").read_text()) - uptime <= 3660


def test_no_word_is_left_where_there_is_no_systemd(tmp_path: Path) -> None:
    systemd.write_power_off_policy(shutdown=False, max_runtime_seconds=1, environ={})
