"""A worker's life in a container: it works, it leaves, and the machine is off in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.image.harness.container import Container
from tests.image.harness.crash import CRASH, starts
from tests.image.harness.machine import (
    Boot,
    dropin,
    extra_unit,
    read_console,
    wait_for,
    wait_for_power_off,
    wait_until,
)
from tests.image.harness.services import Bench, shell

AGENT = "parallelize-agent.service"
UPPER = 'name=$(basename "$1"); tr a-z A-Z <"$1" >"$name.up"; echo "$name.up"'
COPY = shell(UPPER)
SLOW = shell(f"sleep 1; {UPPER}")
ENDLESS = shell("sleep 100000")

HANG = """
[Unit]
After=parallelize-agent.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemctl kill --kill-whom=main --signal=STOP parallelize-agent.service
"""
"""A unit that stops the agent's process where it stands, once."""


def test_a_worker_drains_the_queue_and_powers_off(boot: Boot, services: Bench) -> None:
    layout = services.start_run("drain", COPY, inputs=5)
    wait_for_power_off(boot())
    results = services.results(layout)
    assert {result.status for result in results.values()} == {"succeeded"}
    assert len(results) == 5
    assert services.output(layout, "003.txt.up") == "INPUT 003.TXT\n"


def test_an_agent_that_keeps_crashing_is_given_up_after_four_starts(
    boot: Boot, services: Bench, tmp_path: Path
) -> None:
    console = wait_for_power_off(boot(dropin(AGENT, CRASH)))
    assert starts(tmp_path) == 4, console
    assert "parallelize: broken" in console


def test_a_hung_agent_is_killed_by_the_watchdog_and_its_successor_ends_the_run(
    boot: Boot, services: Bench
) -> None:
    layout = services.start_run("hang", SLOW, inputs=6, lease_seconds=5)
    quick = "[Unit]\nWants=hang.service\n[Service]\nWatchdogSec=3s\nRestartSec=100ms\n"
    machine = boot(dropin(AGENT, quick), extra_unit("hang.service", HANG))
    console = wait_for_power_off(machine)
    assert "Watchdog timeout" in console
    assert {result.status for result in services.results(layout).values()} == {"succeeded"}
    assert len(services.results(layout)) == 6


def test_a_spot_notice_hands_the_job_back_and_switches_off_in_time(
    boot: Boot, services: Bench
) -> None:
    layout = services.start_run("spot", ENDLESS, inputs=1, interruption_margin_seconds=5)
    machine = boot()

    def running() -> bool:
        heartbeat = services.heartbeat(layout)
        return bool(heartbeat and heartbeat.running)

    wait_until(machine, running, "a running job")
    services.instance.announce_interruption(seconds=10)
    wait_for_power_off(machine)
    queue = services.queue("spot")
    assert (queue.counts().visible, queue.counts().in_flight) == (1, 0)
    assert services.results(layout) == {}
    assert services.instance.seconds_left() > 0


def test_a_machine_with_shutdown_off_outlives_its_agent(boot: Boot, services: Bench) -> None:
    layout = services.start_run("stay", COPY, inputs=1, shutdown=False)
    machine = boot()
    wait_for(machine, "ConditionPathExists=!/run/parallelize/keep-alive")
    assert len(services.results(layout)) == 1
    assert machine.process.poll() is None
    assert "powers off" not in read_console(machine)


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        (None, "user data"),
        ("#!/bin/sh\necho hello", "the instance's user data is not an agent configuration"),
        ('{"v": 1, "run": "x"}', "bucket: Field required"),
    ],
    ids=["none", "a script", "half a configuration"],
)
def test_user_data_that_is_no_configuration_is_named_on_the_console(
    boot: Boot, services: Bench, user_data: str | None, said: str
) -> None:
    services.instance.give(user_data)
    console = wait_for_power_off(boot())
    last_words = [line for line in console.splitlines() if line.startswith("parallelize: ")]
    assert any(said in line for line in last_words), last_words
    assert "restart counter" not in console


def test_without_a_metadata_service_the_console_says_so(boot: Boot, services: Bench) -> None:
    services.close_metadata()
    machine = boot(dropin(AGENT, "[Unit]\nStartLimitBurst=1\n"))
    console = wait_for_power_off(machine)
    assert "parallelize: " in console
    assert "the metadata service at http://169.254.169.254 cannot be read" in console


def test_a_reboot_in_mid_run_goes_on(boot: Boot, services: Bench) -> None:
    layout = services.start_run("reboot", SLOW, inputs=8)
    machine = boot()
    assert isinstance(machine, Container)
    wait_until(machine, lambda: bool(services.results(layout)), "a first result")
    machine.press_ctrl_alt_delete()
    wait_for(machine, "Rebooting.")
    assert machine.rebooted()
    done_before = len(services.results(layout))
    wait_for_power_off(boot())
    results = services.results(layout)
    assert {result.status for result in results.values()} == {"succeeded"}
    assert done_before < len(results) == 8


def test_a_machine_whose_agent_is_never_ready_is_ended_by_the_boot_deadline(
    boot: Boot, services: Bench
) -> None:
    asleep = "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\nTimeoutStartSec=infinity\n"
    soon = "[Service]\nEnvironment=PARALLELIZE_BOOT_DEADLINE=0\n"
    console = wait_for_power_off(
        boot(
            dropin(AGENT, asleep),
            dropin("parallelize-deadline.service", soon),
            dropin("parallelize-deadline.timer", EVERY_SECOND),
        )
    )
    assert "this machine ends: its agent was not ready" in console


def test_a_machine_that_outlives_its_run_time_is_ended_although_its_agent_hangs(
    boot: Boot, services: Bench
) -> None:
    services.start_run("endless", ENDLESS, inputs=1, max_runtime_seconds=2)
    deaf = "[Unit]\nWants=hang.service\n[Service]\nWatchdogSec=0\nTimeoutStopSec=1s\n"
    console = wait_for_power_off(
        boot(
            dropin(AGENT, deaf),
            extra_unit("hang.service", HANG),
            dropin(
                "parallelize-deadline.service", "[Service]\nEnvironment=PARALLELIZE_LEAVING=1\n"
            ),
            dropin("parallelize-deadline.timer", EVERY_SECOND),
        )
    )
    assert "this machine ends: it has outlived its max_runtime" in console


EVERY_SECOND = (
    "[Timer]\nOnBootSec=\nOnUnitInactiveSec=\nOnBootSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=1ms\n"
)
