"""`parallelize doctor`: look for what would stand in the way of a run on AWS, and what to do.

Each check is a function from what it needs to a finding; a check that cannot be made is itself a
finding, and never ends the others.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated, Any

from botocore.exceptions import BotoCoreError, ClientError
from cyclopts import Parameter

from parallelize import stack
from parallelize.bucket import exists
from parallelize.clean import live_workers
from parallelize.console import answer_json, say
from parallelize.context import Context, open_context
from parallelize.fleet import dry_runs, gather, images, network, permissions, quotas
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.facts import Image, Quota
from parallelize.fleet.leftovers import Leftover, find_leftovers
from parallelize.hints import repeat_flags
from parallelize.local.cloud import attach
from parallelize.options import NOTHING, SWITCH, Common, Json
from parallelize.quota_request import request_quota
from parallelize.settings import WorkersTable
from parallelize.stack.deploy import Stack
from parallelize.stack.state import Standing, standing
from parallelize.units import plural
from parallelize_core import aws_errors
from parallelize_core.errors import ParallelizeError
from parallelize_core.layout import RUN_NAME, RunLayout
from parallelize_core.version import VERSION

MAX_CLOCK_SKEW_SECONDS = 300
"""AWS refuses requests whose time is further off.

https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html
"""

OLD_IMAGE_DAYS = 90
"""Time enough for a kernel to need its updates."""

NAMED = 2
"""How many missing permissions are named; the list of all would not help more."""

NEEDED = frozenset({"s3", "sqs"})
"""The services without which a worker cannot work, by the names of their VPC endpoints."""

BOOT_HOURS = 0.25
"""For so long a machine need not show signs of life: systemd/parallelize-deadline.service."""

DEFAULT_SPOT_QUOTA = 5
"""What new accounts have; enough for one small worker."""


class Verdict(StrEnum):
    """What a finding means for a run."""

    GOOD = "good"
    LOOK = "look"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    check: str
    verdict: Verdict
    text: str
    fix: str = ""


def doctor(
    *,
    vcpus: Annotated[
        int | None,
        Parameter(
            name="--request-quota",
            help="Ask AWS for so many vCPUs in the market of the settings.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, SWITCH, Parameter(help="With --request-quota: say what would be asked for.")
    ] = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Check credentials, region, clock, stack, image, quota, network, permissions, leftovers.

    With --local: whether the local cloud runs, its image, and what is left in it.
    """
    context = open_context(common)
    if vcpus is not None:
        request_quota(context, vcpus, dry_run=dry_run)
        return 0
    given = shlex.split(context.hint)
    findings = [
        replace(finding, fix=repeat_flags(finding.fix, given))
        for finding in examine(context, LOCAL_CHECKS if common.local else CHECKS)
    ]
    for finding in findings:
        say(f"{finding.verdict:<4}  {finding.check:<12} {finding.text}")
        if finding.fix:
            say(f"      fix: {finding.fix}")
    if json:
        answer_json({"schema": 1, "findings": [asdict(finding) for finding in findings]})
    return 2 if any(finding.verdict is Verdict.BAD for finding in findings) else 0


Check = Callable[[Context], Finding]


def examine(context: Context, checks: Mapping[str, Check]) -> list[Finding]:
    """Make all checks; without credentials most others would only repeat that."""
    first = attempt("credentials", check_identity, context)
    if first.verdict is Verdict.BAD:
        # AWS dates its refusals, too, and a wrong clock is one reason for them.
        clock = attempt("clock", check_clock, context)
        return [first] if clock.text == first.text else [first, clock]
    return [first, *(attempt(name, check, context) for name, check in checks.items())]


def attempt(name: str, check: Check, context: Context) -> Finding:
    """Make a check; what AWS refuses becomes a finding in its own words."""
    try:
        return check(context)
    except ParallelizeError as error:
        return Finding(name, Verdict.BAD, error.what, error.fix or "")
    except (ClientError, BotoCoreError) as error:
        told = aws_errors.explain(error, context.settings.aws.profile)
        return Finding(
            name, Verdict.BAD, told.what if told else str(error), (told and told.fix) or ""
        )


def check_identity(context: Context) -> Finding:
    """Say who asks, in which account and region."""
    identity = context.client("sts").get_caller_identity()
    who = identity["Arn"].rpartition(":")[2]
    text = f"{who} of account {identity['Account']} in {context.region}"
    return Finding("credentials", Verdict.GOOD, text)


def check_clock(context: Context) -> Finding:
    """Compare this machine's clock with AWS's."""
    date = _date_of_aws(context.client("sts"))
    if not date:
        return Finding("clock", Verdict.LOOK, "the answer had no date to compare with")
    return judge_clock(datetime.now(UTC), parsedate_to_datetime(date))


def _date_of_aws(sts: Any) -> str | None:
    try:
        answer = sts.get_caller_identity()
    except ClientError as error:
        answer = error.response
    headers: Mapping[str, str] = answer["ResponseMetadata"].get("HTTPHeaders", {})
    return headers.get("date")


def judge_clock(here: datetime, there: datetime) -> Finding:
    """Say whether two clocks agree well enough."""
    off = abs((here - there).total_seconds())
    if off < MAX_CLOCK_SKEW_SECONDS / 2:
        return Finding("clock", Verdict.GOOD, "agrees with AWS's")
    verdict = Verdict.BAD if off >= MAX_CLOCK_SKEW_SECONDS else Verdict.LOOK
    return Finding("clock", verdict, f"is {off:.0f} s off", "set it, e.g. with NTP")


def check_stack(context: Context) -> Finding:
    """Look for what `setup` makes."""
    return judge_stack(Stack(context.client("cloudformation"), stack.NAME).status())


def judge_stack(status: str | None) -> Finding:
    """Say what the state of the stack, None if there is none, means for a run."""
    name = stack.NAME
    match standing(status):
        case Standing.ABSENT:
            return Finding("stack", Verdict.BAD, "is not there", "parallelize setup")
        case Standing.FAILED:
            return Finding("stack", Verdict.BAD, f"{name} failed: {status}", "parallelize setup")
        case Standing.STUCK:
            fix = f"aws cloudformation continue-update-rollback --stack-name {name}"
            return Finding("stack", Verdict.BAD, f"{name} is stuck: {status}", fix)
        case Standing.BUSY:
            changed = str(status).startswith("UPDATE_")
            verdict = Verdict.LOOK if changed else Verdict.BAD
            return Finding("stack", verdict, f"{name} is at work: {status}", "wait, and ask again")
    if status in {"UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED"}:
        text = f"{name} is there; its last change failed"
        return Finding("stack", Verdict.LOOK, text, "parallelize setup")
    return Finding("stack", Verdict.GOOD, f"{name} is there")


def check_image(context: Context) -> Finding:
    """Look for the image that workers would start from."""
    image = images.find_image(
        context.client("ec2"), context.client("ssm"), context.settings.workers.ami
    )
    return judge_image(image, datetime.now(UTC), VERSION)


def judge_image(image: Image | None, now: datetime, version: str) -> Finding:
    """Say whether an image is there, of this version, and not old."""
    if image is None:
        fix = 'parallelize image build, or workers.ami = "stock"'
        return Finding("image", Verdict.BAD, "there is none with an agent", fix)
    if image.version and image.version != version:
        text = f"{image.id} has agent {image.version}, this is {version}"
        return Finding("image", Verdict.LOOK, text, "parallelize image build")
    days = (now.date() - datetime.fromisoformat(image.created).date()).days if image.created else 0
    if days > OLD_IMAGE_DAYS:
        return Finding("image", Verdict.LOOK, f"{image.id} is {days} days old", "build it anew")
    return Finding("image", Verdict.GOOD, f"{image.id}, {plural(days, 'day')} old")


def check_quota(context: Context) -> Finding:
    """Compare the vCPU quota with the workers that the settings ask for."""
    workers = context.settings.workers
    clients = FactClients.make(context.session)
    types = gather.find_types(clients.ec2, workers.types)
    smallest = min(types, key=lambda kind: kind.vcpus)
    code = quotas.quota_code(workers.market, smallest.name)
    found = [quota for quota in gather.find_quotas(clients, types) if quota.code == code]
    return judge_quota(found, workers.market, workers.count * smallest.vcpus)


def judge_quota(found: Sequence[Quota], market: str, wanted: int) -> Finding:
    """Say whether a quota has room for so many vCPUs."""
    if not found:
        return Finding("quota", Verdict.LOOK, f"of {market} vCPUs cannot be read")
    quota = found[0]
    text = f"{quota.free} of {quota.limit} {market} vCPUs are free ({quota.code})"
    if quota.free >= wanted:
        return Finding("quota", Verdict.GOOD, text)
    fix = f"parallelize doctor --request-quota {max(64, quota.used + wanted)}"
    new = ", as in new accounts" if quota.limit == DEFAULT_SPOT_QUOTA else ""
    return Finding("quota", Verdict.BAD, f"{text}{new}; {wanted} are wanted", fix)


def check_network(context: Context) -> Finding:
    """Look whether workers can reach S3 and SQS from their subnets, and what else they call."""
    ec2 = context.client("ec2")
    subnets = gather.find_subnets(ec2, context.settings.aws.subnets)
    return judge_network(network.look(ec2, subnets), called_besides(context.settings.workers))


def called_besides(workers: WorkersTable) -> frozenset[str]:
    """Return the services that workers call when they can, by their endpoints' names."""
    wanted = {
        "monitoring": workers.metrics,
        "logs": bool(workers.log_group),
        "autoscaling": workers.fleet == "persistent",
    }
    return frozenset(name for name, is_called in wanted.items() if is_called)


def judge_network(found: network.Network, besides: frozenset[str] = frozenset()) -> Finding:
    """Say from which subnets workers could not work, or not tell how they do."""
    reached = {one["SubnetId"]: found.reached(one) for one in found.subnets}
    missing = {id_: NEEDED - there for id_, there in reached.items() if there is not None}
    closed = [id_ for id_, services in missing.items() if services]
    if closed:
        verdict = Verdict.LOOK if len(closed) < len(reached) else Verdict.BAD
        text = f"no way out of {', '.join(closed[:2])}"
        services = " and ".join(sorted(frozenset().union(*missing.values())))
        fix = f"a NAT or internet gateway, or VPC endpoints for {services}"
        return Finding("network", verdict, text, fix)
    mute = frozenset().union(*(besides - there for there in reached.values() if there is not None))
    if mute:
        names = ", ".join(sorted(mute))
        text = f"S3 and SQS have VPC endpoints, {names} none"
        fix = "endpoints for those, too, or leave out what they are for"
        return Finding("network", Verdict.LOOK, text, fix)
    way = "VPC endpoints" if missing else "a way out"
    return Finding("network", Verdict.GOOD, f"{plural(len(reached), 'subnet')} with {way}")


def check_permissions(context: Context) -> Finding:
    """Ask whether we might start machines and submit work, without doing so.

    EC2 is asked with dry runs; for what has none the policy simulator is.
    """
    missing = dry_runs.refused(context.client("ec2"), _start(context))
    simulated, note = _simulate(context)
    return judge_permissions([*missing, *simulated], note)


def judge_permissions(missing: Sequence[str], note: str) -> Finding:
    """Say what is not allowed; `note` says why the simulator was not asked, if it was not."""
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        text = f"not allowed: {', '.join(missing[:NAMED])}{more}"
        fix = "ask for the stack's submitter and launcher policies"
        return Finding("permissions", Verdict.BAD, text, fix)
    if note:
        return Finding("permissions", Verdict.LOOK, f"EC2's dry runs pass; {note}")
    return Finding("permissions", Verdict.GOOD, "files may be sent, and machines started")


def _simulate(context: Context) -> tuple[list[str], str]:
    """Return what would be refused, and a note if that cannot be known."""
    iam = context.client("iam")
    who = permissions.principal(iam, context.client("sts").get_caller_identity()["Arn"])
    if who is None:
        return [], "no policies to simulate for such a caller"
    where = permissions.Where(who.split(":")[1], context.region, context.account)
    outputs = Stack(context.client("cloudformation"), stack.NAME).outputs() or {}
    wanted = permissions.asks(where, context.layout, outputs.get("AgentRole"))
    try:
        return permissions.refused(iam, who, wanted), ""
    except ClientError as error:
        return [], f"simulation refused ({error.response['Error']['Code']})"


def _start(context: Context) -> dict[str, Any] | None:
    """Return what starting a worker takes, None without an image or a subnet: others say that."""
    workers, ec2 = context.settings.workers, context.client("ec2")
    try:
        image = images.find_image(ec2, context.client("ssm"), workers.ami)
        subnets = gather.find_subnets(ec2, context.settings.aws.subnets)
    except ParallelizeError:
        return None
    if image is None:
        return None
    profile = workers.instance_profile or f"parallelize-agent-{context.region}"
    place = subnets[0]["SubnetId"]
    return dry_runs.start(image.id, workers.types[0], place, profile, workers.market)


def check_leftovers(context: Context) -> Finding:
    """Look for machines and volumes of all runs that cost money and do not work."""
    found = find_leftovers(ComputeClients.make(context.session), datetime.now(UTC))
    runs = {one.run for one in found if RUN_NAME.fullmatch(one.run)}
    ours, working = _look_at_runs(context, runs) if runs else (set(), set())
    return judge_leftovers(found, ours, working)


def _look_at_runs(context: Context, runs: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return which of the runs are in our bucket, and their workers that show signs of life."""
    if not exists(context.clients.s3, context.bucket):
        return set(), set()
    layouts = {run: RunLayout(context.base, run) for run in runs}
    ours = {run for run, layout in layouts.items() if context.store.head(layout.run_json)}
    now = datetime.now(UTC).timestamp()
    working = {name for run in ours for name in live_workers(context.store, layouts[run], now)}
    return ours, working


def judge_leftovers(
    found: Sequence[Leftover], ours: Collection[str], working: Collection[str]
) -> Finding:
    """Say what costs money for nothing; only of runs that we know can we say so.

    `ours` are the runs whose records we can read, `working` the machines that show signs of life.
    """
    machines = [one for one in found if one.kind == "machine"]
    idle = [
        one for one in found
        if one.kind != "group" and one.id not in working
        and not (one.kind == "machine" and one.hours < BOOT_HOURS)
    ]  # fmt: skip
    known = [one for one in idle if one.run in ours]
    if known:
        oldest = max(known, key=lambda one: one.hours)
        runs = sorted({one.run for one in known})
        things, of = plural(len(known), "thing"), plural(len(runs), "run")
        text = f"{things} of {of} without a sign of life, up to {oldest.hours:.0f} h old"
        return Finding("leftovers", Verdict.LOOK, text, f"parallelize kill --run {oldest.run}")
    if idle:
        text = f"{plural(len(idle), 'thing')} of runs of which nothing is in this bucket"
        return Finding("leftovers", Verdict.LOOK, text, "parallelize clean --dry-run   names them")
    rest = f"; {plural(len(machines), 'machine')} at work" if machines else ""
    return Finding("leftovers", Verdict.GOOD, f"no machine or volume without work{rest}")


CHECKS: dict[str, Check] = {
    "clock": check_clock,
    "stack": check_stack,
    "image": check_image,
    "quota": check_quota,
    "network": check_network,
    "permissions": check_permissions,
    "leftovers": check_leftovers,
}


def check_cloud(_: Context) -> Finding:
    """Say where the local cloud is; that it runs, the context has found out."""
    cloud = attach()
    if cloud is None:
        return Finding("cloud", Verdict.BAD, "has just stopped", "parallelize local start")
    machines = plural(len(cloud.instances()), "machine")
    return Finding("cloud", Verdict.GOOD, f"runs at {cloud.endpoint}, {machines} so far")


LOCAL_CHECKS: dict[str, Check] = {
    "cloud": check_cloud,
    "image": check_image,
    "leftovers": check_leftovers,
}
"""Of the local cloud; the others ask for what only AWS has."""
