"""A run's container image on a machine that was booted from the machine image."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from tests.functional.container.images import shell_image
from tests.image.harness.machine import BOOT_SECONDS, Boot, wait_for_power_off
from tests.image.harness.services import BUCKET, Bench, pull_there

from parallelize_core.container_image import Image

LOOK = """set -u
id -u; id -g
cat /proc/self/status /proc/net/dev
(echo >/bin/sh) 2>&1; (echo >/etc/x) 2>&1
ls /; ls /home /var/lib/parallelize 2>&1
cp "$1" "/tmp/$PARALLELIZE_INPUT_KEY" && echo "/tmp/$PARALLELIZE_INPUT_KEY"
"""


def test_a_job_runs_in_an_image_as_its_own_user_and_with_no_rights(
    boot: Boot, services: Bench, tmp_path: Path
) -> None:
    made = shell_image(tmp_path / "image", env=["COLOUR=blue"])
    content = packed(made.folder)
    services.store.put("image.tar", content)
    image = Image(
        name="of the test", kind="oci-archive", bucket=BUCKET, key="image.tar",
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
    )  # fmt: skip
    command = ("sh", "-c", LOOK, "sh")
    layout = services.start_run("contained", command, inputs=2, image=image)
    wait_for_power_off(boot())
    results = services.results(layout)
    assert {result.status for result in results.values()} == {"succeeded"}, results
    for result in results.values():
        lines = result.log.splitlines()
        assert lines[0] == lines[1] != "0"
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert {fields[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        devices = [line.split(":")[0].strip() for line in lines if ": " in line and "eth" in line]
        assert devices == []
        assert result.log.count("Read-only file system") == 2
        assert result.image == image.digest


def test_an_image_is_pulled_from_a_registry_that_the_machine_reaches(
    boot: Boot, services: Bench, tmp_path: Path
) -> None:
    pulled = pull_there(boot, services, tmp_path, BOOT_SECONDS)
    assert pulled.ends == {("succeeded", pulled.digest, True)}
    assert pulled.fetched == 1


def packed(folder: Path) -> bytes:
    """Return an image in an OCI layout as one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, ".")
    return buffer.getvalue()
