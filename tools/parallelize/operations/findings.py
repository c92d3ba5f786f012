"""How `doctor` judges what it finds: pure functions from AWS's answers to findings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from parallelize.fleet import pacing
from parallelize.fleet.call_limits import CallLimits
from parallelize.fleet.dry_runs import Answers
from parallelize.fleet.facts import Image, InstanceType, Quota
from parallelize.fleet.leftovers import Leftover
from parallelize.fleet.network import Network
from parallelize.stack.state import Standing, standing
from parallelize.units import plural, show_size

MAX_CLOCK_SKEW_SECONDS = 300
"""AWS refuses requests whose time is further off.

https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html
"""

OLD_IMAGE_DAYS = 90
"""Long enough for a kernel to need updates."""

NAMED = 2
"""How many missing permissions are named; a longer list would not help more."""

NEEDED = frozenset({"s3", "sqs"})
"""The services without which a worker cannot work, by the names of their VPC endpoints."""

BOOT_HOURS = 0.25
"""How long a machine may take to report: systemd/parallelize-deadline.service."""

S3_USD_PER_GIB_MONTH = 0.023
"""In us-east-1, standard storage. https://aws.amazon.com/s3/pricing/"""

NAT_USD_PER_GB = 0.045
"""In us-east-1, besides the hours. https://aws.amazon.com/vpc/pricing/"""

DEFAULT_SPOT_QUOTA = 5
"""The quota of new accounts; enough for one small worker."""


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


def line(finding: Finding) -> str:
    """Return a finding as it is printed, with its fix on a line of its own."""
    fix = f"\n      fix: {finding.fix}" if finding.fix else ""
    return f"{finding.verdict:<4}  {finding.check:<12} {finding.text}{fix}"


def judge_clock(here: datetime, there: datetime) -> Finding:
    """Say whether two clocks agree well enough."""
    off = abs((here - there).total_seconds())
    if off < MAX_CLOCK_SKEW_SECONDS / 2:
        return Finding("clock", Verdict.GOOD, "agrees with AWS's")
    verdict = Verdict.BAD if off >= MAX_CLOCK_SKEW_SECONDS else Verdict.LOOK
    return Finding("clock", verdict, f"is {off:.0f} s off", "set it, e.g. with NTP")


def judge_stack(name: str, status: str | None) -> Finding:
    """Say what the status of a stack, None if there is none, means for a run."""
    match standing(status):
        case Standing.ABSENT:
            return Finding("stack", Verdict.BAD, "does not exist", "parallelize setup")
        case Standing.FAILED:
            return Finding("stack", Verdict.BAD, f"{name} failed: {status}", "parallelize setup")
        case Standing.STUCK:
            fix = f"aws cloudformation continue-update-rollback --stack-name {name}"
            return Finding("stack", Verdict.BAD, f"{name} is stuck: {status}", fix)
        case Standing.BUSY:
            changed = str(status).startswith("UPDATE_")
            verdict = Verdict.LOOK if changed else Verdict.BAD
            return Finding(
                "stack",
                verdict,
                f"{name} is being changed: {status}",
                "wait, then: parallelize doctor",
            )
    if status in {"UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED"}:
        text = f"{name} is there; its last change failed"
        return Finding("stack", Verdict.LOOK, text, "parallelize setup")
    return Finding("stack", Verdict.GOOD, f"{name} is there")


def judge_image(
    image: Image | None, kinds: Sequence[InstanceType], now: datetime, version: str
) -> Finding:
    """Say whether there is an image for these machine types, of this version, and not too old."""
    if image is None:
        fix = 'parallelize image build, or workers.ami = "stock"'
        return Finding("image", Verdict.BAD, "no image contains an agent", fix)
    if not any(image.architecture in kind.architectures for kind in kinds):
        text = f"{image.id} is for {image.architecture}, not for {kinds[0].name}"
        fix = "build an image for it, or change workers.types"
        return Finding("image", Verdict.BAD, text, fix)
    if image.version and image.version != version:
        text = f"{image.id} has agent {image.version}, but this is version {version}"
        return Finding("image", Verdict.LOOK, text, "parallelize image build")
    days = (now.date() - datetime.fromisoformat(image.created).date()).days if image.created else 0
    if days > OLD_IMAGE_DAYS:
        return Finding("image", Verdict.LOOK, f"{image.id} is {days} days old", "build a new one")
    return Finding("image", Verdict.GOOD, f"{image.id}, {plural(days, 'day')} old")


def judge_quota(found: Sequence[Quota], market: str, wanted: int) -> Finding:
    """Say whether a quota has room for `wanted` vCPUs."""
    if not found:
        return Finding("quota", Verdict.LOOK, f"of {market} vCPUs cannot be read")
    quota = found[0]
    text = f"{quota.free} of {quota.limit} {market} vCPUs are free ({quota.code})"
    if quota.free >= wanted:
        return Finding("quota", Verdict.GOOD, text)
    fix = f"parallelize doctor --request-quota {max(64, quota.used + wanted)}"
    new = ", as in new accounts" if quota.limit == DEFAULT_SPOT_QUOTA else ""
    return Finding("quota", Verdict.BAD, f"{text}{new}; this run needs {wanted}", fix)


def judge_gpus(kinds: Sequence[InstanceType], wanted: int) -> Finding:
    """Say whether the machine types have the GPUs that a job needs."""
    few = [kind.name for kind in kinds if kind.gpus < wanted]
    if not few:
        text = f"every machine type has {plural(wanted, 'GPU')} or more"
        return Finding("gpus", Verdict.GOOD, text)
    verdict = Verdict.LOOK if len(few) < len(kinds) else Verdict.BAD
    more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
    text = f"a job needs {plural(wanted, 'GPU')}; too few in {', '.join(few[:NAMED])}{more}"
    return Finding(
        "gpus", verdict, text, 'workers.types = ["g5.xlarge", …], or change run.gpus_per_job'
    )


def judge_own_gpus(found: int, wanted: int, *, answers: bool, described: bool) -> Finding:
    """Say whether this machine's GPUs will do; `answers` says whether their driver does.

    `described` says whether a file describes what a container needs for them.
    """
    if found < wanted:
        text = f"a job needs {plural(wanted, 'GPU')}, and this machine has {found or 'none'}"
        return Finding("gpus", Verdict.BAD, text, "run on AWS, or leave out run.gpus_per_job here")
    if not answers:
        fix = "install NVIDIA's driver; nvidia-smi says why it does not answer"
        return Finding("gpus", Verdict.BAD, "NVIDIA's driver is not installed", fix)
    if not described:
        fix = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        return Finding(
            "gpus", Verdict.BAD, "no CDI description says how a container uses them", fix
        )
    return Finding("gpus", Verdict.GOOD, f"{plural(found, 'GPU')} here")


def judge_containers(missing: Sequence[str], *, allowed: bool) -> Finding:
    """Say whether images can be used here: programs may be missing, user namespaces forbidden."""
    if missing:
        fix = f"apt-get install {' '.join(missing)}" if missing == ["skopeo"] else "a newer Linux"
        return Finding("containers", Verdict.BAD, f"{', '.join(missing)} not installed here", fix)
    if not allowed:
        text = "this machine allows no user namespaces"
        fix = (
            "sysctl kernel.unprivileged_userns_clone=1 (Debian), or "
            "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)"
        )
        return Finding("containers", Verdict.BAD, text, fix)
    return Finding(
        "containers", Verdict.GOOD, "skopeo is installed, and user namespaces are allowed"
    )


def judge_disks(limit: int, used: int, wanted: int) -> Finding:
    """Say whether the quota of gp3 storage has room for the workers' disks; all in GiB."""
    free = max(0, limit - used)
    text = f"{free:,} of {limit:,} GiB of gp3 storage are free"
    if wanted <= free:
        return Finding("disks", Verdict.GOOD, text)
    fix = 'ask in Service Quotas, Amazon EBS, "Storage for General Purpose SSD (gp3)"'
    return Finding("disks", Verdict.BAD, f"{text}; this run needs {wanted:,}", fix)


def judge_requests(limits: CallLimits | None, wanted: int) -> Finding:
    """Say how fast EC2 lets `wanted` workers start; `limits` of calls are None if not known."""
    machines = f"{pacing.AT_ONCE:,} machines at once, {pacing.PER_SECOND:g} a second after that"
    if seconds := pacing.seconds_for(wanted):
        text = f"{wanted:,} workers take about {seconds / 60:.0f} minutes to start: {machines}"
        fix = "use larger machines, or ask AWS Support for a higher rate of RunInstances"
        return Finding("requests", Verdict.LOOK, text, fix)
    calls = (
        f"CreateFleet {limits.at_once:,} times at once, {limits.per_second:g} times a second"
        if limits
        else "the quota of CreateFleet's calls cannot be read"
    )
    return Finding("requests", Verdict.GOOD, f"{machines}, by AWS's documents; {calls}")


def judge_network(found: Network, besides: frozenset[str] = frozenset()) -> Finding:
    """Say from which subnets workers could not work, could not report, or would pay for traffic."""
    seen = [one for one in found.subnets if not found.is_hidden(one)]
    if not seen:
        count = plural(len(found.subnets), "subnet")
        text = f"only the owner of {count} can see their routes"
        return Finding(
            "network", Verdict.LOOK, text, "ask the VPC's owner for routes to S3 and SQS"
        )
    reached = {one["SubnetId"]: found.reached(one) for one in seen}
    missing = {id_: NEEDED - there for id_, there in reached.items() if there is not None}
    closed = [id_ for id_, services in missing.items() if services]
    if closed:
        verdict = Verdict.LOOK if len(closed) < len(reached) else Verdict.BAD
        text = f"{', '.join(closed[:2])} cannot reach all that workers need"
        services = " and ".join(sorted(frozenset().union(*missing.values())))
        fix = f"add a NAT or internet gateway, or VPC endpoints for {services}"
        return Finding("network", verdict, text, fix)
    mute = frozenset().union(*(besides - there for there in reached.values() if there is not None))
    if mute:
        names = ", ".join(sorted(mute))
        text = f"S3 and SQS have VPC endpoints, but not {names}"
        fix = "add endpoints for those, too, or turn off what needs them"
        return Finding("network", Verdict.LOOK, text, fix)
    if paying := [one for one in seen if found.pays_for_s3(one)]:
        return _paying_for_s3(paying, found)
    way = "VPC endpoints" if missing else "a way out"
    return Finding("network", Verdict.GOOD, f"{plural(len(reached), 'subnet')} with {way}")


def _paying_for_s3(paying: Sequence[Any], found: Network) -> Finding:
    first = paying[0]
    text = f"a NAT gateway carries S3, ${NAT_USD_PER_GB} a GB; an S3 gateway endpoint is free"
    tables = " ".join(sorted({table for one in paying for table in found.table_ids(one)}))
    fix = (
        f"aws ec2 create-vpc-endpoint --vpc-id {first['VpcId']} --route-table-ids {tables}\n"
        f"        --service-name com.amazonaws.{found.region}.s3"
    )
    return Finding("network", Verdict.LOOK, text, fix)


def judge_versions(old: int, *, at_least: bool) -> Finding:
    """Say what older versions cost: `old` bytes; with `at_least`, there may be more."""
    usd = old / 2**30 * S3_USD_PER_GIB_MONTH
    some = "at least " if at_least else ""
    text = f"keeps older versions: {some}{show_size(old)}, about ${usd:.2f} a month"
    fix = "clean finished runs, or add a lifecycle rule for noncurrent versions"
    return Finding("bucket", Verdict.LOOK, text, fix)


def judge_volumes(key: str, allowed: str, *, granted: bool) -> Finding:
    """Say whether machines can start with the default key of volumes, empty for AWS's own.

    `allowed` is the key that the stack's policies allow; `granted` says whether Auto Scaling may
    use the key if it has to.
    """
    if not key:
        return Finding("volumes", Verdict.GOOD, "encrypted with AWS's own key")
    name = key.rpartition("/")[2]
    if allowed != key:
        text = f"launchers may not use the account's key {name}"
        return Finding("volumes", Verdict.BAD, text, "parallelize setup")
    if not granted:
        # The key's own policy may allow it, which this does not check.
        text = f"no grant lets Auto Scaling use the account's key {name}"
        return Finding("volumes", Verdict.LOOK, text, "parallelize setup")
    return Finding("volumes", Verdict.GOOD, f"with the account's key {name}")


def judge_permissions(answers: Answers, simulated: Sequence[str], note: str) -> Finding:
    """Say which actions EC2's dry runs and the simulator refuse, or leave unknown.

    `note` says why the simulator was not asked, if it was not.
    """
    if missing := list(dict.fromkeys([*answers.refused, *simulated])):
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        text = f"not allowed: {', '.join(missing[:NAMED])}{more}"
        fix = "ask for the stack's submitter and launcher policies"
        return Finding("permissions", Verdict.BAD, text, fix)
    untried = ", ".join(answers.untried)
    tried = f"{untried} could not be tried" if untried else "EC2's dry runs pass"
    if note or untried:
        text = "; ".join(filter(None, [tried, note]))
        return Finding("permissions", Verdict.LOOK, text)
    return Finding("permissions", Verdict.GOOD, "you may send files and start machines")


def judge_leftovers(
    found: Sequence[Leftover], ours: Collection[str], working: Collection[str]
) -> Finding:
    """Say what costs money for nothing, which is known only of runs whose records we can read.

    These are `ours`; `working` are the machines that are alive.
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
        things, of = plural(len(known), "resource"), plural(len(runs), "run")
        text = f"{things} of {of} with no sign of life, up to {oldest.hours:.0f} h old"
        return Finding("leftovers", Verdict.LOOK, text, f"parallelize kill --run {oldest.run}")
    if idle:
        text = f"{plural(len(idle), 'resource')} of runs that have no data in this bucket"
        return Finding("leftovers", Verdict.LOOK, text, "parallelize clean --dry-run   names them")
    rest = f"; {plural(len(machines), 'machine')} working" if machines else ""
    return Finding("leftovers", Verdict.GOOD, f"no idle machine or volume{rest}")
