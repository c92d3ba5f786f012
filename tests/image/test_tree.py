"""The provisioned tree: what the check of the image would find, and what it lets pass."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.image.harness import tree

SCRIPTS = sorted([
    *(tree.REPOSITORY / "packer" / "provision").glob("*.sh"),
    *(tree.REPOSITORY / "tests").glob("*.sh"),
    tree.REPOSITORY / "systemd" / "poweroff", tree.REPOSITORY / "systemd" / "deadline",
    tree.REPOSITORY / "systemd" / "scratch",
])  # fmt: skip

EXPOSURE_LIMIT = 36
"""Tenths of what `systemd-analyze security` counts; docs/image.md says what is left open, why."""

CHECK = f"cd /{tree.STAGE}/provision && STAGE=/{tree.STAGE} sh 90-check.sh"

FAULTS = {
    "a key": ("mkdir -p /home/x/.ssh && touch /home/x/.ssh/authorized_keys", "no key"),
    "a host key": ("touch /etc/ssh/ssh_host_ed25519_key", "no key"),
    "credentials": ("mkdir ~root/.aws", "no key"),
    "a history": ("touch ~root/.bash_history", "no history"),
    "a machine-id": ("echo 0123456789abcdef0123456789abcdef >/etc/machine-id", "machine-id"),
    "a library beside the pinned ones": (
        "cd /opt/parallelize/lib/python3*/site-packages && mkdir rich-1.0.dist-info",
        "pinned libraries",
    ),
    "a program that jobs can change": ("chmod o+w /opt/parallelize/bin/python", "changed"),
    "a user with a shell": ("chsh -s /bin/sh parallelize-job", "log in"),
    "a broken agent": ("rm /opt/parallelize/lib/python3*/site-packages/structlog/__init__.py",
                       "the agent starts"),
    "a misspelt setting": ("sed -i s/^WatchdogSec/Watchdogsec/ /etc/systemd/system/*-agent.service",
                           "no fault with the units"),
    "an agent that does not start": ("systemctl disable parallelize-agent", "start at boot"),
    "broken firewall rules": ("echo nonsense >>/usr/lib/parallelize/metadata.nft", "firewall"),
}  # fmt: skip


def test_the_tree_as_it_is_passes(worker_tree: Path) -> None:
    answer = tree.in_copy(worker_tree, CHECK)
    assert answer.returncode == 0, answer.stdout
    assert "FAIL" not in answer.stdout


@pytest.mark.parametrize(("plant", "sentence"), FAULTS.values(), ids=FAULTS.keys())
def test_the_check_finds(worker_tree: Path, plant: str, sentence: str) -> None:
    answer = tree.in_copy(worker_tree, f"{plant} && {CHECK}")
    failed = [line for line in answer.stdout.splitlines() if line.startswith("FAIL")]
    assert answer.returncode == 1, answer.stdout
    assert len(failed) == 1, answer.stdout
    assert sentence in failed[0]


def test_the_steps_that_need_no_network_can_be_repeated(worker_tree: Path) -> None:
    steps = "20-users.sh 40-jobs.sh 50-units.sh 80-clean.sh 90-check.sh"
    answer = tree.in_copy(worker_tree, f"sh /{tree.STAGE}/provision/all.sh {steps}")
    assert answer.returncode == 0, answer.stdout


def test_a_gpu_is_shown_to_jobs_only_where_there_is_one(worker_tree: Path) -> None:
    conf = "/etc/systemd/system/parallelize-agent.service.d/gpu.conf"
    units = f"sh /{tree.STAGE}/provision/all.sh 50-units.sh"
    assert tree.in_copy(worker_tree, f"test ! -e {conf}").returncode == 0
    assert (
        tree.in_copy(worker_tree, f"GPU=true {units} && grep PrivateDevices=no {conf}").returncode
        == 0
    )
    again = f"GPU=true {units} && {units} && test ! -e {conf}"
    assert tree.in_copy(worker_tree, again).returncode == 0


def test_the_owners_debian_packages_are_installed(worker_tree: Path) -> None:
    assert (worker_tree / "usr" / "bin" / tree.EXTRA_PACKAGES).exists()


ASKED = """
printf 'ID={id}\n' >/etc/os-release
printf '#!/bin/sh\necho "asked: $*"\n' | tee /usr/local/bin/dnf >/usr/local/bin/apt-get
chmod +x /usr/local/bin/dnf /usr/local/bin/apt-get
STOCK=true sh /{stage}/provision/all.sh 10-packages.sh
"""


@pytest.mark.parametrize(
    ("lacking", "name", "asked"),
    [
        ("true", "debian", []),
        ("true", "ubuntu", []),
        ("rm /usr/sbin/nft", "debian", ["update", "install --no-install-recommends nftables"]),
        ("true", "amzn", ["--quiet --assumeyes install nftables python3.11"]),
        ("touch /usr/bin/python3.11; chmod +x /usr/bin/python3.11", "amzn", []),
    ],
    ids=["debian", "ubuntu", "debian without nft", "amazon", "amazon with all"],
)
def test_a_plain_machine_asks_a_mirror_only_for_what_it_lacks(
    worker_tree: Path, lacking: str, name: str, asked: list[str]
) -> None:
    script = ASKED.format(id=name, stage=tree.STAGE)
    answer = tree.in_copy(worker_tree, f"{lacking}\n{script}")
    assert answer.returncode == 0, answer.stdout
    found = re.findall(r"^asked: (.*)$", answer.stdout, re.MULTILINE)
    assert len(found) == len(asked), answer.stdout
    assert all(words in line for words, line in zip(asked, found, strict=True))


def test_no_other_system_is_taken_for_one_that_is_known(worker_tree: Path) -> None:
    answer = tree.in_copy(worker_tree, ASKED.format(id="gentoo", stage=tree.STAGE))
    assert answer.returncode != 0
    assert "gentoo is not Debian, Ubuntu or Amazon Linux" in answer.stdout


def test_the_owners_python_packages_are_the_jobs_and_not_the_agents(worker_tree: Path) -> None:
    script = (
        f"EXTRA_REQUIREMENTS='jmespath' sh /{tree.STAGE}/provision/all.sh 40-jobs.sh 90-check.sh"
        " && /opt/jobs/bin/python -c 'import jmespath; print(jmespath.__file__)'"
        " && ! /opt/jobs/bin/python -c 'import boto3' 2>/dev/null"
    )
    answer = tree.in_copy(worker_tree, script)
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("/opt/jobs/lib/")


def test_the_exposure_of_the_agents_unit_is_no_more_than_stated(worker_tree: Path) -> None:
    words = f"security --offline=true --threshold={EXPOSURE_LIMIT} parallelize-agent.service"
    answer = tree.in_copy(worker_tree, f"systemd-analyze {words}")
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_no_complaint(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck: tests/install-packages.sh")
    answer = subprocess.run(
        ["shellcheck", "--shell=sh", "--external-sources", "--source-path=SCRIPTDIR", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("name", ["requirements.txt", "pip.txt"])
def test_every_requirement_is_pinned_by_hash_and_names_no_index(name: str) -> None:
    text = (tree.REPOSITORY / "packer" / name).read_text(encoding="utf-8")
    pinned = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all("--hash=sha256:" in entry and "==" in entry for entry in pinned)
    assert "://" not in text


def test_the_template_asks_for_an_encrypted_image_whose_machines_demand_imdsv2() -> None:
    """No emulator looks at these, and Debian's Packer does not know all of them."""
    template = (tree.REPOSITORY / "packer" / "worker.pkr.hcl").read_text(encoding="utf-8")
    settings = dict(re.findall(r"^ +(\w+) += (\S+)$", template, flags=re.MULTILINE))
    wanted = {
        "encrypt_boot": "true",
        "imds_support": '"v2.0"',
        "http_tokens": '"required"',
        "http_put_response_hop_limit": "1",
    }
    assert wanted.items() <= settings.items()
