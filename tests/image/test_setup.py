"""A machine is made ready before its first job: by the run's own set-up, and by root if asked."""

from __future__ import annotations

from tests.image.harness.machine import Boot, dropin, wait_for_power_off
from tests.image.harness.services import Bench, shell

from parallelize_core.heartbeat import WorkerState
from parallelize_core.run import Setup

SETUP = Setup(command=("./setup.sh",))

HOOK = """#!/bin/sh -eu
id -u
mkdir lib
echo "$(whoami) $(ls -A /tmp | wc -l)" >lib/made
for place in /etc /opt /var/lib/parallelize /run/parallelize; do
    ! touch "$place/x" 2>/dev/null || echo "can write $place"
done
"""

ROOT = """#!/bin/sh -eu
echo "root was here" >/etc/motd.root
id -u >>/var/lib/parallelize-setup/runs
"""


def test_the_environment_is_set_up_by_a_jobs_user_and_the_machine_by_root(
    boot: Boot, services: Bench
) -> None:
    look = shell("cat lib/made /etc/motd.root /var/lib/parallelize-setup/runs >seen; echo seen")
    layout = services.start_run(
        "setup", look, inputs=1, environment={"setup.sh": HOOK}, setup=SETUP, root_setup=ROOT,
        lease_seconds=10,
    )  # fmt: skip
    wait_for_power_off(boot())
    assert {result.status for result in services.results(layout).values()} == {"succeeded"}
    # The hook has a job's name and rights and an empty /tmp; root ran once.
    assert services.output(layout, "seen") == "parallelize-job 0\nroot was here\n0\n"
    # That of the machine's set-up, as root, is kept too.
    (said,) = [log for log in services.setup_logs(layout) if log.strip().isdecimal()]
    assert said.strip() != "0"


def test_a_set_up_that_fails_is_told_on_the_console_and_no_job_is_charged(
    boot: Boot, services: Bench
) -> None:
    hook = "#!/bin/sh\necho no such package >&2\nexit 3\n"
    layout = services.start_run(
        "broken", shell("true"), inputs=1, environment={"setup.sh": hook}, setup=SETUP
    )
    console = wait_for_power_off(boot())
    last_words = [line for line in console.splitlines() if line.startswith("parallelize: ")]
    assert any("no such package" in line for line in last_words), last_words
    heartbeat = services.heartbeat(layout)
    assert heartbeat
    assert heartbeat.state is WorkerState.FAILED
    assert heartbeat.reason.endswith("exit 3: no such package")
    assert services.results(layout) == {}
    assert services.queue("broken").counts().visible == 1


def test_root_that_fails_or_takes_too_long_is_told_and_nothing_is_run(
    boot: Boot, services: Bench
) -> None:
    layout = services.start_run(
        "slow",
        shell("true"),
        inputs=1,
        root_setup="#!/bin/sh\necho waiting for a mirror\nsleep 600",
    )
    machine = boot(dropin("parallelize-setup.service", "[Service]\nTimeoutStartSec=1s\n"))
    wait_for_power_off(machine)
    heartbeat = services.heartbeat(layout)
    assert heartbeat
    assert "timeout" in heartbeat.reason
    assert heartbeat.reason.endswith("waiting for a mirror")
    assert services.results(layout) == {}
