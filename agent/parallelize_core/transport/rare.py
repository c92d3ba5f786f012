"""What is asked seldom goes by boto3, in a thread; its failures become the error tree, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from parallelize_core.errors import ParallelizeError

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
        from parallelize_core.aws_errors import translate  # noqa: PLC0415 - it imports botocore

        raise translate(error, "S3", where) from error
