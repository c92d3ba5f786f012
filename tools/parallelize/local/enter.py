"""Leading a command to the local cloud, as its own environment variables would."""

from __future__ import annotations

import os

from parallelize.local.cloud import LocalCloud, attach
from parallelize_core.errors import UsageError


def enter_local_cloud() -> LocalCloud:
    """Lead this process to the local cloud that runs; UsageError if none does.

    It does what `eval "$(parallelize local start)"` does to a shell, so nothing else in the code
    has to know.
    """
    cloud = attach()
    if cloud is None:
        raise UsageError(
            "no local cloud is running", None, "parallelize run --local, or parallelize local start"
        )
    wanted = cloud.child_environ(os.environ)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
    return cloud
