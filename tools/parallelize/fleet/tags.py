"""The tags by which a run's machines are found; nothing without them is ever touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parallelize_core.lane import Lane
from parallelize_core.names import Names

MANAGED = "parallelize:managed"
RUN = "parallelize:run"
LANE = "parallelize:lane"
"""On what serves a lane of the run other than the main one."""
VERSION = "parallelize:version"
"""On an image: the version of the agent inside."""
PLAIN = "parallelize:plain"
"""On an instance of the local cloud that must see only the programs that a real worker has."""


def run_tags(names: Names, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the tags of everything that belongs to a run; the user's tags cannot override ours."""
    ours = {MANAGED: names.managed, RUN: names.run, "Name": f"{names.stack} {names.run}"}
    if names.lane is not Lane.MAIN:
        ours |= {LANE: names.lane.value, "Name": f"{names.stack} {names.run} {names.lane}"}
    return {**(extra or {}), **ours}


def as_list(tags: Mapping[str, str]) -> list[Any]:
    """Return tags in EC2's form."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def as_dict(tags: Any) -> dict[str, str]:
    """Return EC2's tags (perhaps None) as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags or ()}


def filters(names: Names) -> list[Any]:
    """Return the filters that select what a stack manages, of one run or of all."""
    found: list[Any] = [{"Name": f"tag:{MANAGED}", "Values": [names.managed]}]
    return [*found, {"Name": f"tag:{RUN}", "Values": [names.run]}] if names.run else found
