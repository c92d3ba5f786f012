"""Which share of the time is progress when machines are taken away all the time.

    python -m tests.bench.checkpoints [--seconds 40] [--every 20] [--files 2]

On a local cloud of its own, jobs that take `--seconds` lose their machine every `--every`: it
gets the local cloud's own spot notice, and others are launched. A minute of a real run is a second
here, except for what a notice leaves to a job: the agent hears of it 27 s before the end,
and its margin is 25 s. The jobs are done with checkpoints, without, and without in a run that has a
steady lane, whose machines are not taken away.

`progress` is what the jobs needed, of the time in which their commands ran. `of the whole` is the
same, of the time from the first start to the last result, with all that lies between attempts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from parallelize.local.cloud import LocalCloud, attach

PROGRAM = Path(sys.executable).with_name("parallelize")
NOTICE_SECONDS = 27
STEADY_TYPE = "m7i.2xlarge"
"""By this the machines of the steady lane are known, which get no notice."""

NAMES = {"keep": "with checkpoints", "lose": "without", "lane": "steady lane"}

JOB = """#!/usr/bin/env python3
import json, os, signal, sys, time
from pathlib import Path

needed, keeps = float(sys.argv[2]), sys.argv[3] == "keep"
state = Path(os.environ["PARALLELIZE_CHECKPOINT"], "state")
spent = float(state.read_text()) if state.exists() else 0.0
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
began = time.monotonic() - spent
while time.monotonic() - began < needed:
    time.sleep(0.05)
    if told:
        if not keeps:
            sys.exit(1)
        state.write_text(str(time.monotonic() - began))
        sys.exit(76)
Path("done").write_text("done")
print("done")
"""


@dataclass
class Bench:
    """A project folder, and a local cloud that only it has."""

    folder: Path
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir()
        self.environ = {name: v for name, v in os.environ.items() if not name.startswith("XDG_")}
        self.environ |= {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}

    @property
    def state(self) -> Path:
        """Where its local cloud keeps what it has."""
        return self.folder / "home" / "state" / "parallelize" / "local"

    def run(self, *words: str) -> str:
        """Run a command of parallelize; return its stdout."""
        done = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=self.environ, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *words: str) -> Any:
        """Return what a command prints as JSON."""
        return json.loads(self.run(*words, "--json"))


def main() -> None:
    options = make_parser().parse_args()
    for how in [options.only] if options.only else NAMES:
        with TemporaryDirectory(prefix="checkpoints-") as name:
            bench = Bench(Path(name))
            try:
                sys.stdout.write(measure(bench, how, options) + "\n")
                sys.stdout.flush()
            finally:
                bench.run("local", "stop")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.checkpoints")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--only", choices=NAMES)
    return parser


def measure(bench: Bench, how: str, options: argparse.Namespace) -> str:
    """Do the jobs, with notices all the time, and say what came of it."""
    keys = prepare(bench, how, options.seconds, options.files)
    cloud = attach(bench.state)
    assert cloud
    over = threading.Event()
    notices = threading.Thread(target=take_away, args=(cloud, options.every, over))
    notices.start()
    deadline = time.monotonic() + 4 * options.seconds
    while (status := bench.json("status", "--local"))["done"] < len(keys):
        if time.monotonic() > deadline:
            break
        if any(lane["waiting"] and not lane["workers"] for lane in _steady(status)):
            bench.run("launch", str(len(keys)), "--lane", "steady", "--local", "--force")
        time.sleep(2)
    over.set()
    notices.join()
    records = [bench.json("logs", key, "--local") for key in keys]
    attempts = [one for record in records for one in record]
    ran = sum(one["usage"]["seconds"] for one in attempts)
    progress = status["done"] * options.seconds
    return (
        f"{NAMES[how]:17} {status['done']} of {len(keys)} done, "
        f"{len(attempts) / len(keys):.1f} starts each, progress {progress / max(ran, 1):.0%}, "
        f"of the whole {progress / max(sum(map(wall, records)), 1):.0%}"
    )


def _steady(status: Any) -> list[Any]:
    """Return how the steady lane stands, if the run has one."""
    return [lane for name, lane in status["lanes"].items() if name == "steady"]


def prepare(bench: Bench, how: str, seconds: float, files: int) -> list[str]:
    """Begin the run, with machines enough to lose some; return the keys."""
    inputs, env = bench.folder / "inputs", bench.folder / "env"
    inputs.mkdir()
    env.mkdir()
    keys = [f"{number}.txt" for number in range(files)]
    for key in keys:
        (inputs / key).write_text(key)
    script = env / "job.py"
    script.write_text(JOB)
    script.chmod(0o755)
    lane = f'[workers.steady]\ntypes = ["{STEADY_TYPE}"]\n' if how == "lane" else ""
    (bench.folder / "parallelize.toml").write_text(
        f'[run]\nname = "notices"\ncommand = "./job.py {{}} {seconds} {how}"\nenv = "env/"\n'
        'require_output = true\n[output]\nname = "{hash}"\n[workers]\nslots = 1\n'
        f"[agent]\ndrain_margin = 1000\n{lane}"
    )
    bench.run("local", "start")
    bench.run("prep", "--local")
    bench.run("enqueue", "--local")
    bench.run("launch", str(4 * files), "--local", "--force")
    return keys


def take_away(cloud: LocalCloud, every: float, over: threading.Event) -> None:
    """Give each machine a notice on which a job has been running for this number of seconds."""
    told: set[str] = set()
    while not over.wait(0.2):
        for machine in cloud.instances():
            spot = machine.type != STEADY_TYPE and machine.id not in told
            if spot and machine.pid and oldest_job(machine.pid) >= every:
                told.add(machine.id)
                cloud.interrupt(machine.id, NOTICE_SECONDS)


def oldest_job(agent: int) -> float:
    """Return for how long a command of this agent has been running, in seconds."""
    with suppress(psutil.Error):
        jobs = psutil.Process(agent).children(recursive=True)
        return max((time.time() - job.create_time() for job in jobs), default=0.0)
    return 0.0


def wall(attempts: list[Any]) -> float:
    """Return the time from a job's first start to its last end."""
    times = [
        datetime.fromisoformat(one[name])
        for one in attempts
        for name in ("started_at", "finished_at")
    ]
    return (max(times) - min(times)).total_seconds() if times else 0.0


if __name__ == "__main__":
    main()
