"""Workers from a vendor's plain image, for users who have not built an image yet.

The machine's user data fetches the bundle (see `bundle`) with the machine's role, verifies it, and
runs the same steps as the image. So it becomes the same worker, but starts more slowly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files

from parallelize_core.config import AgentConfig

SETTINGS_LINE = 'SETTINGS: dict[str, Any] = json.loads(r"""{}""")'


@dataclass(frozen=True)
class Bundle:
    """The bundle of a launch, for a `system`: where the machine finds it, and its checksum.

    `key` is its key in the run's bucket; `sent` tells whether it is there.
    """

    system: str
    url: str
    sha256: str
    key: str
    sent: bool
    body: bytes = field(repr=False)
    architecture: str = "x86_64"


def user_data(agent: AgentConfig, bundle: Bundle) -> str:
    """Return the script that makes a plain machine a worker. It holds no secret."""
    settings = {
        "bundle": bundle.url,
        "sha256": bundle.sha256,
        "config": json.loads(agent.encode()),
    }
    script = files("parallelize.fleet").joinpath("bootstrap.py").read_text(encoding="utf-8")
    # No JSON has three quotes in a row, so nothing in it can end the string early.
    text = json.dumps(settings)
    return script.replace(SETTINGS_LINE, f'SETTINGS: dict[str, Any] = json.loads(r"""{text}""")')
