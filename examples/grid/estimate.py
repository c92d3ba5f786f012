#!/usr/bin/env python3
"""Estimate pi by throwing darts: --steps N --seed N."""

import argparse
import json
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--seed", type=int)
given = parser.parse_args()

dice = random.Random(given.seed)
hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(given.steps))
Path("pi.json").write_text(json.dumps({**vars(given), "pi": 4 * hits / given.steps}))
print("pi.json")
