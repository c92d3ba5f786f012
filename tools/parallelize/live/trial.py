"""What the probes share: the run's random name, the clients, and how a call is tried."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from parallelize.context import Context
from parallelize.live.transcript import Recorder
from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, code_of
from parallelize_core.names import Names

_NAMESPACE = "AWS.SimpleQueueService."
"""The prefix of SQS's codes."""

_LETTERS = "bcdfghjkmnpqrstvwxyz"
"""Not only hexadecimal digits, which would look like the end of an EC2 id; and no words."""


def random_name() -> str:
    """Return an unused name for a run."""
    return "live-" + "".join(secrets.choice(_LETTERS) for _ in range(12))


@dataclass(frozen=True)
class Seen:
    """What a probe found out; `good` unless it is not what the project relies on."""

    check: str
    good: bool
    text: str


@dataclass(frozen=True)
class Trial:
    """A rehearsal in the context's account; everything in it carries the run's name."""

    context: Context
    recorder: Recorder
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The random name."""
        return self.context.run

    @property
    def names(self) -> Names:
        """The names of its resources, with the stack's name."""
        return self.context.names

    @property
    def tags(self) -> dict[str, str]:
        """The tags for everything that takes tags, with those of the settings."""
        return self.context.tags

    def client(self, service: str) -> Any:
        """Return the client of a service; its calls are recorded."""
        if service not in self.clients:
            self.clients[service] = self.context.client(service)
        return self.clients[service]

    def call(self, service: str, operation: str, **params: Any) -> Any:
        """Make a call, and return its answer; raises the error tree's error for a refusal."""
        with translated(service.upper()):
            return getattr(self.client(service), operation)(**params)

    def code(self, service: str, operation: str, **params: Any) -> str:
        """Make a call that may be refused; return the code, empty if it was not.

        Raises errors other than refusals, such as a lost network.
        """
        try:
            self.call(service, operation, **params)
        except ParallelizeError as error:
            if not code_of(error):
                raise
            return code_of(error).removeprefix(_NAMESPACE)
        return ""


Probe = Callable[[Trial], Iterator[Seen]]


@dataclass(frozen=True)
class Kind:
    """A kind of resource that probes create: how the run's are found, by name, and deleted.

    `delete` receives what `find` found; some of it may be gone by then.
    """

    name: str
    find: Callable[[Trial], list[str]]
    delete: Callable[[Trial, str], object]
