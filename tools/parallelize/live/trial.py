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
"""What SQS puts before its codes."""

_LETTERS = "bcdfghjkmnpqrstvwxyz"
"""No hexadecimal digits alone, which would look like the end of an id of EC2's; and no words."""


def random_name() -> str:
    """Return a name that no run has."""
    return "live-" + "".join(secrets.choice(_LETTERS) for _ in range(12))


@dataclass(frozen=True)
class Seen:
    """What a probe saw of a thing; `good` unless it is not what the project counts on."""

    check: str
    good: bool
    text: str


@dataclass(frozen=True)
class Trial:
    """A rehearsal under way, on the context's account; all its things carry the run's name."""

    context: Context
    recorder: Recorder
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The random name."""
        return self.context.run

    @property
    def names(self) -> Names:
        """What its things are called, with the stack's name."""
        return self.context.names

    @property
    def tags(self) -> dict[str, str]:
        """The tags of all that takes tags, with those that the settings ask for."""
        return self.context.tags

    def client(self, service: str) -> Any:
        """Return the client of a service, whose calls are written down."""
        if service not in self.clients:
            self.clients[service] = self.context.client(service)
        return self.clients[service]

    def call(self, service: str, operation: str, **params: Any) -> Any:
        """Make a call, and return its answer; raises what our error tree has for a refusal."""
        with translated(service.upper()):
            return getattr(self.client(service), operation)(**params)

    def code(self, service: str, operation: str, **params: Any) -> str:
        """Make a call that may be refused: return the code, empty if it was not.

        Raises what is not a refusal, such as a network that is gone.
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
    """A kind of thing that probes make: how those of the run are found, by name, and deleted.

    `delete` is given what `find` has found, and may meet what is gone meanwhile.
    """

    name: str
    find: Callable[[Trial], list[str]]
    delete: Callable[[Trial, str], object]
