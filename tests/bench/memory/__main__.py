"""How well memory is used with no setting, beside the best fixed number of slots.

    python -m tests.bench.memory [--seeds 3]      # in simulated time, by the shipped rule
    python -m tests.bench.memory --lanes          # on small machines, with and without a large lane
    python -m tests.bench.memory --fleet          # on eight machines of 2 CPUs and 8 GB
    python -m tests.bench.memory --real           # with real processes, a twentieth of the size
    python -m tests.bench.memory --real --lanes   # the same, with a large machine beside them

Jobs have mapsnap's distribution of memory: median 1.8 GB, p99 5.7 GB, whatever their input. When
there is no memory left, the kernel ends the largest job. "Best" is the fixed number of slots that
does most in a second, found by trying each with the same jobs.
"""

from __future__ import annotations

import argparse

from tests.bench.memory import real
from tests.bench.memory.real import say
from tests.bench.memory.simulation import (
    Machine,
    Outcome,
    Work,
    Worker,
    fixed,
    learning,
    mapsnap,
    simulate,
)

GB = 10**9
MACHINES = (Machine(8, 32 * GB), Machine(16, 32 * GB), Machine(64, 128 * GB), Machine(64, 256 * GB))
GROWTHS = (0.0, 0.3)
GROWTH = 0.3
SMALL = (Machine(2, 4 * GB), Machine(4, 8 * GB))
LARGE = Machine(8, 64 * GB)
TINY = Machine(2, 8 * GB)
FLEET = 8


def main() -> None:
    options = make_parser().parse_args()
    if options.real:
        machines = options.workers, options.cpus, options.memory * real.GB
        fleet = real.Fleet(*machines, lanes=options.lanes, seconds=options.seconds)
        real.compare(options.jobs or 200, fleet, options.slots)
        return
    jobs = options.jobs or 1000
    if options.lanes:
        show_lanes(options.seeds, jobs)
        return
    if options.fleet:
        show_fleet(options.seeds, options.seconds, jobs)
        return
    say("cpus memory growth seed | best slots killed | killed failed most at once | of the best")
    for machine in MACHINES:
        for growth in GROWTHS:
            for seed in range(1, options.seeds + 1):
                show(machine, growth, seed, jobs)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--lanes", action="store_true")
    parser.add_argument("--fleet", action="store_true")
    parser.add_argument("--jobs", type=int, help="200 if they are real, else 1,000")
    parser.add_argument("--workers", type=int, default=1, help="machines of the real runs")
    parser.add_argument("--cpus", type=int, default=16, help="of each of them")
    parser.add_argument("--memory", type=int, default=32, help="of each, in GB before it is scaled")
    parser.add_argument("--seconds", type=float, default=8, help="of a job, real or of the fleet")
    parser.add_argument("--slots", type=int, nargs="+", default=(0, 10, 11, 12, 13),
                        help="those to compare; 0 is no setting")  # fmt: skip
    return parser


def show(machine: Machine, growth: float, seed: int, jobs: int) -> None:
    """Print a line for one machine and one order of the jobs."""
    slots, best = best_fixed(machine, growth, seed, jobs)
    learned = with_no_setting(machine, growth, seed, jobs)
    say(
        f"{machine.cpus:4} {machine.memory // GB:3} GB {growth:6} {seed:4} | "
        f"{slots:10} {best.killed:6} | {learned.killed:6} {learned.failed:6} {learned.most:12} | "
        f"{learned.rate / best.rate:8.0%}"
    )


def show_lanes(seeds: int, jobs: int) -> None:
    """Print a line for each small machine, with larger ones beside it and without."""
    say("cpus memory seed | alone: killed failed | with the large lane: killed there failed")
    for machine in SMALL:
        for seed in range(1, seeds + 1):
            alone = with_no_setting(machine, GROWTH, seed, jobs)
            small, large, there = with_large_lane(machine, seed, jobs)
            say(
                f"{machine.cpus:4} {machine.memory // GB:3} GB {seed:4} | "
                f"{alone.killed:13} {alone.failed:6} | "
                f"{small.killed + large.killed:27} {there:5} {small.failed + large.failed:6}"
            )


def show_fleet(seeds: int, seconds: float, jobs: int) -> None:
    """Print a line for each order of the jobs, done by many small machines and a large lane."""
    say("seed | best slots killed | killed in the large lane failed | of the best")
    for seed in range(1, seeds + 1):
        by_slots = {
            slots: fleet([Worker(fixed(slots)) for _ in range(FLEET)], seed, seconds, jobs)[0]
            for slots in range(1, TINY.cpus + 1)
        }
        best = max(by_slots, key=lambda slots: by_slots[slots].rate)
        learned, moved = fleet([learning(TINY) for _ in range(FLEET)], seed, seconds, jobs)
        say(
            f"{seed:4} | {best:10} {len(by_slots[best].hit):6} | "
            f"{len(learned.hit):6} {moved:17} {learned.failed:6} | "
            f"{learned.rate / by_slots[best].rate:11.0%}"
        )


def fleet(
    workers: list[Worker], seed: int, seconds: float, jobs: int = 1000
) -> tuple[Outcome, int]:
    """Do the jobs on small machines; return what came of it, and how many went to a large one."""
    moved = list[Work]()
    works = mapsnap(seed, jobs, GROWTH, seconds)
    return simulate(TINY, works, workers, moved=moved), len(moved)


def with_large_lane(machine: Machine, seed: int, jobs: int = 1000) -> tuple[Outcome, Outcome, int]:
    """Do the jobs on a machine, and on a large one what it cannot do.

    Returns what came of either, and how many jobs went to the large one.
    """
    moved = list[Work]()
    small = simulate(machine, mapsnap(seed, jobs, GROWTH), [learning(machine)], moved=moved)
    there = len(moved)
    return small, simulate(LARGE, moved, [learning(LARGE)]), there


def with_no_setting(machine: Machine, growth: float, seed: int, jobs: int = 1000) -> Outcome:
    """Do the jobs as a worker does that knows nothing at first."""
    return simulate(machine, mapsnap(seed, jobs, growth), [learning(machine)])


def best_fixed(machine: Machine, growth: float, seed: int, jobs: int = 1000) -> tuple[int, Outcome]:
    """Return the number of slots that does most in a second, and what came of it."""
    least = max(1, machine.cpus // 2)
    outcomes = {
        slots: simulate(machine, mapsnap(seed, jobs, growth), [Worker(fixed(slots))])
        for slots in range(least, machine.cpus + 1, max(1, machine.cpus // 32))
    }
    best = max(outcomes, key=lambda slots: outcomes[slots].rate)
    return best, outcomes[best]


if __name__ == "__main__":
    main()
