import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleet.examples import (
    AGENT,
    IMAGE,
    SPOT_STANDARD,
    facts,
    only_fleet,
    overrides,
    pool,
    pools,
    request,
)

from parallelize.fleet.disk import Disk
from parallelize.fleet.execute import with_group_templates
from parallelize.fleet.facts import Quota, Work
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.show import describe_plan
from parallelize.fleet.stock import Bundle
from parallelize_core.config import AgentConfig
from parallelize_core.errors import CapacityError, LimitError, NothingToDoError, UsageError


def test_a_fleet_asks_every_type_in_every_zone():
    plan = plan_launch(facts(), request())
    asked = {(o["InstanceType"], o["SubnetId"]) for o in overrides(only_fleet(plan))}
    assert asked == {(p.type.name, p.subnet) for p in facts().pools}
    assert len(asked) == 6


def test_a_thousand_machines_over_twelve_types_and_three_zones_are_one_call():
    names = tuple(f"c{n}i.xlarge" for n in range(12))
    given = facts(pools=pools(*names), work=Work(5000), quotas=(Quota(SPOT_STANDARD, 8000, 0),))
    fleet = only_fleet(plan_launch(given, request(count=1000, types=names)))
    assert fleet.body["TargetCapacitySpecification"]["TotalTargetCapacity"] == 1000
    assert len(overrides(fleet)) == 36


def test_the_max_price_goes_to_each_override():
    fleet = only_fleet(plan_launch(facts(), request(max_price=0.05)))
    assert {o["MaxPrice"] for o in overrides(fleet)} == {"0.0500"}


def test_without_a_max_price_none_is_sent_so_that_aws_takes_the_on_demand_price():
    fleet = only_fleet(plan_launch(facts(), request()))
    assert all("MaxPrice" not in o for o in overrides(fleet))


def test_on_demand_workers_have_no_max_price_and_no_spot_options():
    fleet = only_fleet(plan_launch(facts(), request(market="on-demand", max_price=0.05)))
    assert fleet.body["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "on-demand"
    assert "SpotOptions" not in fleet.body
    assert all("MaxPrice" not in o for o in overrides(fleet))


def test_a_disk_has_the_size_and_speed_that_the_settings_say():
    given = request(disk=Disk(200, iops=8000, throughput=500))
    (mapping,) = only_fleet(plan_launch(facts(), given)).templates[0]["BlockDeviceMappings"]
    assert mapping["Ebs"]["VolumeSize"] == 200
    assert mapping["Ebs"]["Iops"] == 8000
    assert mapping["Ebs"]["Throughput"] == 500


def test_a_disk_without_a_speed_of_its_own_asks_for_none():
    (mapping,) = only_fleet(plan_launch(facts(), request())).templates[0]["BlockDeviceMappings"]
    assert not {"Iops", "Throughput"} & set(mapping["Ebs"])


@pytest.mark.parametrize(
    ("disk", "why", "fix"),
    [
        (Disk(10, iops=6000), "at most 500 for each GiB", 'workers.disk = "12GiB"'),
        (Disk(50, throughput=1000), "4 IOPS for each MiB/s", "workers.disk_iops = 4000"),
    ],
)
def test_a_speed_that_ebs_does_not_give_is_refused_with_what_it_takes(disk, why, fix):
    with pytest.raises(UsageError) as told:
        plan_launch(facts(), request(disk=disk))
    assert why in told.value.why
    assert fix in told.value.fix


def test_workers_are_in_the_security_groups_of_the_settings_beside_that_of_setup():
    given = request(security_groups=("sg-7", "sg-8"))
    template = only_fleet(plan_launch(facts(), given)).templates[0]
    assert template["SecurityGroupIds"] == ["sg-1", "sg-7", "sg-8"]


def test_some_of_the_workers_can_be_on_demand_for_the_tail():
    plan = plan_launch(facts(), request(count=5, on_demand=2))
    assert [(fleet.market, fleet.count) for fleet in plan.fleets] == [("spot", 3), ("on-demand", 2)]


def test_a_repeated_plan_repeats_its_client_tokens_and_each_fleet_has_its_own():
    plans = [plan_launch(facts(), request(on_demand=1, fallback=True)) for _ in range(2)]
    first, second = (
        [fleet.body["ClientToken"] for fleet in (*plan.fleets, plan.fallback)] for plan in plans
    )
    assert first == second
    assert len(set(first)) == 3
    assert all(len(token) <= 64 for token in first)


def test_the_launch_template_is_whole():
    template = only_fleet(plan_launch(facts(), request(disk=Disk(80)))).templates[0]
    assert template["ImageId"] == facts().image.id
    assert template["IamInstanceProfile"] == {"Name": "parallelize-agent"}
    assert template["SecurityGroupIds"] == ["sg-1"]
    assert template["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    assert template["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    (disk,) = template["BlockDeviceMappings"]
    assert disk["DeviceName"] == "/dev/xvda"
    assert disk["Ebs"]["Encrypted"] is True
    assert disk["Ebs"]["DeleteOnTermination"] is True
    assert disk["Ebs"]["VolumeSize"] == 80
    assert "InstanceMarketOptions" not in template


def tagged(*bodies):
    return {
        one["ResourceType"]: {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        for body in bodies
        for one in body["TagSpecifications"]
    }


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_everything_that_a_launch_creates_carries_the_runs_tag(market):
    fleet = only_fleet(plan_launch(facts(), request(market=market, tags={"owner": "ana"})))
    found = tagged(fleet.body, fleet.templates[0])
    # EC2 refuses a template that tags what the launch does not make.
    spot = {"spot-instances-request"} if market == "spot" else set()
    assert found.keys() == {"fleet", "instance", "volume", "network-interface"} | spot
    for tags in found.values():
        assert tags["parallelize:run"] == "scans"
        assert tags["parallelize:managed"] == "true"
        assert tags["owner"] == "ana"


def test_what_the_fleets_request_tags_its_template_does_not_tag_again():
    fleet = only_fleet(plan_launch(facts(), request()))
    assert not tagged(fleet.body).keys() & tagged(fleet.templates[0]).keys()


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_the_machines_of_a_group_have_their_tags_from_its_template(market):
    group = plan_launch(facts(), request(fleet="persistent", market=market)).group
    found = tagged(group.templates[0])
    assert found.keys() == {"instance", "volume", "network-interface"}
    assert all(tags["parallelize:run"] == "scans" for tags in found.values())


def test_a_users_tags_cannot_hide_a_machine_from_kill():
    plan = plan_launch(facts(), request(tags={"parallelize:run": "other"}))
    fleet = only_fleet(plan)
    for tags in tagged(fleet.body, fleet.templates[0]).values():
        assert tags["parallelize:run"] == "scans"


def test_the_agent_finds_its_configuration_and_prices_in_the_user_data():
    template = only_fleet(plan_launch(facts(), request())).templates[0]
    config = AgentConfig.decode(base64.b64decode(template["UserData"]), "user data")
    assert config.run == "scans"
    assert config.hourly_usd["spot c7i.xlarge eu-west-1b"] == 0.07
    assert config.model_copy(update={"hourly_usd": {}}) == AGENT


def test_user_data_above_16_kib_is_refused_before_anything_is_created():
    agent = AGENT.model_copy(update={"prefix": "p" * 16 * 1024})
    with pytest.raises(UsageError, match="16,384"):
        plan_launch(facts(), request(agent=agent))


@given(st.integers(1, 40), st.integers(0, 40))
def test_whatever_the_split_all_workers_are_asked_for_once(count, on_demand):
    wanted = request(count=count, on_demand=min(on_demand, count), force=True)
    plan = plan_launch(facts(), wanted)
    assert sum(fleet.count for fleet in plan.fleets) == count
    assert all(fleet.count > 0 for fleet in plan.fleets)
    json.dumps([fleet.body for fleet in plan.fleets])


def test_user_data_has_room_for_forty_types_in_six_zones():
    many = [
        pool(f"x{n}i-flex.12xlarge", zone=f"ap-northeast-1{zone}", spot=0.12345, on_demand=0.98765)
        for n in range(40)
        for zone in "abcdef"
    ]
    assert len(plan_launch(facts(pools=tuple(many)), request()).user_data) < 14_000


class TestRefusals:
    def test_an_empty_queue(self):
        given = facts(work=Work(0, done=1195, failed=5))
        with pytest.raises(NothingToDoError, match="1,195 files done, 5 failed"):
            plan_launch(given, request())

    def test_an_empty_queue_says_how_many_files_wait_to_be_enqueued(self):
        with pytest.raises(NothingToDoError, match="1,190 not enqueued"):
            plan_launch(facts(work=Work(0, done=10, unsent=1190)), request())

    def test_a_paused_run_with_its_reason(self):
        with pytest.raises(NothingToDoError) as refused:
            plan_launch(facts(work=Work(100, paused="5% of the files failed")), request())
        assert refused.value.why == "5% of the files failed"

    def test_more_workers_than_files(self):
        with pytest.raises(UsageError, match="3 workers for 2 files"):
            plan_launch(facts(work=Work(2)), request(count=3))

    def test_force_launches_for_an_empty_queue(self):
        assert plan_launch(facts(work=Work(0)), request(force=True)).fleets

    def test_no_image_says_how_to_get_one(self):
        with pytest.raises(UsageError) as refused:
            plan_launch(facts(image=None), request())
        assert "no parallelize image in account 123456789012" in refused.value.what
        assert "image build" in refused.value.fix
        assert "--ami stock" in refused.value.fix

    def test_machines_of_another_architecture_than_the_image(self):
        given = facts(pools=pools("c7g.xlarge", architecture="arm64"))
        with pytest.raises(UsageError, match="fits") as refused:
            plan_launch(given, request(types=("c7g.xlarge",)))
        assert "x86_64" in refused.value.why

    def test_of_mixed_architectures_only_those_that_fit_are_asked(self):
        mixed = pools("c7g.xlarge", architecture="arm64") + pools("c7i.xlarge")
        fleet = only_fleet(plan_launch(facts(pools=mixed), request()))
        assert {o["InstanceType"] for o in overrides(fleet)} == {"c7i.xlarge"}

    def test_types_that_no_zone_offers(self):
        with pytest.raises(UsageError) as refused:
            plan_launch(facts(pools=()), request())
        assert "not offered" in refused.value.why

    @pytest.mark.parametrize(
        "changes", [{"market": "spot"}, {"market": "on-demand", "fleet": "persistent"}]
    )
    def test_workers_that_stop_where_aws_only_terminates(self, changes):
        with pytest.raises(UsageError, match="only on-demand workers outside a group"):
            plan_launch(facts(), request(shutdown_behavior="stop", **changes))

    def test_one_time_on_demand_workers_may_stop(self):
        plan = plan_launch(facts(), request(shutdown_behavior="stop", market="on-demand"))
        assert only_fleet(plan).templates[0]["InstanceInitiatedShutdownBehavior"] == "stop"

    def test_a_spent_budget(self):
        with pytest.raises(LimitError, match=r"\$20.00, about \$20.50 spent"):
            plan_launch(facts(spent_usd=20.50), request(max_cost=20))

    def test_a_budget_that_would_last_for_minutes_only(self):
        with pytest.raises(LimitError):
            plan_launch(facts(spent_usd=19.99), request(max_cost=20, count=10))

    def test_no_workers(self):
        with pytest.raises(UsageError, match="at least 1"):
            plan_launch(facts(), request(count=0))

    def test_more_on_demand_workers_than_workers(self):
        with pytest.raises(UsageError, match="3 of 2 workers"):
            plan_launch(facts(), request(on_demand=3))


class TestQuota:
    def test_above_the_quota_says_what_is_asked_allowed_and_used(self):
        given = facts(quotas=(Quota(SPOT_STANDARD, 5, 0),))
        with pytest.raises(CapacityError) as refused:
            plan_launch(given, request(count=2))
        error = refused.value
        assert error.what.startswith("spot quota: 8 vCPUs requested, 5 allowed, 0 in use")
        assert error.why == "5 is the default of new accounts"
        assert "launch 1 " in error.fix
        assert error.exit_code == 5

    def test_the_number_that_fits_is_proposed_with_the_types_it_is_true_of(self):
        big, small = pool("c7i.4xlarge", vcpus=16), pool("c7i.large", vcpus=2)
        given = facts(pools=(big, small), quotas=(Quota(SPOT_STANDARD, 5, 0),))
        with pytest.raises(CapacityError) as refused:
            plan_launch(given, request(count=3))
        assert "launch 2 --type c7i.large   (4 vCPUs)" in refused.value.fix

    def test_what_runs_already_counts(self):
        given = facts(quotas=(Quota(SPOT_STANDARD, 16, 12),))
        with pytest.raises(CapacityError, match="16 allowed, 12 in use"):
            plan_launch(given, request(count=2))

    def test_exactly_the_quota_is_allowed(self):
        assert plan_launch(facts(quotas=(Quota(SPOT_STANDARD, 8, 0),)), request(count=2))

    def test_smaller_machines_among_the_types_count(self):
        given = facts(
            pools=(pool("c7i.4xlarge", vcpus=16), pool("c7i.large", vcpus=2)),
            quotas=(Quota(SPOT_STANDARD, 5, 0),),
        )
        assert plan_launch(given, request(count=2))

    def test_two_classes_of_machines_have_two_quotas_that_add_up(self):
        given = facts(
            pools=(pool("c7i.xlarge"), pool("g5.xlarge")),
            quotas=(Quota(SPOT_STANDARD, 4, 0), Quota("L-3819A6DF", 4, 0)),
        )
        assert plan_launch(given, request(count=2))
        with pytest.raises(CapacityError):
            plan_launch(given, request(count=3))

    def test_an_unknown_quota_refuses_nothing(self):
        assert plan_launch(facts(quotas=(), work=Work(9999)), request(count=500))

    def test_each_market_has_its_own_quota(self):
        given = facts(quotas=(Quota(SPOT_STANDARD, 64, 0), Quota("L-1216C47A", 4, 0)))
        with pytest.raises(CapacityError, match="on-demand quota"):
            plan_launch(given, request(count=3, on_demand=2))


class TestTwoArchitectures:
    arm = replace(IMAGE, id="ami-0aaaaaaaaaaaaaaaa", architecture="arm64")
    mixed = facts(
        others=(arm,),
        pools=pools("c7g.xlarge", architecture="arm64", spot=0.05) + pools("c7i.xlarge"),
    )

    def test_each_machine_starts_from_the_image_of_its_architecture(self):
        fleet = only_fleet(plan_launch(self.mixed, request()))
        images = [template["ImageId"] for template in fleet.templates]
        types = [
            {one["InstanceType"] for one in config["Overrides"]}
            for config in fleet.body["LaunchTemplateConfigs"]
        ]
        assert images == [self.arm.id, IMAGE.id]
        assert types == [{"c7g.xlarge"}, {"c7i.xlarge"}]

    def test_a_group_names_a_template_for_the_types_of_its_second_image(self):
        group = plan_launch(self.mixed, request(fleet="persistent")).group
        specifications = [{"LaunchTemplateId": "lt", "Version": v} for v in ("1", "2")]
        body = with_group_templates(group.body, specifications, group.of_type)
        template = body["MixedInstancesPolicy"]["LaunchTemplate"]
        named = {
            one["InstanceType"]: one.get("LaunchTemplateSpecification")
            for one in template["Overrides"]
        }
        assert group.templates[0]["ImageId"] == self.arm.id
        assert template["LaunchTemplateSpecification"] == specifications[0]
        assert named == {"c7g.xlarge": None, "c7i.xlarge": specifications[1]}

    def test_machines_from_a_stock_image_get_the_agent_for_their_architecture(self):
        bundles = tuple(
            Bundle("Debian 13", f"https://b/{kind}.zip", "0" * 64, "k", sent=True, body=b"",
                   architecture=kind)
            for kind in ("x86_64", "arm64")
        )  # fmt: skip
        templates = only_fleet(plan_launch(self.mixed, request(bundles=bundles))).templates
        scripts = [base64.b64decode(one["UserData"]).decode() for one in templates]
        assert "https://b/arm64.zip" in scripts[0]
        assert "https://b/x86_64.zip" in scripts[1]

    def test_types_without_an_image_are_left_out_and_named(self):
        plan = plan_launch(replace(self.mixed, others=()), request())
        assert {one.type.name for one in plan.pools} == {"c7i.xlarge"}
        assert "c7g.xlarge: no image for their architecture" in "\n".join(describe_plan(plan))


class TestPersistent:
    def plan(self, **changes):
        return plan_launch(facts(), request(fleet="persistent", **changes))

    def test_a_group_is_made_instead_of_a_fleet(self):
        plan = self.plan(count=4)
        assert plan.fleets == ()
        assert plan.group.body["MinSize"] == 0
        assert plan.group.body["DesiredCapacity"] == plan.group.body["MaxSize"] == 4

    def test_a_group_covers_all_types_and_subnets(self):
        body = self.plan().group.body
        policy = body["MixedInstancesPolicy"]
        types = [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]]
        assert sorted(types) == ["c6i.xlarge", "c7i.xlarge"]
        assert body["VPCZoneIdentifier"].split(",") == ["subnet-a", "subnet-b", "subnet-c"]

    def test_a_group_is_all_spot_unless_told_otherwise(self):
        # AWS's own default would be 100 % on-demand.
        shares = self.plan().group.body["MixedInstancesPolicy"]["InstancesDistribution"]
        assert shares["OnDemandPercentageAboveBaseCapacity"] == 0
        assert shares["OnDemandBaseCapacity"] == 0
        assert shares["SpotAllocationStrategy"] == "price-capacity-optimized"

    def test_on_demand_groups_and_a_base_of_on_demand_workers(self):
        whole = self.plan(market="on-demand").group.body["MixedInstancesPolicy"]
        assert whole["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 100
        some = self.plan(count=4, on_demand=1).group.body["MixedInstancesPolicy"]
        assert some["InstancesDistribution"]["OnDemandBaseCapacity"] == 1

    def test_the_groups_tags_reach_its_machines(self):
        tags = self.plan().group.body["Tags"]
        assert all(tag["PropagateAtLaunch"] for tag in tags)
        assert {"parallelize:run": "scans"}.items() <= {t["Key"]: t["Value"] for t in tags}.items()

    def test_a_group_that_follows_the_queue_starts_at_zero_even_for_an_empty_queue(self):
        plan = plan_launch(
            facts(work=Work(0)), request(fleet="persistent", autoscale=True, count=10)
        )
        assert plan.group.body["DesiredCapacity"] == 0
        assert plan.group.body["MaxSize"] == 10

    def test_a_group_has_no_fallback(self):
        with pytest.raises(UsageError, match="no fallback"):
            self.plan(fallback=True)
