"""Looks for what would prevent a run on AWS, and says what to do.

Each check reads what it needs and lets `findings` judge it. A check that fails is itself a finding,
and never ends the others.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any

from parallelize.bucket import exists
from parallelize.context import Context
from parallelize.fleet import describe, dry_runs, images, network, permissions, quotas, volume_key
from parallelize.fleet.call_limits import find_call_limits
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.facts import Image, InstanceType
from parallelize.fleet.leftovers import find_leftovers
from parallelize.hints import repeat_flags
from parallelize.local.cloud import attach
from parallelize.operations.clean import live_workers
from parallelize.operations.findings import (
    Finding,
    Verdict,
    judge_clock,
    judge_containers,
    judge_disks,
    judge_gpus,
    judge_image,
    judge_leftovers,
    judge_network,
    judge_own_gpus,
    judge_permissions,
    judge_quota,
    judge_requests,
    judge_stack,
    judge_versions,
    judge_volumes,
)
from parallelize.operations.machine_types import machine_types
from parallelize.runs.record import old_versions
from parallelize.setting_tables import WorkersTable
from parallelize.stack.deploy import Stack
from parallelize.units import plural
from parallelize_core.aws_errors import response_of, translated, with_profile
from parallelize_core.errors import AccessError, ParallelizeError, UsageError, code_of
from parallelize_core.layout import RUN_NAME, RunLayout
from parallelize_core.version import VERSION


def diagnose(context: Context, *, local: bool) -> list[Finding]:
    """Make all checks of AWS, or of the local cloud; the commands in fixes get the flags given."""
    found = examine(context, _checks(context, local=local))
    return [replace(one, fix=repeat_flags(one.fix, context.hint)) for one in found]


def _checks(context: Context, *, local: bool) -> Mapping[str, Check]:
    """Return the checks to make; GPUs and containers only if the run needs them."""
    run = context.settings.run
    checks = dict(LOCAL_CHECKS if local else CHECKS)
    if run.gpus_per_job:
        checks["gpus"] = check_own_gpus if local else check_gpus
    if run.image and local:
        checks["containers"] = check_containers
    return checks


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the exit code for the worst of the findings."""
    bad = [finding.check for finding in findings if finding.verdict is Verdict.BAD]
    return ACCESS if bad == [CREDENTIALS] else USAGE if bad else 0


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as a JSON object."""
    return {"schema": 1, "findings": [asdict(finding) for finding in findings]}


Check = Callable[[Context], Finding]

CREDENTIALS = "credentials"
ACCESS, USAGE = AccessError.exit_code, UsageError.exit_code

DEVICES = Path("/dev")
NVML = "libnvidia-ml.so.1"
"""NVIDIA's driver installs it; a program that does not find it finds no GPU."""
CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md"""

VERSIONS = 20_000
"""How many versions are read: twenty requests, and enough to estimate what they cost."""


def examine(context: Context, checks: Mapping[str, Check]) -> list[Finding]:
    """Make all checks; without credentials, leave out those that would only repeat that."""
    first = attempt(CREDENTIALS, check_identity, context)
    if first.verdict is Verdict.BAD:
        # AWS dates its refusals, too, and a wrong clock is one reason for them.
        clock = attempt("clock", check_clock, context)
        return [first] if clock.text == first.text else [first, clock]
    return [first, *(attempt(name, check, context) for name, check in checks.items())]


def attempt(name: str, check: Check, context: Context) -> Finding:
    """Make a check; if AWS refuses it, return its answer as a finding."""
    try:
        return check(context)
    except ParallelizeError as error:
        told = with_profile(error, context.settings.aws.profile)
        return Finding(name, Verdict.BAD, told.what, told.fix or "")


def check_identity(context: Context) -> Finding:
    """Say which identity is used, in which account and region."""
    identity = context.identity()
    who = identity["Arn"].rpartition(":")[2]
    text = f"{who} of account {identity['Account']} in {context.region}"
    return Finding("credentials", Verdict.GOOD, text)


def check_clock(context: Context) -> Finding:
    """Compare this machine's clock with AWS's."""
    date = _date_of_aws(context.client("sts"))
    if not date:
        return Finding("clock", Verdict.LOOK, "AWS's answer had no date to compare with")
    return judge_clock(datetime.now(UTC), parsedate_to_datetime(date))


def _date_of_aws(sts: Any) -> str | None:
    try:
        with translated("AWS"):
            answer = sts.get_caller_identity()
    except ParallelizeError as error:
        answer = response_of(error)
        if not answer:
            raise
    headers: Mapping[str, str] = answer["ResponseMetadata"].get("HTTPHeaders", {})
    return headers.get("date")


def check_stack(context: Context) -> Finding:
    """Look for the stack that `setup` makes."""
    name = context.names.stack
    return judge_stack(name, Stack(context.client("cloudformation"), name).status())


def check_image(context: Context) -> Finding:
    """Look for the image from which workers would start."""
    kinds = describe.find_types(context.client("ec2"), machine_types(context))
    return judge_image(_image_for(context, kinds[0]), kinds, datetime.now(UTC), VERSION)


def _image_for(context: Context, kind: InstanceType) -> Image | None:
    """Return the image from which workers of a type would start, if there is one."""
    workers = context.settings.workers
    owners = images.Owners(context.account, workers.ami_owner)
    clients = context.client("ec2"), context.client("ssm")
    found = images.find_images(*clients, workers.ami, [kind.architecture], owners)
    return found[0] if found else None


def check_quota(context: Context) -> Finding:
    """Compare the vCPU quota with the workers of the settings."""
    workers = context.settings.workers
    clients = FactClients.make(context.session)
    types = describe.find_types(clients.ec2, machine_types(context))
    smallest = min(types, key=lambda kind: kind.vcpus)
    code = quotas.quota_code(workers.market, smallest.name)
    found = [quota for quota in describe.find_quotas(clients, types) if quota.code == code]
    return judge_quota(found, workers.market, workers.count * smallest.vcpus)


def check_gpus(context: Context) -> Finding:
    """Compare the GPUs that a job needs with those of the settings' machine types."""
    kinds = describe.find_types(context.client("ec2"), machine_types(context))
    return judge_gpus(kinds, context.settings.run.gpus_per_job)


def check_disks(context: Context) -> Finding:
    """Compare the quota of gp3 storage with the disks of the settings' workers."""
    clients, workers = FactClients.make(context.session), context.settings.workers
    limit = describe.find_limit(clients.quotas, quotas.GP3_STORAGE, "ebs")
    if limit is None:
        return Finding("disks", Verdict.LOOK, "the quota of gp3 storage cannot be read")
    wanted = workers.count * -(-workers.disk // 2**30)
    return judge_disks(limit * 1024, describe.gp3_gib(clients.ec2), wanted)


def check_requests(context: Context) -> Finding:
    """Compare how fast EC2 lets machines start with the number of workers in the settings."""
    limits = find_call_limits(FactClients.make(context.session).quotas)
    return judge_requests(limits, context.settings.workers.count)


def check_network(context: Context) -> Finding:
    """Check whether workers can reach S3 and SQS, and what else they call, from their subnets."""
    ec2 = context.client("ec2")
    subnets = describe.find_subnets(ec2, context.settings.aws.subnets)
    return judge_network(network.look(ec2, subnets), called_besides(context.settings.workers))


def called_besides(workers: WorkersTable) -> frozenset[str]:
    """Return the services that workers call if they can, by the names of their endpoints."""
    wanted = {
        "monitoring": workers.metrics,
        "logs": workers.log_group != "",
        "autoscaling": workers.fleet == "persistent",
    }
    return frozenset(name for name, is_called in wanted.items() if is_called)


def check_permissions(context: Context) -> Finding:
    """Check the permissions to start machines and submit work, without doing either.

    EC2's dry runs tell some; the policy simulator tells the rest.
    """
    answers = dry_runs.ask(context.client("ec2"), context.names, context.tags, _start(context))
    simulated, note = _simulate(context)
    return judge_permissions(answers, simulated, note)


def _simulate(context: Context) -> tuple[list[str], str]:
    """Return the actions that would be refused, and a note if that cannot be known."""
    iam = context.client("iam")
    who = permissions.principal(iam, context.identity()["Arn"])
    if who is None:
        return [], "cannot simulate the policies of this kind of caller"
    where = permissions.Where(who.split(":")[1], context.region, context.account)
    outputs = Stack(context.client("cloudformation"), context.names.stack).outputs() or {}
    wanted = permissions.asks(
        where, context.layout, context.names, context.tags, outputs.get("AgentRole")
    )
    try:
        return permissions.refused(iam, who, wanted), ""
    except ParallelizeError as error:
        return [], f"IAM refused the simulation ({code_of(error) or error.what})"


def _start(context: Context) -> dict[str, Any] | None:
    """Return the parameters to start a worker; None without an image or a subnet."""
    workers, ec2 = context.settings.workers, context.client("ec2")
    try:
        (kind,) = describe.find_types(ec2, machine_types(context)[:1])
        image = _image_for(context, kind)
        subnets = describe.find_subnets(ec2, context.settings.aws.subnets)
    except ParallelizeError:
        return None
    if image is None:
        return None
    profile = workers.instance_profile or context.names.role("agent", context.region)
    place = subnets[0]["SubnetId"]
    return dry_runs.start(
        image.id, kind.name, place, profile, market=workers.market, given=context.tags
    )


def check_bucket(context: Context) -> Finding:
    """Check whether the bucket keeps older versions, and what they cost."""
    s3 = context.clients.s3
    if not exists(s3, context.bucket):
        return Finding("bucket", Verdict.LOOK, "does not exist yet", "parallelize setup")
    try:
        if not old_versions.keeps_versions(s3, context.bucket):
            return Finding("bucket", Verdict.GOOD, "keeps no older versions")
        seen = list(islice(old_versions.find(s3, context.base.below("runs")), VERSIONS))
    except ParallelizeError as error:
        text = f"cannot tell what older versions cost ({code_of(error) or error.what})"
        return Finding("bucket", Verdict.LOOK, text)
    old = sum(one.size for one in seen if one.is_old)
    return judge_versions(old, at_least=len(seen) == VERSIONS)


def check_volumes(context: Context) -> Finding:
    """Check whether launchers may use the key that encrypts volumes."""
    kms = context.client("kms")
    try:
        key = volume_key.find_key(context.client("ec2"), kms)
    except ParallelizeError as error:
        text = f"the key could not be read ({code_of(error) or error.what})"
        return Finding("volumes", Verdict.LOOK, text)
    if not key:
        return judge_volumes(key, "", granted=True)
    told = Stack(context.client("cloudformation"), context.names.stack).parameters()
    role = volume_key.scaling_role(key, context.account)
    persistent = context.settings.workers.fleet == "persistent"
    granted = not persistent or _has_grant(kms, key, role)
    return judge_volumes(key, told.get("VolumeKeyArn", ""), granted=granted)


def _has_grant(kms: Any, key: str, role: str) -> bool:
    try:
        return bool(volume_key.grants(kms, key, role))
    except ParallelizeError:
        return False


def check_leftovers(context: Context) -> Finding:
    """Look for machines and volumes of all runs that cost money without working."""
    found = find_leftovers(ComputeClients.make(context.session), context.names, datetime.now(UTC))
    runs = {one.run for one in found if RUN_NAME.fullmatch(one.run)}
    ours, working = _look_at_runs(context, runs) if runs else (set(), set())
    return judge_leftovers(found, ours, working)


def _look_at_runs(context: Context, runs: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return which of the runs are in our bucket, and their workers that are alive."""
    if not exists(context.clients.s3, context.bucket):
        return set(), set()
    layouts = {run: RunLayout(context.base, run) for run in runs}
    ours = {run for run, layout in layouts.items() if context.store.head(layout.run_json)}
    now = datetime.now(UTC).timestamp()
    working = {name for run in ours for name in live_workers(context.store, layouts[run], now)}
    return ours, working


CHECKS: dict[str, Check] = {
    "clock": check_clock,
    "stack": check_stack,
    "bucket": check_bucket,
    "image": check_image,
    "quota": check_quota,
    "disks": check_disks,
    "requests": check_requests,
    "network": check_network,
    "volumes": check_volumes,
    "permissions": check_permissions,
    "leftovers": check_leftovers,
}


def check_cloud(_: Context) -> Finding:
    """Say where the local cloud is; it runs, because the context could be opened."""
    cloud = attach()
    if cloud is None:
        return Finding("cloud", Verdict.BAD, "has just stopped", "parallelize local start")
    machines = plural(len(cloud.instances()), "machine")
    return Finding("cloud", Verdict.GOOD, f"runs at {cloud.endpoint}, {machines} so far")


def check_own_gpus(context: Context) -> Finding:
    """Say whether this machine has the GPUs that a job needs, and a driver that answers."""
    nodes = [node for node in DEVICES.glob("nvidia*") if node.name[6:].isdigit()]
    run = context.settings.run
    described = any(True for folder in CDI_FOLDERS for _ in folder.glob("*.*"))
    return judge_own_gpus(
        len(nodes), run.gpus_per_job, answers=_loads(NVML), described=described or not run.image
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def check_containers(_: Context) -> Finding:
    """Say whether this machine can pull an image, and start a command in it."""
    missing = [name for name in ("skopeo", "prlimit", "unshare") if shutil.which(name) is None]
    return judge_containers(missing, allowed="unshare" in missing or _has_user_namespaces())


def _has_user_namespaces() -> bool:
    words = ("unshare", "--user", "--map-root-user", "--mount", "true")
    return subprocess.run(words, capture_output=True, check=False, timeout=10).returncode == 0


LOCAL_CHECKS: dict[str, Check] = {
    "cloud": check_cloud,
    "image": check_image,
    "leftovers": check_leftovers,
}
"""The local cloud's checks; the others are about things that only AWS has."""
