"""What a command works with: the settings, the run, and the way to S3 and SQS.

    context = open_context(common, {"workers.count": count})   # flags; None means not given
    context.settings.workers.count
    context.folder            relative paths in parallelize.toml are relative to it
    context.run               the run's name
    context.base, .layout     where the run is; the bucket "auto" is looked up on first use
    context.store, .store_of(bucket)
    context.transfer(bucket, work)   # for many objects at a time
    context.session           a session of AWS, for clients of other services:
                              context.client("ec2")
    context.queues            the run's two queues; MissingError before `enqueue` made them

Nothing here calls AWS until it has to, and the modules for the local cloud and for machines are
imported only when they are needed.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from platformdirs import user_config_path

from parallelize import settings as settings_module
from parallelize.bucket import auto_name
from parallelize.bulk import WireStore
from parallelize.console import ask, say
from parallelize.fleet.tags import PLAIN, run_tags
from parallelize.lanes import lanes_of, of_lane
from parallelize.options import Common
from parallelize.project import Project
from parallelize.queues import PLACE, Queues, find_queues, make_queues, place_tag
from parallelize.region import check_name, custom_endpoint, endpoint_banner, is_known
from parallelize.settings import Resolved, Settings
from parallelize.together import Together
from parallelize.wire import S3_CALLS, SQS_CALLS, Wire
from parallelize_core.bucket_terms import Terms
from parallelize_core.clients import Clients, client_config, make_session
from parallelize_core.errors import NoRunError, ParallelizeError, UsageError
from parallelize_core.lane import Lane
from parallelize_core.layout import Location, RunLayout, check_run_name
from parallelize_core.names import Names
from parallelize_core.store import AsyncStore, Store
from parallelize_core.translated import translated
from parallelize_core.transport.endpoints import region_from
from parallelize_core.transport.plain import Plain

Made = TypeVar("Made")

if TYPE_CHECKING:
    from parallelize_core.clients import Session

CONNECTIONS = 32
"""More than the machine has cores, because transfers mostly wait for the network."""

USER_FILE = "config.toml"


@dataclass(frozen=True)
class Context:
    """See the module; made by `open_context`, or by hand in tests."""

    resolved: Resolved
    run: str
    hint: str = ""
    """The flags that commands shown to the user need in order to mean the same run."""
    join: bool = False
    """Whether to accept, and change, a run that another project has made."""
    home: Path | None = None
    """Where the project's id is kept, if not in its folder."""
    lane: Lane = Lane.MAIN
    """The lane whose workers are meant."""
    tell: Callable[[str], None] = say
    """Receives what an operation reports as it goes on."""
    ask: Callable[[str, str], str | None] = ask
    """Asks a question, after a text; returns None if nobody can answer."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.resolved.settings

    @property
    def folder(self) -> Path:
        """The project's folder: that of parallelize.toml, or else the working directory."""
        return self.resolved.folder

    def path(self, text: str) -> Path:
        """Return a path from the settings; relative ones start at the project's folder."""
        return self.folder / Path(text).expanduser()

    @cached_property
    def project(self) -> Project:
        """The project, which decides whose runs are its own."""
        return Project(self.home or self.folder)

    @cached_property
    def plain(self) -> Plain | None:
        """The region and keys if no setting needs botocore, which takes long to import."""
        aws, found = self.settings.aws, region_from(os.environ)
        region = aws.region or (found[0] if found else "")
        # What has opened a session may listen to all that goes through it.
        if "session" in vars(self):
            return None
        plain = Plain.of(os.environ, region, profile=aws.profile or "")
        known = plain and plain.find_keys and (plain.local or is_known(plain.region))
        return plain if known else None

    @cached_property
    def session(self) -> Session:
        """The AWS session with the region and profile of the settings.

        Raises UsageError for a region that does not exist.
        """
        with translated("AWS"):
            session = make_session(self.settings.aws.region, self.settings.aws.profile)
            check_name(session, self.region_source)
        self.terms.install(session.events)
        return session

    @cached_property
    def clients(self) -> Clients:
        """The clients for S3 and SQS, which are made when they are needed."""
        return Clients(
            self.wire.client(S3_CALLS, lambda: self._made.s3),
            self.wire.client(SQS_CALLS, lambda: self._made.sqs),
        )

    @cached_property
    def _made(self) -> Clients:
        return Clients.make(self.session, CONNECTIONS)

    def client(self, service: str) -> Any:
        """Return a client for any service, with the project's timeouts and retries."""
        with translated("AWS"):
            return self.session.client(service, config=client_config())  # type: ignore[call-overload]

    @translated("AWS")
    def identity(self) -> Any:
        """Ask AWS who is calling: `Account` and `Arn`."""
        return self.client("sts").get_caller_identity()

    @property
    def region(self) -> str:
        """The region; UsageError if nothing says which."""
        if name := self.plain.region if self.plain else self.session.region_name:
            return name
        raise NoRunError(
            "no AWS region is set",
            "looked at --region, PARALLELIZE_REGION, AWS_REGION, AWS_DEFAULT_REGION,\n"
            "aws.region and the profile",
            "--region eu-west-1, or aws.region in parallelize.toml",
        )

    @property
    def region_source(self) -> str:
        """What sets the region."""
        source = self.resolved.source("aws.region") if self.settings.aws.region else "the profile"
        return "--region" if source == "flag" else source

    @cached_property
    def caller(self) -> tuple[str, str]:
        """The number of the AWS account, and the caller's ARN."""
        if (plain := self.plain) and self.wire.is_quick:
            return self.wire.ask(lambda clients: clients.caller(plain))
        answer = self.identity()
        return str(answer["Account"]), str(answer["Arn"])

    @property
    def account(self) -> str:
        """The number of the AWS account."""
        return self.caller[0]

    @property
    def me(self) -> str:
        """The user, for people to read: user@host, and the ARN if it is already known."""
        known = self.__dict__.get("caller")
        place = f"{_user()}@{platform.node().partition('.')[0]}"
        return f"{place} ({known[1]})" if known and not self.elsewhere else place

    @property
    def names(self) -> Names:
        """The names of the run's and the stack's resources in the account."""
        return Names(self.run, self.settings.aws.stack, self.lane)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The run's lanes besides the main one."""
        return lanes_of(self.settings.workers)

    def in_lane(self, lane: Lane) -> Context:
        """Return the context for the workers of a lane; raise UsageError if it does not exist."""
        return replace(self, resolved=of_lane(self.resolved, lane), lane=lane)

    def beside(self, lane: Lane) -> Context:
        """Return the context for a lane's workers if no flag of the command is meant for them."""
        return replace(self, resolved=of_lane(self.resolved, lane, flagged=False), lane=lane)

    @cached_property
    def bucket(self) -> str:
        """The run's bucket, which may not exist."""
        named = self.settings.aws.bucket
        return auto_name(self.names, self.account, self.region) if named == "auto" else named

    @cached_property
    def base(self) -> Location:
        """The bucket, and the prefix below which all runs are."""
        return Location(self.bucket, self._prefix)

    @property
    def _prefix(self) -> str:
        prefix = self.settings.aws.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    @property
    def layout(self) -> RunLayout:
        """The keys of the run."""
        return RunLayout(self.base, self.run)

    @property
    def input_prefix(self) -> str:
        """The prefix of uploaded inputs, which does not depend on the bucket."""
        return RunLayout(Location("", self._prefix), self.run).input.prefix

    @property
    def elsewhere(self) -> bool:
        """Whether S3 is not AWS's: an emulator, or a store of the user's own."""
        return custom_endpoint(os.environ) is not None

    @property
    def has_own_programs(self) -> bool:
        """Whether machines have the programs that this user installed, as in the local cloud."""
        return self.elsewhere and PLAIN not in self.settings.aws.tags

    @property
    def is_free(self) -> bool:
        """Whether EC2 is not AWS's, so that machines cost nothing."""
        return custom_endpoint(os.environ, "EC2") is not None

    @property
    def store(self) -> Store:
        """The run's bucket."""
        return self.store_of(self.bucket)

    def store_of(self, bucket: str) -> Store:
        """Return another bucket, such as that of the inputs."""
        return WireStore(bucket, lambda: self.clients.store(bucket), self.wire)

    @property
    def terms(self) -> Terms:
        """What the owners of buckets require."""
        aws = self.settings.aws
        return Terms(aws.requester_pays, aws.kms_keys)

    @cached_property
    def wire(self) -> Wire:
        """The event loop for transfers of many objects or messages."""
        return Wire(lambda: self.session, self.terms, self.plain)

    def transfer(
        self, bucket: str, work: Callable[[AsyncStore], Coroutine[Any, Any, Made]]
    ) -> Made:
        """Do something with many objects of a bucket, on the event loop."""
        return self.wire.run(lambda clients: work(clients.store(bucket)))

    @property
    def queues(self) -> Queues:
        """The run's queues; MissingError before `enqueue` has made them."""
        return find_queues(self.clients.sqs, self.names, self.lanes)

    def make_queues(self) -> Queues:
        """Create the run's queues, or bring existing ones up to date; see `make_queues`."""
        sqs, calls = self.clients.sqs, Together(self.store)
        return make_queues(sqs, self.names, self.queue_tags, self.lanes, calls)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of everything that the run creates."""
        return run_tags(self.names, self.settings.aws.tags)

    @property
    def queue_tags(self) -> dict[str, str]:
        """The tags of the run's queues, which say where in S3 the run is."""
        return {**self.tags, PLACE: place_tag(self.layout.root)}


def open_context(common: Common, flags: Mapping[str, object] | None = None) -> Context:
    """Read the settings and name the run; `flags` are dotted settings, None if not given.

    Raises UsageError for anything wrong in them. Prints a line if AWS's endpoint is replaced. With
    --local it is: this process then uses the local cloud.
    """
    if common.local:
        from parallelize.local.enter import enter_local_cloud, local_defaults

        check_local(common)
        enter_local_cloud()
    resolved = settings_module.resolve(
        {**common.flags(), **(flags or {})}, os.environ, Path.cwd(), common.config, user_file()
    )
    if common.local:
        workers = resolved.settings.workers.count
        resolved = resolved.with_defaults(local_defaults(workers), "the local cloud")
        resolved = with_local_image(resolved)
    else:
        for line in endpoint_banner(os.environ):
            say(line)
    return Context(resolved, run_name(resolved), common.again(), common.join)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())  # a user without a name, as in a container


def with_local_image(resolved: Resolved) -> Resolved:
    """Ignore a vendor's plain image: all machines of the local cloud contain the agent."""
    from parallelize.fleet.distributions import is_stock

    if not is_stock(resolved.settings.workers.ami):
        return resolved
    from parallelize.fleet.images import AUTO

    others = {key: source for key, source in resolved.sources.items() if key != "workers.ami"}
    free = resolved._replace(sources=others)
    return free.with_defaults({"workers.ami": AUTO}, "the local cloud")


def profile_of(flags: Mapping[str, str]) -> str | None:
    """Return the AWS profile that a command with these common flags uses, if it names one."""
    resolved = _resolved(flags)
    return resolved.settings.aws.profile if resolved else None


def local_cloud_has_run(flags: Mapping[str, str]) -> bool:
    """Whether a command with these flags uses AWS, but its run is in the local cloud."""
    from parallelize.local.cloud import default_state_dir
    from parallelize.local.disk import has_run

    resolved = None if "--local" in flags else _resolved(flags)
    return resolved is not None and has_run(default_state_dir(), run_name(resolved))


def _resolved(flags: Mapping[str, str]) -> Resolved | None:
    config = Path(flags["--config"]) if "--config" in flags else None
    given = {"aws.profile": flags.get("--profile"), "run.name": flags.get("--run")}
    try:
        return settings_module.resolve(given, os.environ, Path.cwd(), config, user_file())
    except ParallelizeError:
        return None


def check_local(common: Common) -> None:
    """Raise UsageError for flags that --local rules out, because they mean a place in AWS."""
    for name, given in (("--region", common.region), ("--profile", common.profile)):
        if given:
            from parallelize.local.records import REGION as LOCAL_REGION

            raise UsageError(
                f"{name} cannot be combined with --local",
                f"the local cloud has one region, {LOCAL_REGION}, and no profiles",
                f"leave out {name} or --local",
            )


def user_file() -> Path:
    """Return the path of the user's own defaults, which need not exist."""
    return user_config_path("parallelize") / USER_FILE


def run_name(resolved: Resolved) -> str:
    """Return the run's name from the settings, or one made from the folder's name."""
    if resolved.settings.run.name:
        return check_run_name(resolved.settings.run.name)
    made = re.sub(r"[^A-Za-z0-9_-]+", "-", resolved.folder.name).strip("-_")[:60]
    return made or "run"
