"""When a worker finds that it, and not the work, is at fault."""

from __future__ import annotations

import asyncio

from tests.unit.agent.workers import LAYOUT, Scene, beat

from parallelize_agent.reporting.fitness import SECOND_SICK_SECONDS, SUSPECT_AFTER


def charges(scene: Scene, failures: int = SUSPECT_AFTER) -> list[bool]:
    """Return which of `count` failed commands in a row may be charged."""

    async def run() -> list[bool]:
        fitness = scene.fitness()
        async with asyncio.timeout(5):
            return [await fitness.may_charge("exit 127") for _ in range(failures)]

    return asyncio.run(run())


def test_a_worker_that_is_alone_charges() -> None:
    scene = Scene()
    assert charges(scene) == [True, True, True]
    assert scene.unfit == []


def test_commands_that_fail_everywhere_are_at_fault() -> None:
    scene = Scene(beat("w2", failed_in_row=SUSPECT_AFTER))
    assert charges(scene) == [True, True, True]
    assert scene.unfit == []


def test_a_worker_whose_commands_succeed_elsewhere_is_unfit() -> None:
    scene = Scene(beat("w2", done=1))
    assert charges(scene, 4) == [True, True, False, False]
    (error,) = scene.unfit
    assert error.why == "exit 127"


SICK_TOO, AT_ITS_FIRST = beat("w2", failed_in_row=SUSPECT_AFTER), beat("w3", running=("f",))


def test_of_two_sick_workers_neither_is_a_witness_against_the_command() -> None:
    async def run() -> bool:
        fitness = scene.fitness()
        for _ in range(SUSPECT_AFTER - 1):
            await fitness.may_charge("exit 127")
        judged = asyncio.create_task(fitness.may_charge("exit 127"))
        while not fitness.suspect:
            await asyncio.sleep(0)
        scene.store.put(LAYOUT.heartbeat("w3"), beat("w3", done=1).encode())
        return await judged

    scene = Scene(SICK_TOO, AT_ITS_FIRST)
    assert not asyncio.run(run())
    assert len(scene.unfit) == 1


def test_a_worker_at_its_first_command_is_not_waited_for_for_ever_if_others_agree() -> None:
    async def run() -> bool:
        times = iter([0.0, SECOND_SICK_SECONDS])
        fitness = scene.fitness(clock=lambda: next(times))
        return [await fitness.may_charge("exit 127") for _ in range(SUSPECT_AFTER)][-1]

    scene = Scene(SICK_TOO, AT_ITS_FIRST)
    assert asyncio.run(run())


def test_a_worker_that_has_nothing_to_do_is_not_waited_for_if_others_agree() -> None:
    scene = Scene(SICK_TOO, beat("w3"))
    assert charges(scene) == [True, True, True]


def test_a_worker_that_has_succeeded_before_charges() -> None:
    async def run() -> list[bool]:
        fitness = scene.fitness()
        fitness.note_success()
        return [await fitness.may_charge("exit 127") for _ in range(5)]

    scene = Scene(beat("w2", done=1))
    assert asyncio.run(run()) == [True] * 5


def test_one_file_that_cannot_be_done_says_nothing_of_the_machine() -> None:
    scene = Scene()
    fitness = scene.fitness(max_unfit=3)
    for _ in range(20):
        fitness.note_not_done("unlucky", "S3 breaks off")
    assert scene.unfit == []


def test_files_that_cannot_be_done_one_after_the_other_are_the_machines_fault() -> None:
    scene = Scene()
    fitness = scene.fitness(max_unfit=3)
    for number in range(3):
        fitness.note_not_done(f"f{number}", "S3 breaks off")
    (error,) = scene.unfit
    assert error.why == "S3 breaks off"


def test_a_file_that_succeeds_in_between_speaks_for_the_machine() -> None:
    scene = Scene()
    fitness = scene.fitness(max_unfit=3)
    for number in range(20):
        fitness.note_not_done(f"f{number}", "S3 breaks off")
        if number % 2:
            fitness.note_success()
    assert scene.unfit == []
