"""Checks the tree that is about to become an image.

    check.py FOLDER        the folder that was uploaded, with requirements.txt and systemd/

Prints one line for each sentence that must be true, and exits with 1 if one is not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

AGENT = Path("/opt/parallelize")
UNITS = [
    "parallelize-agent.service", "parallelize-deadline.service", "parallelize-deadline.timer",
    "parallelize-firewall.service", "parallelize-poweroff.service", "parallelize-scratch.service",
    "parallelize-setup.path", "parallelize-setup.service", "parallelize.slice",
]  # fmt: skip
AT_BOOT = [
    "parallelize-agent.service", "parallelize-deadline.timer", "parallelize-firewall.service",
    "parallelize-setup.path",
]  # fmt: skip
USERS = ["parallelize", "parallelize-job"]

KEYS = [
    "etc/ssh/ssh_host_*", "root/.ssh/authorized_keys", "home/*/.ssh/authorized_keys",
    "root/.aws", "home/*/.aws", "root/.netrc", "home/*/.netrc",
]  # fmt: skip
TRACES = [
    "root/.*_history", "home/*/.*_history", "root/.cache", "home/*/.cache",
    "var/log/*.log", "var/log/journal/*", "var/lib/cloud/instances/*",
    "var/lib/apt/lists/*_Packages", "var/lib/systemd/random-seed",
]  # fmt: skip

Faults = Iterator[str]
"""What is wrong, in one line each; nothing if all is well."""


def main(stage: Path) -> int:
    """Check everything, print as it goes, and return the exit code."""
    checks: list[tuple[str, Callable[[], Faults]]] = [
        ("the agent starts", agent_starts),
        ("the agent has its pinned libraries and no others", lambda: foreign_libraries(stage)),
        ("nobody can log in as the agent or as a job", open_accounts),
        ("no program or setting can be changed by the agent or a job", changeable_files),
        ("systemd finds no fault with the units", lambda: run("systemd-analyze", "verify", *UNITS)),
        ("agent, firewall, deadline and set-up start at boot", not_at_boot),
        ("the firewall's rules are valid", invalid_rules),
        ("no key and no credentials are left", lambda: left_over(KEYS)),
        ("no history, log or identity of the build is left", lambda: left_over(TRACES)),
        ("each machine makes its own machine-id", own_machine_id),
    ]
    failed = [sentence for sentence, check in checks if not holds(sentence, check)]
    return 1 if failed else 0


def holds(sentence: str, check: Callable[[], Faults]) -> bool:
    """Make one check and print what it found."""
    faults = list(check())
    print("FAIL " if faults else "ok   ", sentence)  # noqa: T201
    for fault in faults[:10]:
        print("      ", fault)  # noqa: T201
    return not faults


def run(*command: str) -> Faults:
    """Run a command that says nothing if all is well; systemd-analyze exits 0 with warnings."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    yield from (answer.stdout + answer.stderr).splitlines()
    if answer.returncode:
        yield f"{command[0]} exited with {answer.returncode}"


def agent_starts() -> Faults:
    """Load every module of the agent, as its user; a missing library shows here."""
    as_agent = ["setpriv", "--reuid=parallelize", "--regid=parallelize", "--clear-groups"]
    command = [*as_agent, str(AGENT / "bin" / "parallelize-agent"), "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        yield from answer.stderr.splitlines()[-3:]


def foreign_libraries(stage: Path) -> Faults:
    """Find what is installed beside the agent and not in the requirements."""
    requirements = (stage / "requirements.txt").read_text(encoding="utf-8")
    pinned = {
        f"{name}-{version}"
        for name, version in re.findall(r"^(\S+)==(\S+)", requirements, re.MULTILINE)
    }
    for info in AGENT.glob("lib/python3*/site-packages/*.dist-info"):
        name = info.name.removesuffix(".dist-info").replace("_", "-")
        if name not in pinned and not name.startswith("parallelize-"):
            yield f"{name} is not in requirements.txt"


def open_accounts() -> Faults:
    """Find a user of ours with a shell or a password."""
    for user in USERS:
        line = next(run_lines("getent", "passwd", user), "")
        if not line.endswith(":/usr/sbin/nologin"):
            yield f"{user} has a shell"
        if not next(run_lines("getent", "shadow", user), "").startswith(f"{user}:!"):
            yield f"{user} has a password"


def changeable_files() -> Faults:
    """Find files that belong to one of our users, or are open to all."""
    owned = [word for user in USERS for word in ("-user", user, "-o")]
    yield from run_lines(
        "find", "/opt", "/etc", "/usr", "-xdev", "(", *owned, "-perm", "-o=w", ")",
        "!", "-type", "l",
    )  # fmt: skip


def not_at_boot() -> Faults:
    """Find a unit that is not enabled."""
    for unit in AT_BOOT:
        state = next(run_lines("systemctl", "is-enabled", unit), "unknown")
        if state != "enabled":
            yield f"{unit} is {state}"


def invalid_rules() -> Faults:
    """Have nft read the rules without loading them."""
    yield from run("nft", "--check", "--file", "/usr/lib/parallelize/metadata.nft")


def left_over(patterns: list[str]) -> Faults:
    """Find files that match one of the patterns."""
    for pattern in patterns:
        yield from (f"{path} is there" for path in Path("/").glob(pattern))


def own_machine_id() -> Faults:
    """Find a machine-id that every machine would share, or a file that is missing."""
    identity = Path("/etc/machine-id")
    if not identity.exists() or identity.stat().st_size:
        yield "/etc/machine-id must be there and empty"


def run_lines(*command: str) -> Iterator[str]:
    """Return the lines that a command prints."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    yield from answer.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
