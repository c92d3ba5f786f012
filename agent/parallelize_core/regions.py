"""The region that the environment asks for."""

from __future__ import annotations

from collections.abc import Mapping

REGION_VARIABLES = ("PARALLELIZE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
"""By precedence; boto3 itself does not read AWS_REGION."""


def region_from(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the region that the environment asks for and the variable that said so."""
    for name in REGION_VARIABLES:
        if value := environ.get(name):
            return value, name
    return None
