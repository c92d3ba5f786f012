"""Forecasts a run from a random sample of its files: pure functions of results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from parallelize.lanes import STEADY_JOB_SECONDS
from parallelize_core.lane import TAIL_SHARE, Lane
from parallelize_core.result import Result

CONFIDENCE_Z = 1.645
"""Standard errors around the sample's mean that contain the true mean nine times out of ten."""


@dataclass(frozen=True)
class Percentiles:
    """Half of the values are at most `p50`, and so on; nearest rank, so each value occurred."""

    p50: float
    p95: float
    most: float


@dataclass(frozen=True)
class Range:
    """The bounds of a value, nine times out of ten."""

    low: float
    high: float

    def times(self, factor: float) -> Range:
        """Return the range scaled."""
        return Range(self.low * factor, self.high * factor)

    def plus(self, amount: float) -> Range:
        """Return the range moved up."""
        return Range(self.low + amount, self.high + amount)


@dataclass(frozen=True)
class LaneForecast:
    """How much of the remaining work goes to the workers of a lane.

    `moved` files of the sample went there, `files` of the rest will. `hours` is how long these take
    one after the other on one machine, `hourly_usd` the price of an hour of it, None if not known.
    """

    lane: Lane
    moved: int
    files: Range
    hours: Range
    hourly_usd: float | None


@dataclass(frozen=True)
class Forecast:
    """What the remaining files will take.

    Seconds are the command's for one file, memory is in bytes, `hours` is the wall time with the
    workers asked for. `usd` is what they cost in that time with addresses, disks and requests;
    `requests_usd` is the requests' share. `memory` and `usd` are None if not known. `mean` is the
    range of the mean of the seconds. Files that move to `lanes` count as if they stayed.
    """

    sampled: int
    failed: int
    left: int
    seconds: Percentiles
    mean: Range
    memory: Percentiles | None
    hours: Range
    usd: Range | None
    requests_usd: float = 0.0
    lanes: tuple[LaneForecast, ...] = ()


def forecast_lane(
    told: Forecast,
    lane: Lane,
    moved: int,
    hourly_usd: float | None = None,
    steady_seconds: float = STEADY_JOB_SECONDS,
) -> LaneForecast:
    """Forecast the work of a lane to which `moved` files of the sample went.

    The steady lane also gets the run's last files, if these take at least `steady_seconds` each.
    """
    files = share_range(moved, told.sampled + moved).times(told.left)
    if lane is Lane.STEADY:
        # No sample is long enough to tell how often machines are taken away.
        last = told.left * TAIL_SHARE if told.mean.high >= steady_seconds else 0.0
        files = Range(last, last)
    hours = Range(files.low * told.mean.low / 3600, files.high * told.mean.high / 3600)
    return LaneForecast(lane, moved, files, hours, hourly_usd)


def share_range(hits: int, of: int) -> Range:
    """Estimate the share in the whole from a sample that had `hits`, by Wilson's interval.

    https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm
    """
    square = CONFIDENCE_Z**2
    share, spread = hits / of, CONFIDENCE_Z * math.sqrt(hits * (of - hits) / of + square / 4)
    middle = share * of + square / 2
    low, high = ((middle + sign * spread) / (of + square) for sign in (-1, 1))
    return Range(low if hits else 0.0, high if hits < of else 1.0)


def forecast(
    results: Sequence[Result],
    left: int,
    slots: int,
    hourly_usd: float | None,
    request_usd: float = 0.0,
) -> Forecast:
    """Forecast `left` files on `slots` slots that cost `hourly_usd` together.

    `request_usd` is what the requests for one file cost. Raises ValueError without any result.
    """
    if not results:
        raise ValueError("a forecast needs at least one result")
    seconds = [result.usage.seconds for result in results]
    memory = [size for result in results if (size := result.usage.peak_memory_bytes)]
    mean = mean_range(seconds)
    hours = mean.times(left / slots / 3600)
    return Forecast(
        sampled=len(results),
        failed=sum(result.status == "failed" for result in results),
        left=left,
        seconds=percentiles(seconds),
        mean=mean,
        memory=percentiles(memory) if memory else None,
        hours=hours,
        usd=None if hourly_usd is None else hours.times(hourly_usd).plus(left * request_usd),
        requests_usd=left * request_usd,
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the percentiles of some values, at least one."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Percentiles(rank(0.50), rank(0.95), ordered[-1])


def mean_range(values: Sequence[float]) -> Range:
    """Estimate the mean of the whole from a sample; a single value gives only itself."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Range(mean, mean)
    error = CONFIDENCE_Z * statistics.stdev(values) / math.sqrt(len(values))
    return Range(max(0.0, mean - error), mean + error)
