"""One machine's life: three files, what the metadata service tells a job, and the power-off.

`write_project` writes the project that it works on; preparing and launching are the
commands' own steps, passed in as `Work`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from parallelize import bucket as buckets
from parallelize.context import Context
from parallelize.fleet import instances
from parallelize.fleet.instances import Machine
from parallelize.live import fleets, queues, watching
from parallelize.live.trial import Kind, Probe, Seen, Trial
from parallelize.runs.record import old_versions
from parallelize.runs.record.old_versions import Version
from parallelize.runs.results.results import read_results
from parallelize_core.layout import Location, shared_inputs
from parallelize_core.result import Result

CHECK = "machine"

INPUTS = ("one.txt", "two.txt", "three.txt")
MAX_HOURS = 0.25
"""When the worker leaves by itself, even if this process is gone."""

PATIENCE_SECONDS = 15 * 60.0
LOOK_SECONDS = 2.0
ENDED = "terminated"

METADATA = "169.254.169.254"
AGENTS = "agents"
"""The address for jobs on emulated machines: the one above may be a real machine's."""


def settings_of(context: Context) -> dict[str, object]:
    """Return the project's settings, in addition to those of the context's account."""
    return {
        "run.inputs": "inputs/",
        "run.env": "env/",
        "run.command": f"./job.py {AGENTS if context.is_free else METADATA}",
        "workers.ami": fleets.image_of(context),
        "workers.count": 1,
        "workers.types": fleets.SMALLEST,
        "workers.instance_profile": context.settings.workers.instance_profile,
        "workers.market": "on-demand",
        "workers.max_hours": MAX_HOURS,
        # Neither is needed here, and both cost money.
        "workers.metrics": False,
        "workers.log_group": "",
    }


@dataclass(frozen=True)
class Work:
    """The commands' own steps, each for a run's context: send inputs, enqueue, start a machine."""

    prepare: Callable[[Context], object]
    enqueue: Callable[[Context], object]
    launch: Callable[[Context], object]


@dataclass
class Life:
    """What was seen of the machine: when each state first appeared, in seconds since the call."""

    states: dict[str, float] = field(default_factory=dict)
    last: Machine | None = None

    def note(self, machine: Machine, seconds: float) -> None:
        """Record a look."""
        self.states.setdefault(machine.state, seconds)
        self.last = machine


def write_project(folder: Path, run: str) -> None:
    """Write a run's project: three small files, and the command that asks for a token."""
    for name in ("inputs", "env"):
        (folder / name).mkdir()
    for name in INPUTS:
        (folder / "inputs" / name).write_bytes(content_of(name, run))
    script = folder / "env" / "job.py"
    script.write_bytes(files("parallelize.live").joinpath("job.py").read_bytes())
    script.chmod(0o755)
    # So that no settings of a parent folder apply.
    (folder / "parallelize.toml").write_text("schema = 1\n", encoding="ascii")


def content_of(name: str, run: str) -> bytes:
    """Return an input unique to this run, so that its shared upload can be deleted."""
    return f"{name} of {run}\n".encode("ascii")


def make_probe(work: Work) -> Probe:
    """Return the probe of a machine that does this work."""

    def probe(trial: Trial) -> Iterator[Seen]:
        work.prepare(trial.context)
        work.enqueue(trial.context)
        called, begun = time.time(), time.monotonic()
        work.launch(trial.context)
        life = follow(trial, begun)
        results = list(read_results(trial.context.store, trial.context.layout, INPUTS))
        yield judge_files(results)
        yield judge_metadata(trial, results)
        yield judge_times(life, results, called)
        yield judge_end(life)

    return probe


def follow(trial: Trial, begun: float) -> Life:
    """Poll the machine until it has ended, or until patience runs out, counted from `begun`."""
    life = Life()
    while (seconds := time.monotonic() - begun) < PATIENCE_SECONDS and ENDED not in life.states:
        for machine in instances.find(trial.client("ec2"), trial.names, instances.KNOWN):
            life.note(machine, seconds)
        time.sleep(LOOK_SECONDS)
    return life


def judge_files(results: list[Result]) -> Seen:
    """Report how many of the files were processed."""
    done = sum(result.status == "succeeded" for result in results)
    return Seen(CHECK, done == len(INPUTS), f"{done} of {len(INPUTS)} files processed")


def judge_metadata(trial: Trial, results: list[Result]) -> Seen:
    """Report what the metadata service told the jobs, from their outputs."""
    place = trial.context.layout.output
    keys = [place.key(output.key) for result in results for output in result.outputs]
    return judge_answers({trial.context.store.get(key) for key in keys})


def judge_answers(told: Set[bytes]) -> Seen:
    """Report what jobs printed about the metadata service; all must have found it closed."""
    words = sorted(one.decode("ascii", "replace").strip() for one in told)
    text = " and ".join(words) or "not asked"
    return Seen(CHECK, words == ["closed"], f"the metadata service, from a job: {text}")


def judge_times(life: Life, results: list[Result], called: float) -> Seen:
    """Report how long after the call the machine ran, worked, and was off."""
    begun = [_seconds(result.started_at) - called for result in results]
    moments = {"running": life.states.get("running"), "first file": min(begun, default=None),
               "off": life.states.get(ENDED)}  # fmt: skip
    known = [f"{name} {moment:.0f} s" for name, moment in moments.items() if moment is not None]
    return Seen(CHECK, bool(begun), f"after the call: {', '.join(known) or 'nothing'}")


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def judge_end(life: Life) -> Seen:
    """Report how the machine ended: it must be its own power-off, not EC2's doing."""
    if life.last is None:
        return Seen(CHECK, good=False, text="no machine was seen")
    state, why = life.last.state, life.last.reason.partition(":")[0] or "no reason"
    own = state == ENDED and not life.last.ended_by_ec2
    return Seen(CHECK, own, f"its last state: {state}, {why}")


def find_objects(trial: Trial) -> list[str]:
    """Return the keys of the run's objects in the settings' bucket, including its inputs."""
    store = trial.context.store
    return [item.key for place in _places(trial) for item in store.list(place.prefix)]


def delete_object(trial: Trial, key: str) -> None:
    """Delete an object."""
    trial.context.store.delete([key])


def find_versions(trial: Trial) -> list[str]:
    """Return the versions that a versioned bucket has: the version's id, then the key."""
    s3 = trial.context.clients.s3
    places = _places(trial)
    if not (places and old_versions.keeps_versions(s3, trial.context.bucket)):
        return []
    found = (version for place in places for version in old_versions.find(s3, place))
    return [f"{version.id} {version.key}" for version in found]


def delete_version(trial: Trial, name: str) -> None:
    """Delete a version of an object for good."""
    id_, _, key = name.partition(" ")
    old_versions.delete(trial.context.clients.s3, trial.context.bucket, [Version(key, id_)])


def _places(trial: Trial) -> list[Location]:
    """Return where the run's objects are; nothing without a bucket."""
    context = trial.context
    if not buckets.exists(context.clients.s3, context.bucket):
        return []
    contents = (hashlib.sha256(content_of(name, trial.run)).hexdigest() for name in INPUTS)
    shared = shared_inputs(context.base)
    return [context.layout.root, *(shared.below(sha256) for sha256 in contents)]


KINDS = (
    *fleets.KINDS,
    queues.KIND,
    Kind("object", find_objects, delete_object),
    Kind("version of an object", find_versions, delete_version),
    *(kind for kind in watching.KINDS if kind.name == "alarm"),
)
