"""AWS's on-demand prices for machines: us-east-1, Linux without preinstalled software.

They apply there when AWS's price list cannot be read. Prices in other regions differ by up to a
half, and a cost limit must not count too little: there, the price counts as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

REGION = "us-east-1"
SOURCE = "https://aws.amazon.com/ec2/pricing/on-demand/"
AS_OF = date(2026, 7, 20)
"""The date of the copy of AWS's price list that these were last compared with."""

TABLE: dict[str, float] = {
    "c7i.xlarge": 0.1785, "c6i.xlarge": 0.17, "c6a.xlarge": 0.153, "c7a.xlarge": 0.20528,
    "m7i.xlarge": 0.2016, "m6i.xlarge": 0.192, "m6a.xlarge": 0.1728, "m7a.xlarge": 0.23184,
    "c5.xlarge": 0.17, "c5a.xlarge": 0.154, "m5.xlarge": 0.192, "m5a.xlarge": 0.172,
}  # fmt: skip
"""US dollars an hour, by type: the default types."""


def with_table(region: str, types: Sequence[str], told: Mapping[str, float]) -> dict[str, float]:
    """Return on-demand prices by type: AWS's as `told`, and the table's where AWS gave none."""
    table = TABLE if region == REGION else {}
    return {kind: table[kind] for kind in types if kind in table} | dict(told)


def untold(market: str, region: str, types: Sequence[str]) -> str:
    """Return why the price of these types is not known, in words for people."""
    named = f"{', '.join(types[:3])} in {region}"
    if market == "spot":
        return f"EC2's price history has no price for {named}, or you may not read it"
    return (
        f"AWS's price list has no price for {named}, or you may not read it,"
        f" and the built-in prices are for {REGION}"
    )


def described() -> str:
    """Return where the table's prices are from, in words for people."""
    return f"the built-in prices of {AS_OF:%Y-%m} for {REGION}"
