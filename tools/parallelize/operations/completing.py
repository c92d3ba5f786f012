"""Answers `completers`: names that begin with what was typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from parallelize.context import open_context
from parallelize.local import cloud as local_cloud
from parallelize.options import Common
from parallelize_core.layout import RUN_NAME
from parallelize_core.manifest import read_entries

MOST = 200
"""More candidates than these do not help anybody."""

MOST_READ = 50_000
"""A larger run's later files are not completed: TAB has to be answered quickly."""


def runs(begun: str, flags: Mapping[str, Any]) -> list[str]:
    """Return the names of the runs in the bucket."""
    context = open_context(Common(**flags))
    found = context.store.folders(context.base.key("runs", ""))
    return _beginning(begun, (name for name in found if RUN_NAME.fullmatch(name)))


def files(begun: str, flags: Mapping[str, Any]) -> list[str]:
    """Return the keys of the run's inputs."""
    context = open_context(Common(**flags))
    keys = (entry.key for entry in read_entries(context.store, context.layout))
    return _beginning(begun, islice(keys, MOST_READ))


def machines(begun: str) -> list[str]:
    """Return the ids of the local cloud's machines that have not terminated."""
    cloud = local_cloud.attach()
    there = cloud.instances() if cloud else []
    return _beginning(begun, (one.id for one in there if one.state != "terminated"))


def _beginning(begun: str, names: Iterable[str]) -> list[str]:
    return list(islice((name for name in names if name.startswith(begun)), MOST))
