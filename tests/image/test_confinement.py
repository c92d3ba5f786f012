"""A job can compute, and nothing else: what it tries against the machine fails."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.image.harness.machine import Boot, wait_for_power_off
from tests.image.harness.services import Bench, shell

INTRUDER = (Path(__file__).parent / "intruder.py").read_text(encoding="utf-8")
BURGLAR = (Path(__file__).parent / "burglar.py").read_text(encoding="utf-8")
REFUSED = {"EACCES", "EPERM"}

VICTIM = (Path(__file__).parent / "victim.py").read_text(encoding="utf-8")

OWN_PLACES = {"/tmp", "/var/tmp", "/dev/shm"}
"""Folders for temporary files that many programs insist on: each job has them for itself."""


def test_a_job_cannot_reach_the_roles_credentials_the_agent_or_the_machine(
    boot: Boot, services: Bench
) -> None:
    layout = services.start_run("intruder", ("/usr/bin/python3", "-c", INTRUDER), inputs=1)
    wait_for_power_off(boot())
    (result,) = services.results(layout).values()
    assert result.status == "succeeded", result
    report: dict[str, Any] = json.loads(services.output(layout, "report.json"))
    assert report.pop("credentials") == "ECONNREFUSED"
    assert set(report.pop("writable")) == OWN_PLACES
    assert not {name for name in report.pop("variables") if secret_or_systemd(name)}
    assert report.pop("sudo") == "''"
    # In a job's world there is no user but its own.
    assert {report.pop(user) for user in ("root", "agent's user")} == {"EINVAL"}
    assert set(report.values()) <= REFUSED, report


def test_a_job_can_do_nothing_to_another_that_runs_beside_it(boot: Boot, services: Bench) -> None:
    script = """case $1 in */000.txt) program=$VICTIM;; *) program=$BURGLAR;; esac
    exec /usr/bin/python3 -c "$program" "$1\""""
    command = ("/usr/bin/env", f"VICTIM={VICTIM}", f"BURGLAR={BURGLAR}", *shell(script))
    layout = services.start_run("burglar", command, inputs=2)
    wait_for_power_off(boot())
    assert {result.status for result in services.results(layout).values()} == {"succeeded"}
    seen: dict[str, Any] = json.loads(services.output(layout, "burglar.json"))
    assert seen.pop("temporary files") == {place: [] for place in OWN_PLACES}
    assert seen.pop("shared memory") == "ENOENT"
    assert set(seen.values()) <= REFUSED, seen
    # What programs write to /tmp is theirs to name as outputs.
    assert services.output(layout, "victim.txt") == "left alone"


HONEST = shell("""set -eu
case $1 in */001.txt) kill -KILL $$;; esac
{
    whoami
    unshare --map-root-user --mount sh -c "mount -t tmpfs none /tmp && id -u"
    python3 -c "from multiprocessing import Queue; q = Queue(); q.put(1); print(q.get())"
    mktemp /tmp/XXXXXX >/var/tmp/name && cat "$(cat /tmp/name)" /dev/null && stat -c %U .
} >out
echo out""")


def test_a_jobs_world_is_none_to_an_honest_program(boot: Boot, services: Bench) -> None:
    layout = services.start_run("honest", HONEST, inputs=2)
    wait_for_power_off(boot())
    done, killed = (result for _, result in sorted(services.results(layout).items()))
    assert done.status == "succeeded", done
    # Its user's name, rights in namespaces of its own, semaphores, files in /tmp, its folder.
    assert services.output(layout, "out").split() == [
        "parallelize-job", "0", "1", "parallelize-job",
    ]  # fmt: skip
    assert killed.exit_code == -signal.SIGKILL


def secret_or_systemd(name: str) -> bool:
    """Whether a variable could carry rights, or let a job speak for the agent."""
    return name in {"NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"} or any(
        word in name for word in ("KEY_ID", "SECRET", "TOKEN", "PASSWORD")
    )
