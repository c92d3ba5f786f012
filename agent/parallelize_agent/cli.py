"""`parallelize-agent`: read the configuration, put the worker together, exit with the right code.

0: the work is over, or the worker was asked to leave. 2: the configuration or the run is wrong.
6: the services or this machine failed the worker. systemd restarts on any but 0 (see systemd/).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent import assembly
from parallelize_agent.machine import group, systemd
from parallelize_agent.machine.metadata import Metadata
from parallelize_agent.machine.notices import Notice, NoticeWatch
from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.job_users import JOB_USER_VARIABLE
from parallelize_agent.process.read_only import enter_own_namespaces
from parallelize_agent.reporting import log as logs
from parallelize_agent.shutdown import Departure
from parallelize_agent.worker import Worker
from parallelize_core.aws_errors import explain
from parallelize_core.clients import Clients, client_config, make_session
from parallelize_core.config import AgentConfig
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.layout import group_name
from parallelize_core.version import VERSION

log = structlog.get_logger()

IN_SERVICE = "InService"
"""The target lifecycle state of a group's member that is neither interrupted nor scaled in."""


def main() -> None:
    """Run the agent and exit."""
    arguments = _parse(sys.argv[1:])
    # The copy of the log ends after the last line, which may tell of a crash.
    with ExitStack() as at_end:
        _live(arguments, at_end)


def _live(arguments: argparse.Namespace, at_end: ExitStack) -> None:
    try:
        departure = _run(arguments, at_end)
    except ParallelizeError as error:
        _fail(error)
    except (BotoCoreError, ClientError) as error:
        _fail(_explained(error))
    except Exception:
        log.exception("crashed")
        raise
    if departure.error:
        _fail(departure.error)
    log.info("left", reason=departure.reason)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="parallelize-agent", description="A worker of a run of `parallelize`."
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
        help="ask the instance's metadata service although a configuration is given",
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where environments and scratch folders go "
        "(default: $STATE_DIRECTORY, else a temporary folder)",
    )
    return parser.parse_args(words)


def _run(arguments: argparse.Namespace, at_end: ExitStack) -> Departure:
    if not os.environ.get(JOB_USER_VARIABLE):
        enter_own_namespaces()  # before there is a second thread
    in_ec2 = arguments.metadata or not arguments.config
    metadata = Metadata.from_environment() if in_ec2 else None
    instance = assembly.read_instance(metadata) if metadata else assembly.no_instance()
    logs.configure(instance.worker)
    config = _read_config(arguments.config, instance)
    if copy := assembly.make_cloud_log(config, instance):
        copy.start()
        at_end.callback(copy.close)
        logs.configure(instance.worker, copy)
    log.info("starting", version=VERSION)
    systemd.promise(shutdown=config.shutdown, max_runtime_seconds=config.max_runtime_seconds)
    process_tree.adopt_orphans()
    named = arguments.work_dir or os.environ.get("STATE_DIRECTORY")
    # A folder made for nothing would outlive every agent that is killed.
    with nullcontext(named) if named else TemporaryDirectory(prefix="parallelize-") as work_dir:
        worker = _make_worker(config, instance, Path(work_dir).resolve())
        departure = _work(worker, config, metadata)
        _leave_group(config, instance, departure)
        return departure


def _make_worker(config: AgentConfig, instance: assembly.Instance, work_dir: Path) -> Worker:
    try:
        return assembly.make_worker(config, instance, work_dir)
    except (ParallelizeError, BotoCoreError, ClientError) as error:
        _give_up(config, instance, _explained(error))
        raise


def _give_up(config: AgentConfig, instance: assembly.Instance, error: ParallelizeError) -> None:
    assembly.tell_failure(config, instance, error)
    _leave_group(config, instance, Departure(error.what, error=error))


def _explained(error: Exception) -> ParallelizeError:
    if isinstance(error, ParallelizeError):
        return error
    return explain(error) or ParallelizeError(str(error))


def _leave_group(config: AgentConfig, instance: assembly.Instance, departure: Departure) -> None:
    # A machine that is being taken away, that a person ends, or whose time is up may be replaced;
    # one that leaves of its own accord must not be, whether its work is over or it cannot work.
    if instance.group_state != IN_SERVICE or departure.imposed:
        return
    session = make_session(config.region or instance.region)
    autoscaling = session.client("autoscaling", config=client_config())
    records = Clients.make(session).store(config.bucket)
    failed = departure.error is not None

    def should_rest() -> bool:
        return group.should_rest(records, config.layout, instance.worker, failed=failed)

    group.hold(autoscaling, group_name(config.run), should_rest)
    group.leave(autoscaling, instance.worker)


def _read_config(path: Path | None, instance: assembly.Instance) -> AgentConfig:
    if path is None:
        return _decode_user_data(instance)
    try:
        return AgentConfig.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", error.strerror) from None


def _decode_user_data(instance: assembly.Instance) -> AgentConfig:
    try:
        return AgentConfig.decode(instance.user_data, "the instance's user data")
    except UsageError as error:
        # A newer client's, for instance. Without this, a group would replace this machine, and
        # each that takes its place, for as long as somebody pays.
        if known := AgentConfig.gist(instance.user_data):
            _give_up(known, instance, error)
        raise


def _work(worker: Worker, config: AgentConfig, metadata: Metadata | None) -> Departure:
    def terminate(_: int, __: object) -> None:
        worker.leaving.decide(
            "it was told to stop (SIGTERM)", config.stop_grace_seconds, imposed=True
        )

    def interrupted(notice: Notice) -> None:
        margin = config.interruption_margin_seconds
        left = config.stop_grace_seconds if notice.seconds is None else notice.seconds - margin
        worker.leaving.decide(notice.reason, max(0.0, left), imposed=True)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    watch = None
    if metadata:
        watch = NoticeWatch(metadata, interrupted, config.notice_poll_seconds)
        watch.start()
    systemd.ready(f"serving run {config.run}")
    departure = worker.run()
    systemd.stopping(departure.reason)
    if watch:
        watch.stop()
    return departure


def _fail(error: ParallelizeError) -> None:
    log.error("failed", what=error.what, why=error.why, fix=error.fix)
    sys.exit(error.exit_code)
