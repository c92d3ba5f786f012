"""Lane C: the template itself, with EC2 emulated and a container in the place of the instance.

Debian's Packer is 1.6, whose amazon-ebs is built in: it refuses the plugins and four settings of
today's. What CI builds is the template without those, and with the emulator's address.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from moto.backends import get_backend
from moto.ec2.models.amis import Ami
from tests.image.harness.services import ENDPOINT, REGION
from tests.image.harness.tree import REPOSITORY

ACCOUNT = "123456789012"
DEBIAN_OWNER = "136693071363"

NEWER_THAN_DEBIANS = (
    r"^  metadata_options \{.*?^  \}\n",
    r"^  imds_support .*?\n",
    r"^  temporary_security_group_source_public_ip .*?\n",
    r"^  temporary_key_pair_type .*?\n",
)
"""Settings of the template that Packer 1.6 does not know; plugins.pkr.hcl is left out as well."""

EMULATED = """
  custom_endpoint_ec2         = "{endpoint}"
  skip_region_validation      = true
  skip_credential_validation  = true
  skip_metadata_api_check     = true
  ssh_host                    = "{host}"
  ssh_private_key_file        = "{key}"
"""


def older_template(folder: Path, host: str, key: Path) -> Path:
    """Copy what Packer reads to `folder`, in the words of Debian's Packer; return its place."""
    for name in ("packer", "systemd", "docs"):
        shutil.copytree(REPOSITORY / name, folder / name)
    template = folder / "packer" / "worker.pkr.hcl"
    text = template.read_text(encoding="utf-8")
    for pattern in NEWER_THAN_DEBIANS:
        text, found = re.subn(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
        assert found == 1, f"{pattern} is not in the template"
    start = 'source "amazon-ebs" "worker" {\n'
    emulated = EMULATED.format(endpoint=ENDPOINT, host=host, key=key)
    template.write_text(text.replace(start, start + emulated), encoding="utf-8")
    (template.parent / "plugins.pkr.hcl").unlink()
    return template.parent


def publish_base_images() -> None:
    """Let EC2 have Debian's image, and a newer one with the same name by somebody else."""
    backend = get_backend("ec2")[ACCOUNT][REGION]
    for image, owner, date in (
        ("ami-00000000000000001", DEBIAN_OWNER, datetime(2026, 1, 1, tzinfo=UTC)),
        ("ami-00000000000000002", "999999999999", datetime(2026, 11, 1, tzinfo=UTC)),
    ):
        backend.amis[image] = Ami(
            backend, image, name=f"debian-13-amd64-{date:%Y%m%d}", owner_id=owner, public=True,
            architecture="x86_64", virtualization_type="hvm", root_device_type="ebs",
            root_device_name="/dev/xvda", creation_date=date,
        )  # fmt: skip


def packer(*words: str | Path, folder: Path) -> str:
    """Run Packer and return what it printed; raise if it fails."""
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1",
        "PACKER_CACHE_DIR": str(folder / "cache"), "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": REGION,
    }  # fmt: skip
    answer = subprocess.run(
        ["packer", *words], cwd=folder, env=environ, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    return answer.stdout
