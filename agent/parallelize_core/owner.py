"""Whose an output is: its metadata names the run and the input that it was made of.

Both values are percent-encoded, because headers are ASCII. Outputs of former versions name only
their input.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from parallelize_core import keys
from parallelize_core.layout import RunLayout

OWNER = "parallelize-input"
OWNER_RUN = "parallelize-run"

MAX_OWNER_BYTES = 900
"""S3 allows 2 KB of metadata: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""


def owner_mark(key: str) -> str:
    """Return what an output's metadata says of its input, unique for each input."""
    return keys.shorten(keys.quoted(key), MAX_OWNER_BYTES)


def run_mark(layout: RunLayout) -> str:
    """Return what an output's metadata says of its run: its location in S3."""
    return keys.quoted(f"{layout.root.bucket}/{layout.root.prefix}")


def other_run(metadata: Mapping[str, str], layout: RunLayout) -> str:
    """Return where another run is that made an output; empty if it is this one, or unknown."""
    run = metadata.get(OWNER_RUN)
    return "" if run is None or run == run_mark(layout) else f"s3://{unquote(run)}"
