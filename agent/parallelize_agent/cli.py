"""`parallelize-agent`: read the configuration, assemble the worker, exit with the right code.

0: the work is done, or the worker was told to leave. 2: the configuration or the run is wrong.
6: the services or this machine failed the worker. systemd restarts after any but 0 (see systemd/).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from parallelize_agent import services
from parallelize_agent.assembly import Assembly, Notice
from parallelize_agent.machine import group, systemd
from parallelize_agent.machine.metadata import (
    Instance,
    Metadata,
    identify,
    no_instance,
    read_instance,
)
from parallelize_agent.machine.notices import NoticeWatch
from parallelize_agent.machine.root_setup import find_root_setup
from parallelize_agent.process import tree
from parallelize_agent.process.cgroup import JobCgroups
from parallelize_agent.process.job_users import JOB_USER_VARIABLE, job_users
from parallelize_agent.process.read_only import enter_own_namespaces
from parallelize_agent.process.short_turns import take_larger_share, take_short_turns
from parallelize_agent.reporting.cloud_log import CloudLog, without_words_of_commands
from parallelize_agent.shutdown import ShutdownReason, words
from parallelize_agent.worker import Worker
from parallelize_core.clients import RequestCounts
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.version import VERSION

log = structlog.get_logger()

GARBAGE = 20_000
"""The collector runs after this many new objects: a few milliseconds."""


def main() -> None:
    """Run the agent and exit."""
    arguments = _parse(sys.argv[1:])
    # The copy of the log ends after the last line, which may report a crash.
    with ExitStack() as at_end:
        code = _live(arguments, at_end)
    # At once: a call to AWS that hangs in a thread must not keep the machine running.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _live(arguments: argparse.Namespace, at_end: ExitStack) -> int:
    try:
        reason = _run(arguments, at_end)
    except ParallelizeError as error:
        return _failed(error)
    except SystemExit:
        raise
    except BaseException:
        log.exception("crashed")
        return 1
    if reason.error:
        return _failed(reason.error)
    log.info("left", reason=reason.reason)
    return 0


def _failed(error: ParallelizeError) -> int:
    log.error("failed", what=error.what, why=error.why, fix=error.fix)
    return error.exit_code


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="parallelize-agent",
        description="Work on the files of a `parallelize` run until it is finished.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration, as `parallelize launch --print-config` writes it "
        "(default: this instance's user data)",
    )
    parser.add_argument(
        "--metadata",
        action="store_true",
        help="use the instance's metadata service although --config is given",
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="the folder for environments and scratch folders "
        "(default: $STATE_DIRECTORY, else a temporary folder)",
    )
    return parser.parse_args(words)


def _run(arguments: argparse.Namespace, at_end: ExitStack) -> ShutdownReason:
    if not os.environ.get(JOB_USER_VARIABLE):
        enter_own_namespaces()  # before there is a second thread
    in_ec2 = arguments.metadata or not arguments.config
    metadata = Metadata.from_environment() if in_ec2 else None
    instance = read_instance(metadata) if metadata else no_instance()
    configure_log(instance.worker)
    config = _read_config(arguments.config, instance)
    counts = RequestCounts()
    if copy := services.make_cloud_log(config, instance, counts):
        copy.start()
        at_end.callback(copy.close)
        configure_log(instance.worker, copy)
    log.info("starting", version=VERSION)
    systemd.write_power_off_policy(
        shutdown=config.shutdown, max_runtime_seconds=config.max_runtime_seconds
    )
    tree.inherit_nothing()
    tree.adopt_orphans()
    take_larger_share()
    take_short_turns()
    named = arguments.work_dir or os.environ.get("STATE_DIRECTORY")
    # A folder made too early would outlive every agent that is killed.
    with nullcontext(named) if named else TemporaryDirectory(prefix="parallelize-") as work_dir:
        reason = asyncio.run(_work(config, instance, metadata, Path(work_dir).resolve(), counts))
    _leave_group(config, instance, reason)
    return reason


async def _work(
    config: AgentConfig,
    instance: Instance,
    metadata: Metadata | None,
    work_dir: Path,
    counts: RequestCounts,
) -> ShutdownReason:
    async with services.connect(config, instance, counts, metadata) as connections:
        watch = NoticeWatch(metadata, config.notice_poll_seconds) if metadata else None
        assembly = Assembly(
            config=config,
            instance=instance,
            work_dir=work_dir,
            open_store=connections.open_store,
            open_rare=connections.open_rare,
            open_client=services.opener(config, instance, counts),
            queue=connections.queue,
            dead_letters=connections.dead_letters,
            lane_queues=connections.lane_queues,
            publish=services.make_publisher(config, instance, counts),
            means=services.find_means(config, instance, counts),
            counts=counts,
            users=job_users(),
            cgroups=JobCgroups.claim(),
            root_setup=find_root_setup(config),
            notice=_time_of(config, watch) if watch else None,
            alive=lambda: systemd.watchdog(f"serving run {config.run}"),
        )
        try:
            worker = await assembly.worker()
        except ParallelizeError as error:
            _give_up(config, instance, error)
            raise
        _heed_signals(worker, config)
        # Existing objects stay: the collector need not scan them again every thousand jobs.
        gc.freeze()
        # And a job leaves nothing behind that only the collector could free.
        gc.set_threshold(GARBAGE, 20, 20)
        gc.enable()
        systemd.ready(f"serving run {config.run}")
        reason = await worker.run()
        systemd.stopping(reason.reason)
        return reason


def _time_of(config: AgentConfig, watch: NoticeWatch) -> Notice:
    """Return a function that waits for a notice, and returns how long jobs may still run."""

    async def notice() -> tuple[str, float]:
        found = await watch.first()
        if found.seconds is None:
            return found.reason, config.stop_grace_seconds
        return found.reason, max(0.0, found.seconds - config.interruption_margin_seconds)

    return notice


def _heed_signals(worker: Worker, config: AgentConfig) -> None:
    def terminate() -> None:
        why = "it was asked to stop (SIGTERM)"
        worker.shutdown.decide(why, config.stop_grace_seconds, imposed=True)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)


def _give_up(config: AgentConfig, instance: Instance, error: ParallelizeError) -> None:
    """Record why the worker cannot start, for `status`, and leave the group."""
    heartbeat = identify(config, instance).model_copy(
        update={"state": WorkerState.FAILED, "reason": words(error)}
    )
    try:
        store = services.open_rare(config, instance)
        store.put(config.layout.heartbeat(instance.worker), heartbeat.encode())
    except Exception as unheard:
        log.warning("failure not reported", error=str(unheard) or repr(unheard))
    _leave_group(config, instance, ShutdownReason(error.what, error=error))


def _leave_group(config: AgentConfig, instance: Instance, reason: ShutdownReason) -> None:
    # A machine that is being taken away, was ended by a person, or whose time is up may be
    # replaced; one that leaves by itself must not be, whether its work is done or it cannot work.
    if reason.imposed or not _is_member(config, instance):
        return
    services.leave_group(config, instance, reason)


def _is_member(config: AgentConfig, instance: Instance) -> bool:
    def look() -> str | None:
        # An instance without a type was not read from a metadata service.
        return Metadata.from_environment().get(group.STATE_PATH) if instance.type else None

    return group.is_member(config.fleet == "persistent", instance.group_state, look)


def _read_config(path: Path | None, instance: Instance) -> AgentConfig:
    if path is None:
        return _decode_user_data(instance)
    try:
        return AgentConfig.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", error.strerror) from None


def _decode_user_data(instance: Instance) -> AgentConfig:
    try:
        return AgentConfig.decode(instance.user_data, "the instance's user data")
    except UsageError as error:
        # A newer client's, for instance. Without this, a group would replace this machine, and
        # every successor, for as long as somebody pays.
        if known := AgentConfig.decode_identity(instance.user_data):
            _give_up(known, instance, error)
        raise


def configure_log(worker: str, copy: CloudLog | None = None) -> None:
    """Write each log line to stderr as JSON with the worker's id, and send it to `copy`."""
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
        # One write a line, even where Python does not buffer.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
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
