"""Print the rules with what each has found, or which default types the regions have."""

from __future__ import annotations

import argparse

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from tests.strict_aws.rules import RULES
from tests.strict_aws.rules.machines import offered

from parallelize.setting_tables import DEFAULT_TYPES


def rules() -> None:
    """Print a block for each rule."""
    for rule in RULES:
        words = " ".join(str(rule.__doc__).split())
        print(f"{rule.__name__}: {words}\n    {rule.source}")
        if rule.found:
            print(f"    found: {rule.found}")


def regions() -> None:
    """Print each region with the default types that it lacks, by what moto has stored of it."""
    for region in sorted(INSTANCE_TYPE_OFFERINGS["region"]):
        absent = [kind for kind in DEFAULT_TYPES if kind not in offered(region)]
        there = len(DEFAULT_TYPES) - len(absent)
        print(f"{region:16} {there:2} of {len(DEFAULT_TYPES)}  {' '.join(absent)}")


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.strict_aws", description=__doc__)
    parser.add_argument("regions", nargs="?", choices=["regions"])
    return parser


if __name__ == "__main__":
    (regions if make_parser().parse_args().regions else rules)()
