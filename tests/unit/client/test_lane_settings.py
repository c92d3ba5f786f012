"""What parallelize.toml says of lanes, and which settings the workers of one have."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.lanes import lanes_of, of_lane
from parallelize.settings import Resolved, resolve
from parallelize_core.errors import UsageError
from parallelize_core.lane import Lane

BOTH = """
[workers]
market = "spot"
max_price = 0.05
on_demand = 1
vcpus = "4"

[workers.large]
types = ["r7i.4xlarge"]

[workers.steady]
"""


def settings(folder: Path, text: str, **flags: object) -> Resolved:
    (folder / "parallelize.toml").write_text(text)
    given = {f"workers.{name}": value for name, value in flags.items()}
    return resolve(given, {}, folder)


def test_a_table_makes_a_lane_even_an_empty_one(tmp_path: Path) -> None:
    assert lanes_of(settings(tmp_path, BOTH).settings.workers) == (Lane.LARGE, Lane.STEADY)
    assert lanes_of(settings(tmp_path, "[workers]\n").settings.workers) == ()


def test_large_machines_are_those_it_names_on_the_same_market(tmp_path: Path) -> None:
    workers = of_lane(settings(tmp_path, BOTH), Lane.LARGE).settings.workers
    assert (workers.types, workers.market, workers.vcpus) == (("r7i.4xlarge",), "spot", None)


def test_steady_machines_are_as_the_others_and_on_demand(tmp_path: Path) -> None:
    plain = settings(tmp_path, BOTH)
    workers = of_lane(plain, Lane.STEADY).settings.workers
    assert (workers.market, workers.vcpus) == ("on-demand", "4")
    assert workers.types == plain.settings.workers.types


def test_a_lane_has_a_price_and_a_number_of_its_own(tmp_path: Path) -> None:
    workers = of_lane(settings(tmp_path, BOTH), Lane.LARGE).settings.workers
    assert (workers.count, workers.max_price, workers.on_demand) == (1, None, 0)


def test_a_flag_wins_over_the_lane(tmp_path: Path) -> None:
    flagged = settings(tmp_path, BOTH, count=3, types=("x2idn.large",))
    workers = of_lane(flagged, Lane.LARGE).settings.workers
    assert (workers.count, workers.types) == (3, ("x2idn.large",))


def test_a_lane_that_there_is_not_is_an_error_that_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        of_lane(settings(tmp_path, ""), Lane.STEADY)
    assert "[workers.steady]" in (error.value.fix or "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[workers.large]\n", "workers.large.types"),
        ("[workers.steady]\nmarkt = 1\n", "workers.steady.markt"),
    ],
)
def test_what_is_wrong_in_a_lane_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        settings(tmp_path, text)
