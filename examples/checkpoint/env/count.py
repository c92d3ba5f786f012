#!/usr/bin/env python3
"""Count the primes below the number that the input names; go on where the last attempt stopped."""

import json
import os
import signal
import sys
import time
from pathlib import Path

SAVE_SECONDS = 1

state = Path(os.environ["PARALLELIZE_CHECKPOINT"], "state.json")
limit = int(Path(sys.argv[1]).read_text())
done = json.loads(state.read_text()) if state.exists() else {"next": 2, "primes": 0, "parts": 0}
done["parts"] += 1


def save() -> None:
    fresh = state.with_suffix(".new")
    fresh.write_text(json.dumps(done))
    fresh.rename(state)  # whole at any moment


def leave(*_: object) -> None:
    leaving.append(True)


leaving: list[bool] = []
signal.signal(signal.SIGTERM, leave)
saved = time.monotonic()
while done["next"] < limit:
    number = done["next"]
    done["primes"] += all(number % factor for factor in range(2, int(number**0.5) + 1))
    done["next"] += 1
    if leaving:
        save()
        sys.exit(76)  # stored: go on later
    if time.monotonic() - saved > SAVE_SECONDS:
        save()
        saved = time.monotonic()

name = Path(sys.argv[1]).stem + ".json"
Path(name).write_text(json.dumps({"primes": done["primes"], "parts": done["parts"]}))
print(name)
