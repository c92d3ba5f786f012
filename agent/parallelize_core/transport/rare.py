"""What is asked seldom goes by boto3, in a thread; its failures become the error tree, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from parallelize_core.errors import ParallelizeError, UnavailableError
from parallelize_core.transport.answers import Reply, ReplyError, translated

T = TypeVar("T")


async def in_thread(pool: Executor, where: str, do: Callable[[], T]) -> T:
    """Return what comes of `do`; raise the error tree, or MemoryError.

    `where` names the object, bucket or queue in errors. What is cancelled goes on in its thread.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, do)
    except (ParallelizeError, MemoryError):
        raise
    except Exception as error:  # whatever boto3 and what it stands on raise
        raise _translated(error, where) from error


def _translated(error: Exception, where: str) -> ParallelizeError:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - it takes long to import

    from parallelize_core.aws_errors import explain  # noqa: PLC0415 - so does this

    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        words = (said.get("Code", ""), said.get("Message", ""))
        return translated(ReplyError(Reply(status), words), where)
    known = explain(error)
    if known is not None and known.exit_code != UnavailableError.exit_code:
        return known
    return UnavailableError(f"{where} cannot be reached", str(error), "check the network")
