#!/usr/bin/env python3
"""Three ways to have jobs done from Python: all at once, as they finish, and by an executor.

walks.py [--local]        prints the distances that each way has brought
"""

import asyncio
import json
import sys
from concurrent.futures import as_completed

import parallelize

LOCAL = "--local" in sys.argv
COMMAND, ENVIRONMENT = "./walk.py", "env/"
walks = [{"seed": seed, "steps": 400} for seed in range(6)]


def all_at_once():
    outcomes = parallelize.map(COMMAND, walks, name="walks", env=ENVIRONMENT, local=LOCAL)
    return [outcome.value()["distance"] for outcome in outcomes]


async def as_they_finish():
    stream = parallelize.stream(COMMAND, walks, name="streamed", env=ENVIRONMENT, local=LOCAL)
    return {o.parameters["seed"]: o.value()["distance"] async for o in stream}


def by_an_executor():
    with parallelize.Executor(COMMAND, name="submitted", env=ENVIRONMENT, local=LOCAL) as executor:
        seeds = {executor.submit(walk): walk["seed"] for walk in walks}
        return {seeds[f]: f.result().value()["distance"] for f in as_completed(seeds)}


if __name__ == "__main__":
    streamed, submitted = asyncio.run(as_they_finish()), by_an_executor()
    in_order = [[found[walk["seed"]] for walk in walks] for found in (streamed, submitted)]
    print(json.dumps([all_at_once(), *in_order]))
