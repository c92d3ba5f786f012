"""The agent's log: one JSON object a line on stderr, which journald keeps, and perhaps a copy."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from parallelize_agent.reporting.cloud_log import CloudLog, without_words_of_commands


def configure(worker: str, copy: CloudLog | None = None) -> None:
    """Send every log line to stderr as JSON, with the worker's id in it; and to `copy`."""
    structlog.configure(
        processors=[
            # Not a context variable: those do not reach the threads of the pools.
            _named(worker),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *([_copied(copy)] if copy else []),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _named(worker: str) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {
            "worker": worker,
            **{key: value for key, value in event.items() if value is not None},
        }

    return add


def _copied(copy: CloudLog) -> Processor:
    render = structlog.processors.JSONRenderer()

    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        copy.add(str(render(logger, method, without_words_of_commands(event))))
        return event

    return add
