"""What is charged beside machines: the table that ships, and AWS's price list."""

from __future__ import annotations

import json
from datetime import date

import boto3
import pytest
from botocore.stub import Stubber

from parallelize.fleet import rates
from parallelize.fleet.disk import Disk
from parallelize.fleet.rates import TABLE


@pytest.fixture
def pricing():
    return boto3.client(
        "pricing", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def product(usage, *usd, unit="Hrs"):
    dimensions = {
        str(n): {"unit": unit, "pricePerUnit": {"USD": str(price)}} for n, price in enumerate(usd)
    }
    return json.dumps({
        "product": {"attributes": {"usagetype": usage}},
        "terms": {"OnDemand": {"T": {"priceDimensions": dimensions}}},
    })  # fmt: skip


LISTED = [
    [product("EU-PublicIPv4:InUseAddress", 0.005)],
    [
        product("EU-EBS:VolumeUsage.gp3", 0.088, unit="GB-Mo"),
        product("EU-EBS:VolumeP-IOPS.gp3", 0.0055, unit="IOPS-Mo"),
        product("EU-EBS:VolumeP-Throughput.gp3", 45.056, unit="GiBps-mo"),
    ],
    [product("EU-Requests-Tier1", 0.000005), product("EU-Requests-Tier2", 0.0000004)],
    [product("EU-Requests-Tier1", 0, 0.0000004), product("EU-Requests-FIFO-Tier1", 0.0000005)],
    [product("EU-CW:MetricMonitorUsage", 0.3, 0.1), product("EU-CW:Requests", 0.00001)],
    [product("EU-DataProcessing-Bytes", 0.57, unit="GB")],
]


def told(pricing, pages):
    with Stubber(pricing) as stub:
        for page in pages:
            if isinstance(page, str):
                stub.add_client_error("get_products", page, "no", 400)
            else:
                stub.add_response("get_products", {"PriceList": page})
        found = rates.unit_prices(pricing, "eu-west-1")
        stub.assert_no_pending_responses()
        return found


def test_every_price_that_ships_has_a_source_and_a_date():
    for listed in TABLE.values():
        assert listed.source.startswith("https://aws.amazon.com/")
        assert date(2020, 12, 1) <= listed.as_of
        assert listed.usd > 0


def test_prices_are_those_of_the_region_in_awss_list(pricing):
    found = told(pricing, LISTED)
    assert found.source == "AWS's price list"
    assert (found.address_hour, found.disk_gib_month) == (0.005, 0.088)
    assert found.disk_mibps_month == pytest.approx(0.044)
    assert (found.s3_write, found.s3_read) == (0.000005, 0.0000004)
    assert found.log_gb == 0.57


def test_of_tiers_the_dearest_counts_because_another_may_be_free_only_at_first(pricing):
    found = told(pricing, LISTED)
    assert found.sqs == 0.0000004
    assert found.metric_month == 0.3


def test_who_may_not_read_the_list_has_the_table_after_one_question(pricing):
    found = told(pricing, ["AccessDeniedException"])
    assert found == rates.shipped()
    assert "2026-09" in found.source


def test_what_the_list_lacks_is_taken_from_the_table_and_said(pricing):
    found = told(pricing, [LISTED[0], [], *LISTED[2:]])
    assert found.disk_gib_month == TABLE["disk_gib_month"].usd
    assert found.log_gb == 0.57
    assert "and 3 of the built-in prices" in found.source


@pytest.mark.parametrize(
    ("disk", "month"),
    [
        (Disk(50), 50 * 0.08),
        (Disk(50, iops=3000, throughput=125), 50 * 0.08),
        (Disk(100, iops=8000, throughput=500), 100 * 0.08 + 5000 * 0.005 + 375 * 0.04),
    ],
)
def test_a_disk_costs_its_size_and_the_speed_above_what_is_included(disk, month):
    assert rates.shipped().disk_hour(disk) == pytest.approx(month / 730)


def test_a_default_worker_pays_about_a_cent_an_hour_beside_its_machine():
    found = rates.shipped().rates(Disk(50))
    assert found.address_hour + found.disk_hour == pytest.approx(0.0105, abs=0.0001)
    assert found.metrics_hour == pytest.approx(0.0025, abs=0.0001)
