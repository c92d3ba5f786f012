"""What the local cloud changes in the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.context import with_local_image
from parallelize.settings import Resolved, resolve


def resolved(ami: str, cwd: Path) -> Resolved:
    return resolve({"workers.ami": ami}, {}, cwd)


@pytest.mark.parametrize("ami", ["stock", "stock:ubuntu"])
def test_a_run_for_a_vendors_plain_image_can_be_rehearsed_in_the_local_cloud(
    ami: str, tmp_path: Path
) -> None:
    found = with_local_image(resolved(ami, tmp_path))
    assert found.settings.workers.ami == "auto"
    assert found.source("workers.ami") == "the local cloud"


@pytest.mark.parametrize("ami", ["auto", "ami-0123456789abcdef0", "stockholm"])
def test_any_other_image_stays_what_was_asked_for(ami: str, tmp_path: Path) -> None:
    given = resolved(ami, tmp_path)
    assert with_local_image(given) == given
