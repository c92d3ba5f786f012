"""What a person uses: the command line, the local cloud, and the fleet; for Python, `map`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallelize.api import (
        Executor,
        JobError,
        Outcome,
        Outcomes,
        Stream,
        map,  # noqa: A004 - see there
        stream,
    )
    from parallelize_core.for_commands.parallelize import serve

__all__ = ["Executor", "JobError", "Outcome", "Outcomes", "Stream", "map", "serve", "stream"]


def __getattr__(name: str) -> Any:
    # Imported only when needed: boto3 takes longer to import than --help may take.
    if name == "serve":
        from parallelize_core.for_commands.parallelize import serve  # noqa: PLC0415

        return serve
    if name in __all__:
        from parallelize import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
