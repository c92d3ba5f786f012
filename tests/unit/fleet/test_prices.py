"""Prices as AWS tells them, in the shapes that its models have."""

import json
from datetime import date

import boto3
import pytest
from botocore.stub import ANY, Stubber

from parallelize.fleet import machine_table, prices
from parallelize.setting_tables import DEFAULT_TYPES

TYPES = ("c7i.xlarge", "c6i.xlarge")


@pytest.fixture
def client():
    def make(service, region="us-east-1"):
        return boto3.client(
            service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b"
        )

    return make


def product(name, *usd):
    dimensions = {str(n): {"pricePerUnit": {"USD": price}} for n, price in enumerate(usd)}
    terms = {"OnDemand": {"T": {"priceDimensions": dimensions}}} if usd else {}
    return json.dumps({"product": {"attributes": {"instanceType": name}}, "terms": terms})


def test_on_demand_prices_are_those_of_plain_shared_linux_in_the_region_page_by_page(client):
    pricing = client("pricing")
    wanted = {
        "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used",
    }  # fmt: skip
    filters = [{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in wanted.items()]
    filters.append({"Type": "ANY_OF", "Field": "instanceType", "Value": "c7i.xlarge,c6i.xlarge"})
    first = {"ServiceCode": "AmazonEC2", "Filters": filters}
    with Stubber(pricing) as stub:
        page = [product("c7i.xlarge", "0.1910000000")]
        stub.add_response("get_products", {"PriceList": page, "NextToken": "more"}, first)
        page = [product("c6i.xlarge", "0.1820000000")]
        stub.add_response("get_products", {"PriceList": page}, {**first, "NextToken": "more"})
        found = prices.on_demand(pricing, "eu-west-1", TYPES)
    assert found == {"c7i.xlarge": 0.191, "c6i.xlarge": 0.182}


def test_a_product_without_an_on_demand_price_is_left_out(client):
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        page = [product("c7i.xlarge"), product("c6i.xlarge", "0.182")]
        stub.add_response("get_products", {"PriceList": page})
        assert prices.on_demand(pricing, "eu-west-1", TYPES) == {"c6i.xlarge": 0.182}


def test_who_may_not_read_the_price_list_knows_no_on_demand_price(client):
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_client_error("get_products", "AccessDeniedException", "no", 400)
        assert prices.on_demand(pricing, "eu-west-1", TYPES) == {}


def test_spot_prices_are_those_of_now_by_type_and_zone_page_by_page(client):
    ec2 = client("ec2", "eu-west-1")

    def entry(name, zone, usd):
        return {"InstanceType": name, "AvailabilityZone": zone, "SpotPrice": usd}

    first = {
        "InstanceTypes": list(TYPES), "ProductDescriptions": list(prices.PRODUCTS),
        "StartTime": ANY,
    }  # fmt: skip
    with Stubber(ec2) as stub:
        history = [entry("c7i.xlarge", "eu-west-1a", "0.071200")]
        answer = {"SpotPriceHistory": history, "NextToken": "more"}
        stub.add_response("describe_spot_price_history", answer, first)
        history = [entry("c7i.xlarge", "eu-west-1b", "0.068000")]
        answer = {"SpotPriceHistory": history, "NextToken": ""}
        stub.add_response("describe_spot_price_history", answer, {**first, "NextToken": "more"})
        found = prices.spot(ec2, TYPES)
    assert found == {("c7i.xlarge", "eu-west-1a"): 0.0712, ("c7i.xlarge", "eu-west-1b"): 0.068}


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_products_of_a_type_the_one_without_a_price_does_not_make_it_free(client, order):
    pricing = client("pricing")
    page = [product("p5.48xlarge", "55.04"), product("p5.48xlarge", "0.0000000000")][::order]
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"PriceList": page})
        assert prices.on_demand(pricing, "eu-west-1", ("p5.48xlarge",)) == {"p5.48xlarge": 55.04}


def test_where_the_price_list_is_not_read_the_table_that_ships_has_the_default_types(client):
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_client_error("get_products", "AccessDeniedException", "no", 400)
        found = prices.on_demand(pricing, "us-east-1", DEFAULT_TYPES)
    assert sorted(found) == sorted(DEFAULT_TYPES)
    assert all(0.1 < usd < 0.3 for usd in found.values())
    assert machine_table.SOURCE.startswith("https://aws.amazon.com/")
    assert date(2026, 1, 1) <= machine_table.AS_OF


def test_what_aws_tells_goes_before_the_table(client):
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"PriceList": [product("c7i.xlarge", "0.2")]})
        found = prices.on_demand(pricing, "us-east-1", TYPES)
    assert found == {"c7i.xlarge": 0.2, "c6i.xlarge": 0.17}


def test_a_type_that_is_not_in_the_table_and_another_region_have_no_price(client):
    pricing = client("pricing")
    for region, kind in [("us-east-1", "p5.48xlarge"), ("sa-east-1", "c7i.xlarge")]:
        with Stubber(pricing) as stub:
            stub.add_client_error("get_products", "AccessDeniedException", "no", 400)
            assert prices.on_demand(pricing, region, [kind]) == {}
