"""What a worker has at hand to tell people of the end of a run, and how patient it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PublishTo = Callable[[str, str, str], None]
"""Publishes to a topic: its ARN, a subject, a text. It blocks."""


@dataclass(frozen=True)
class Patience:
    """Times in seconds: of one who tells people, and of those who wait until it has.

    All tries together take `send`, with a pause of `first_pause` after the first and of twice the
    last one after each other. A record that stands still for `silence` is taken over.
    """

    send: float = 30.0
    first_pause: float = 1.0
    silence: float = 60.0
    look: float = 3.0


@dataclass(frozen=True)
class Means:
    """The ways out of this worker; `publish_to` is None where there are no topics.

    `is_local` says that S3 is an emulator on this machine: then webhooks may be there, too.
    """

    publish_to: PublishTo | None = None
    is_local: bool = False
    patience: Patience = Patience()


NO_MEANS = Means()
