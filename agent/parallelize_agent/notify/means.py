"""The three ways to notify people of the end of a run: a webhook, the stack's topic, a command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from parallelize_agent.job.environment import Environments
from parallelize_agent.notify import webhook
from parallelize_agent.notify.command import CommandRunner
from parallelize_core.errors import ServiceError
from parallelize_core.notify import Notification, Notify
from parallelize_core.run import Run

MOST_SUBJECT_CHARACTERS = 100
"""https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

PublishTo = Callable[[str, str, str], None]
"""Publishes to a topic: its ARN, a subject, a text. It blocks."""


@dataclass(frozen=True)
class Patience:
    """Times in seconds, for the worker that notifies people, and for those that wait for it.

    All tries together take `send`, with a pause of `first_pause` after the first one, then twice
    as long each time. A record that is unchanged for `silence` is taken over.
    """

    send: float = 30.0
    first_pause: float = 1.0
    silence: float = 60.0
    look: float = 3.0


@dataclass(frozen=True)
class Means:
    """This worker's ways to notify people; `publish_to` is None where there are no topics.

    `is_local` says that S3 is an emulator on this machine: then webhooks may be there, too.
    """

    publish_to: PublishTo | None = None
    is_local: bool = False
    patience: Patience = Patience()


NO_MEANS = Means()


@dataclass(frozen=True)
class Senders:
    """Sends a notification in the way that the run configures."""

    environments: Environments
    run_command: CommandRunner
    means: Means

    async def __call__(self, notify: Notify, run: Run, told: Notification) -> None:
        """Send it; raise UnavailableError if a retry may help, ServiceError if not."""
        if notify.command:
            folder = await self.environments.folder(run)
            await asyncio.to_thread(self.run_command, notify.command, run, folder, told.body())
        elif notify.topic:
            await asyncio.to_thread(self._publish, notify.topic, told)
        else:
            await asyncio.to_thread(
                webhook.post, notify.url, told.body(), on_loopback=self.means.is_local
            )

    def _publish(self, topic: str, told: Notification) -> None:
        if self.means.publish_to is None:
            raise ServiceError("there is no SNS topic here to send e-mail through")
        subject = f"parallelize: {told.headline}"[:MOST_SUBJECT_CHARACTERS]
        self.means.publish_to(
            topic, subject, f"{told.text}\n\n{json.dumps(told.body(), indent=2)}\n"
        )
